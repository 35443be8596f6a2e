import { agents } from '../edge/agents.ts';
import { edgeToolNames } from '../edge/client.ts';

/**
 * @param agentName the agent that gets them: it must not call itself
 * @returns tools as JSON that this edge takes and calls: its own, or else another agent; without both a tool that the caller
 *   of the agent runs
 */
export function createExampleToolsJson(agentName: string): string {
  const other = agents.value?.find(({ name }) => name !== agentName)?.name;
  const tool = edgeToolNames.value.includes('edge_clock')
    ? { name: 'edge_clock', run: 'worker' }
    : other === undefined
      ? {
          name: 'local_time',
          description: 'Returns the local time of the guest.',
          input_schema: { type: 'object', properties: {} },
        }
      : { name: `ask_${other}`.replace(/[^\w-]/g, '_'), run: { agent: other } };
  return addToolToJsonList('', tool);
}

/** @param tools JSON. @returns the names of the edge's own tools that can be added to a list; none while it cannot be read */
export function listAddableEdgeTools(tools: string): readonly string[] {
  const there = parseToolListJson(tools);
  return there ? edgeToolNames.value.filter((name) => !there.some((tool) => Object(tool).name === name)) : [];
}

/** @param tools JSON that can be read. @returns the list as JSON, with one more tool */
export function addToolToJsonList(tools: string, tool: object): string {
  return JSON.stringify([...(parseToolListJson(tools) ?? []), tool], null, 2);
}

/** @param tools JSON. @returns the list; undefined while it cannot be read */
export function parseToolListJson(tools: string): unknown[] | undefined {
  if (tools.trim() === '') return [];
  try {
    const list: unknown = JSON.parse(tools);
    return Array.isArray(list) ? list : undefined;
  } catch {
    // While the user types, the JSON is often incomplete, which is no error.
    return undefined;
  }
}
