/** Tools that the edge calls itself: those with a member `run`, which never goes up. */

import { edit, itemTexts } from '../../kit/json/edit.ts';
import { asText, isObject } from '../../kit/json/object.ts';
import { MAY_HAVE_RUN } from '../../talk/contracts/edge-tools.ts';
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
