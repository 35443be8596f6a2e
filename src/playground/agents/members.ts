/** Tells the members of an agent apart, to compare two versions of it. */
import type { AgentContent } from '../../agents/agents-answers.schema.ts';

/** @returns the text of each member: the system as it reads, each tool and each limit by its name, the others as JSON */
export function membersOf(content: AgentContent): Map<string, string> {
  const { type: _, name: __, version: ___, owner: ____, system, tools = [], limits = {}, ...others } = content;
  const members = new Map<string, string>();
  const add = (member: string, value: unknown) => {
    if (value !== undefined) members.set(member, typeof value === 'string' ? value : JSON.stringify(value, null, 2));
  };
  add('system', plainSystem(system) ?? system);
  for (const tool of tools) add(`tool ${String(tool.name ?? tool.type)}`, tool);
  for (const [limit, most] of Object.entries(limits)) add(`limit ${limit}`, most);
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
