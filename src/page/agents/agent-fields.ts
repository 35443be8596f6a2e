/** Defines how the fields of an agent are shown on the page. */
import type { AgentContent } from '../../edge/answers.ts';

/** The limits of a run, by the paths with which the edge names them, each with its default. */
export const LIMIT_FIELDS = [
  ['limits.max_turns', 'Model requests', '10'],
  ['limits.max_usd', 'Dollars', 'none'],
  ['limits.max_seconds', 'Seconds', 'none'],
  ['limits.max_tool_calls', 'Tool calls', '100'],
  ['limits.parallel_tools', 'Concurrent tool calls', '6'],
] as const;

/** @returns how a limit is called on the page; one that is not known keeps its name */
export function getRunLimitTitle(limit: string): string {
  return LIMIT_FIELDS.find(([path]) => path === `limits.${limit}`)?.[1] ?? limit;
}

/** @returns a system prompt as one text; undefined if it has several blocks, or one that has more than its text */
export function toPlainSystem(system: AgentContent['system'] = ''): string | undefined {
  if (typeof system === 'string') return system;
  const [block, ...others] = system;
  if (block === undefined) return '';
  return others.length === 0 && Object.keys(block).length === 2 ? block.text : undefined;
}
