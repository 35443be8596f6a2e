/** Tools that the edge calls itself: those with a member `run`, which never goes up. */

import { edit, itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { asText, isObject, parseObject } from '../../kit/json/object.ts';
import type { PendingResults } from '../../talk/history/cancelled-calls.ts';
import type { ToolRun } from './runs.schema.ts';
import { filledAgentTool, isAgentRun } from './tools/agent-tools.ts';
import { filledTool, IN_WORKER, isWorkerRun, markOfTools, workerTool } from './tools/worker-tools.ts';

export interface EdgeTools {
  /** The list as it goes up; undefined if the request has no tools, so that all are from its prefix. */
  sent: string | undefined;
  /** The tools that the edge calls: how to call each one, by name. */
  runs: ReadonlyMap<string, ToolRun>;
  /** Changes when the definitions of the Worker's own tools change; empty if there are none. */
  mark: string;
}

export const NO_EDGE_TOOLS: EdgeTools = { sent: undefined, runs: new Map(), mark: '' };

/**
 * Finds the tools that the edge calls itself. They were checked before.
 *
 * @param tools the JSON text of a list of tools
 * @param ofPrefix the same for tools of a prefix. The prefix itself has them in the form that goes up
 * @returns undefined if there are none, as in most requests
 */
export function edgeToolsIn(tools: string | undefined, ofPrefix?: string): EdgeTools | undefined {
  const stored = ofPrefix === undefined ? undefined : ownEdgeTools(ofPrefix);
  const given = tools?.startsWith('[') && MAY_HAVE_RUN.test(tools) ? ownEdgeTools(tools) : undefined;
  if (!stored || !given) return given ?? (stored && { ...stored, sent: undefined });
  // If two have the same name, the stored one counts: a request cannot remove the approval that the stored tool needs.
  return { sent: given.sent, runs: new Map([...given.runs, ...stored.runs]), mark: stored.mark + given.mark };
}

/**
 * Matches a member `run`, also one with escaped letters. Inside a string its quotes would be escaped. So most requests need
 * no parsing.
 */
const MAY_HAVE_RUN = /"run"|\\u00(?:72|75|6e)/i;

function ownEdgeTools(tools: string): EdgeTools | undefined {
  const runs = new Map<string, ToolRun>();
  const own: string[] = [];
  const sent = itemTexts(tools).flatMap((text) => {
    const tool = JSON.parse(text) as unknown;
    if (!isObject(tool)) return text;
    const name = asText(tool.name);
    if (tool.run === IN_WORKER || isWorkerRun(tool.run)) {
      own.push(name);
      const { once, timeout_seconds } = workerTool(name) ?? {};
      runs.set(name, { once, timeout_seconds, ...(isObject(tool.run) ? tool.run : {}), worker: true });
      // The model no longer sees a tool that a deploy has removed.
      return filledTool(name, edit(text, { run: undefined })) ?? [];
    }
    if (!isObject(tool.run)) return text;
    runs.set(name, tool.run as ToolRun);
    const sent = edit(text, { run: undefined });
    return isAgentRun(tool.run) ? filledAgentTool(sent) : sent;
  });
  if (runs.size === 0) return undefined;
  return { sent: `[${sent.join(',')}]`, runs, mark: own.length === 0 ? '' : markOfTools(own) };
}

/**
 * Removes the addresses and headers of the tools that the edge calls. Both may be secrets of the account that sent them, and
 * somebody else may read the conversation.
 *
 * @param tools the JSON text of a list
 * @returns the JSON text of the list without addresses and headers
 */
export function withoutAddresses(tools: string): string {
  if (!tools.startsWith('[') || !MAY_HAVE_RUN.test(tools)) return tools;
  const shown = itemTexts(tools).map((text) =>
    isObject(parseObject(text)?.run) ? edit(text, { run: undefined }) : text,
  );
  return `[${shown.join(',')}]`;
}

/** The edge has made no calls for the last answer. */
export const NOTHING_PENDING: PendingResults = new Map();

/**
 * Puts the results of the edge's calls before the user's next message, mixed with the client's own results in the order of
 * the calls. The API wants all results in one message.
 *
 * @param called the ids of the last answer's calls, in their order
 * @param pending the edge's `tool_result` blocks as JSON texts, by the ids of their calls
 * @param message the user's next message as JSON text; undefined if only the results go up
 * @returns the message as JSON text
 */
export function withResults(called: Iterable<string>, pending: PendingResults, message: string | undefined): string {
  const results = new Map(pending);
  const rest: string[] = [];
  const content = message === undefined ? '[]' : (memberTexts(message).get('content') ?? '[]');
  if (content.startsWith('[')) {
    for (const text of itemTexts(content)) {
      const block = JSON.parse(text) as unknown;
      const id = isObject(block) && block.type === 'tool_result' ? asText(block.tool_use_id) : undefined;
      if (id === undefined || pending.has(id) || results.has(id)) rest.push(text);
      else results.set(id, text);
    }
  } else if (JSON.parse(content) !== '') rest.push(`{"type":"text","text":${content}}`);
  const calls = new Set(called);
  const ordered = [...calls].flatMap((id) => results.get(id) ?? []);
  const strays = [...results].filter(([id]) => !calls.has(id)).map(([, text]) => text);
  const all = `[${[...ordered, ...strays, ...rest].join(',')}]`;
  return message === undefined ? `{"role":"user","content":${all}}` : edit(message, { content: all });
}
