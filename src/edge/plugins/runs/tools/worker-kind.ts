import * as z from '../../../kit/http/zod.ts';
import { isObject, type Json } from '../../../kit/json/object.ts';
import { faultIn } from '../../../registry/tools/tools.schema.ts';
import { callOwnTool } from '../call-own-tool.ts';
import type { CalledKind } from '../called-kind.ts';
import { ownTool, workerRunSchema, workerToolEntry } from '../runs.schema.ts';
import { withinRoom } from '../tool-result.ts';
import { filledTool, markOfTools, workerTool, workerToolNames } from './worker-tools.ts';

/** Tools of the Worker's own code. */
export const workerKind: CalledKind = {
  member: 'worker',
  hasNoAddress: true,
  names: () => Object.keys(workerRunSchema.shape),
  schemas: [
    z.described(z.literal('worker'), 'A tool of the Worker’s own code, by its name; no scope is needed.'),
    workerRunSchema,
  ],
  fault: faultOfOwn,
  runOf: (name, run) => {
    const { once, timeout_seconds } = workerTool(name) ?? {};
    const members = { once, timeout_seconds, ...(isObject(run) ? run : {}), worker: true };
    return members;
  },
  show: filledTool,
  mark: markOfTools,
  knows: (name) => workerTool(name) !== undefined,
  callsOf: ({ env }) => ({
    call: async (call, _, options, signal) => {
      const result = await callOwnTool(call, { env, signal });
      // Nobody waits for the result any more, so it takes no room.
      signal.throwIfAborted();
      return await withinRoom(result, options);
    },
  }),
};

function faultOfOwn(tool: Json): string | undefined {
  const { name, run } = tool;
  const fault = faultIn((isObject(run) ? workerToolEntry : ownTool).safeParse(tool));
  if (fault !== undefined) return fault;
  if (typeof name === 'string' && workerTool(name)) return undefined;
  const names = workerToolNames();
  const list = names.length > 0 ? `It has: ${names.join(', ')}.` : 'It has none: they are given to createApp.';
  return `name: this edge has no tool of its own of this name. ${list}`;
}
