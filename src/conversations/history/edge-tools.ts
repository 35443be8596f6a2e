/** Tools that the edge calls itself: those with a member `run`, which never goes up. */

import { edit, itemTexts, memberTexts } from '../../json/edit.ts';
import { isObject } from '../../json/object.ts';
import type { ToolRun } from '../runs/runs.schema.ts';

/** The tools of a request. */
export interface EdgeTools {
  /** The list as it goes up. */
  sent: string;
  /** How those that the edge calls are called, by their names. */
  runs: ReadonlyMap<string, ToolRun>;
}

/**
 * Finds the tools that the edge calls itself; they were checked when they came.
 *
 * @param tools the JSON text of a list of tools
 * @returns undefined where there are none, as in most requests
 */
export function edgeToolsIn(tools: string | undefined): EdgeTools | undefined {
  // In a JSON text its quotes would be escaped in a string.
  if (tools === undefined || !tools.includes('"run"') || !tools.startsWith('[')) return undefined;
  const runs = new Map<string, ToolRun>();
  const sent = itemTexts(tools).map((text) => {
    const tool = JSON.parse(text) as unknown;
    if (!isObject(tool) || !isObject(tool.run)) return text;
    runs.set(String(tool.name), tool.run as unknown as ToolRun);
    return edit(text, { run: undefined });
  });
  return runs.size === 0 ? undefined : { sent: `[${sent.join(',')}]`, runs };
}

/** The calls of the last answer that the edge has made: their results are not in the history yet. */
export type PendingResults = ReadonlyMap<string, string>;
export const NOTHING_PENDING: PendingResults = new Map();

/**
 * Puts the results of calls that the edge has made before what the user says next, and the client's own results between
 * them: the API wants all of them in one message, and they stand in the order of the calls.
 *
 * @param called the ids of the last answer's calls, in their order
 * @param pending the blocks `tool_result` of the edge, as JSON texts by the ids of their calls
 * @param message the user's next message as JSON text; undefined where only the results go up
 * @returns the message as JSON text
 */
export function withResults(called: Iterable<string>, pending: PendingResults, message: string | undefined): string {
  const results = new Map(pending);
  const rest: string[] = [];
  const content = message === undefined ? '[]' : (memberTexts(message).get('content') ?? '[]');
  if (content.startsWith('[')) {
    for (const text of itemTexts(content)) {
      const block = JSON.parse(text) as unknown;
      const id = isObject(block) && block.type === 'tool_result' ? String(block.tool_use_id) : undefined;
      if (id === undefined || pending.has(id) || results.has(id)) rest.push(text);
      else results.set(id, text);
    }
  } else if (JSON.parse(content) !== '') rest.push(`{"type":"text","text":${content}}`);
  const ordered = [...called].flatMap((id) => results.get(id) ?? []);
  const strays = [...results].filter(([id]) => ![...called].includes(id)).map(([, text]) => text);
  const all = `[${[...ordered, ...strays, ...rest].join(',')}]`;
  return message === undefined ? `{"role":"user","content":${all}}` : edit(message, { content: all });
}
