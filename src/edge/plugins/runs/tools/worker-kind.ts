import * as z from '../../../kit/http/zod.ts';
import { isObject, type JsonObject } from '../../../kit/json/object.ts';
import { formatFirstIssue } from '../../../registry/tools/tools.schema.ts';
import { callWorkerTool } from '../call-worker-tool.ts';
import { ownTool, workerRunSchema, workerToolEntry } from '../runs.schema.ts';
import type { CallableToolKind } from '../tool-kind.ts';
import { reserveMemoryForResult } from '../tool-result.ts';
import { fillInWorkerToolDefinition, findWorkerTool, hashWorkerTools, listWorkerToolNames } from './worker-tools.ts';

/** Tools of the Worker's own code. */
export const workerKind: CallableToolKind = {
  member: 'worker',
  hasNoAddress: true,
  listRunFieldNames: () => Object.keys(workerRunSchema.shape),
  schemas: [
    z.addDescription(z.literal('worker'), 'A tool of the Worker’s own code, by its name; no scope is needed.'),
    workerRunSchema,
  ],
  findFault: findWorkerToolFault,
  runOf: (name, run) => {
    const { once, timeout_seconds } = findWorkerTool(name) ?? {};
    const members = { once, timeout_seconds, ...(isObject(run) ? run : {}), worker: true };
    return members;
  },
  show: fillInWorkerToolDefinition,
  mark: hashWorkerTools,
  knows: (name) => findWorkerTool(name) !== undefined,
  createToolCaller: ({ env }) => ({
    callTool: async (call, _, options, signal) => {
      const result = await callWorkerTool(call, { env, signal });
      // Do not reserve memory after an abort, because the result will not be used.
      signal.throwIfAborted();
      return await reserveMemoryForResult(result, options);
    },
  }),
};

function findWorkerToolFault(tool: JsonObject): string | undefined {
  const { name, run } = tool;
  const fault = formatFirstIssue((isObject(run) ? workerToolEntry : ownTool).safeParse(tool));
  if (fault !== undefined) return fault;
  if (typeof name === 'string' && findWorkerTool(name)) return undefined;
  const names = listWorkerToolNames();
  const list = names.length > 0 ? `Its tools are: ${names.join(', ')}.` : 'It has no tools. Pass them to createApp.';
  return `name: this deployment has no tool of this name. ${list}`;
}
