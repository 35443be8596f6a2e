import { agents } from '../edge/agents.ts';
import { toolsOfEdge } from '../edge/client.ts';

/**
 * @param own the agent that gets them: it must not call itself
 * @returns tools as JSON that this edge takes and calls: its own, or else another agent; without both a tool that the caller
 *   of the agent runs
 */
export function exampleTools(own: string): string {
  const other = agents.value?.find(({ name }) => name !== own)?.name;
  const tool = toolsOfEdge.value.includes('edge_clock')
    ? { name: 'edge_clock', run: 'worker' }
    : other === undefined
      ? {
          name: 'local_time',
          description: 'Tells the time of day where the guest is.',
          input_schema: { type: 'object', properties: {} },
        }
      : { name: `ask_${other}`.replace(/[^\w-]/g, '_'), run: { agent: other } };
  return withTool('', tool);
}

/** @param tools JSON. @returns the names of the edge's own tools that can be added to a list; none while it cannot be read */
export function addableTools(tools: string): readonly string[] {
  const there = listIn(tools);
  return there ? toolsOfEdge.value.filter((name) => !there.some((tool) => Object(tool).name === name)) : [];
}

/** @param tools JSON that can be read. @returns the list as JSON, with one more tool */
export function withTool(tools: string, tool: object): string {
  return JSON.stringify([...(listIn(tools) ?? []), tool], null, 2);
}

/** @param tools JSON. @returns the list; undefined while it cannot be read */
export function listIn(tools: string): unknown[] | undefined {
  if (tools.trim() === '') return [];
  try {
    const list: unknown = JSON.parse(tools);
    return Array.isArray(list) ? list : undefined;
  } catch {
    // It is being typed.
    return undefined;
  }
}
