/** Tells the members of an agent apart, to compare two versions of it. */
import type { AgentContent } from '../../agents/agents-answers.schema.ts';

/** The limits of a run, by the paths with which the edge names them. */
export const LIMIT_FIELDS = [
  ['limits.max_turns', 'Steps of the model'],
  ['limits.max_usd', 'Dollars'],
  ['limits.max_seconds', 'Seconds'],
  ['limits.max_tool_calls', 'Tool calls'],
  ['limits.parallel_tools', 'Tool calls at a time'],
] as const;

/** @returns how a limit is called on the page; one that is not known keeps its name */
export function limitName(limit: string): string {
  return LIMIT_FIELDS.find(([path]) => path === `limits.${limit}`)?.[1] ?? limit;
}

/** @returns the text of each member: the system as it reads, each tool and each limit by its name, the others as JSON */
export function membersOf(content: AgentContent): Map<string, string> {
  const { type: _, name: __, version: ___, owner: ____, system, tools = [], limits = {}, ...others } = content;
  const members = new Map<string, string>();
  const add = (member: string, value: unknown) => {
    if (value !== undefined) members.set(member, typeof value === 'string' ? value : JSON.stringify(value, null, 2));
  };
  add('system', plainSystem(system) ?? system);
  for (const tool of tools) add(`tool ${String(tool.name ?? tool.type)}`, tool);
  for (const [limit, most] of Object.entries(limits)) add(limitName(limit), most);
  for (const [member, value] of Object.entries(others)) add(member, value);
  return members;
}

/** @returns a system prompt as one text; undefined if it has several blocks, or one that has more than its text */
export function plainSystem(system: AgentContent['system'] = ''): string | undefined {
  if (typeof system === 'string') return system;
  const [block, ...others] = system;
  if (block === undefined) return '';
  return others.length === 0 && Object.keys(block).length === 2 ? block.text : undefined;
}
