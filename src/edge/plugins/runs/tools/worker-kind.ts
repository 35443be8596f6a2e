import * as z from '../../../kit/http/zod.ts';
import { isObject, type Json } from '../../../kit/json/object.ts';
import { firstIssueOf } from '../../../registry/tools/tools.schema.ts';
import { callWorkerTool } from '../call-worker-tool.ts';
import { ownTool, workerRunSchema, workerToolEntry } from '../runs.schema.ts';
import type { CalledKind } from '../tool-kind.ts';
import { limitToMemory } from '../tool-result.ts';
import { fillInTool, findWorkerTool, hashTools, workerToolNames } from './worker-tools.ts';

/** Tools of the Worker's own code. */
export const workerKind: CalledKind = {
  member: 'worker',
  hasNoAddress: true,
  names: () => Object.keys(workerRunSchema.shape),
  schemas: [
    z.withDescription(z.literal('worker'), 'A tool of the Worker’s own code, by its name; no scope is needed.'),
    workerRunSchema,
  ],
  findFault: findWorkerToolFault,
  runOf: (name, run) => {
    const { once, timeout_seconds } = findWorkerTool(name) ?? {};
    const members = { once, timeout_seconds, ...(isObject(run) ? run : {}), worker: true };
    return members;
  },
  show: fillInTool,
  mark: hashTools,
  knows: (name) => findWorkerTool(name) !== undefined,
  callsOf: ({ env }) => ({
    call: async (call, _, options, signal) => {
      const result = await callWorkerTool(call, { env, signal });
      // Nobody waits for the result any more, so it takes no memory.
      signal.throwIfAborted();
      return await limitToMemory(result, options);
    },
  }),
};

function findWorkerToolFault(tool: Json): string | undefined {
  const { name, run } = tool;
  const fault = firstIssueOf((isObject(run) ? workerToolEntry : ownTool).safeParse(tool));
  if (fault !== undefined) return fault;
  if (typeof name === 'string' && findWorkerTool(name)) return undefined;
  const names = workerToolNames();
  const list = names.length > 0 ? `It has: ${names.join(', ')}.` : 'It has none: they are given to createApp.';
  return `name: this edge has no tool of its own of this name. ${list}`;
}
