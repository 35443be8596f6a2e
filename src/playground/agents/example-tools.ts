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
  return JSON.stringify([tool], null, 2);
}
