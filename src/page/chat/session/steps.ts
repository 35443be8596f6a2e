import type { ContentPart } from './content.ts';

/** One step of a run: what the model said, and the calls of tools that the edge made then. */
export interface RunStep {
  parts: readonly ContentPart[];
  /** Whether all of its calls have a result. */
  isOver: boolean;
}

/** @returns whether a block is a call that the edge makes */
export function isEdgeToolCall({ type, server_name }: ContentPart): boolean {
  return type === 'mcp_tool_use' && server_name === 'edge';
}

/**
 * Divides an answer into the steps of its run: the parts after results belong to the next step.
 *
 * @returns undefined for an answer in which the edge has called nothing
 */
export function splitIntoRunSteps(parts: readonly ContentPart[]): RunStep[] | undefined {
  const calls = new Set(parts.filter(isEdgeToolCall).map(({ id }) => id));
  if (calls.size === 0) return undefined;
  const steps: { parts: ContentPart[]; isOver: boolean }[] = [];
  let open = new Set<unknown>();
  let step: { parts: ContentPart[]; isOver: boolean } | undefined;
  for (const part of parts) {
    if (part.type === 'mcp_tool_result' && calls.has(part.tool_use_id)) {
      open.delete(part.tool_use_id);
      if (step) step.isOver = open.size === 0;
      continue;
    }
    if (!step || step.isOver) {
      step = { parts: [], isOver: false };
      steps.push(step);
      open = new Set();
    }
    step.parts.push(part);
    if (isEdgeToolCall(part)) open.add(part.id);
  }
  return steps;
}

/** @returns a result as text, as the model got it */
export function formatToolResult({ content }: ContentPart): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return JSON.stringify(content);
  return content
    .map((block: ContentPart) => (block.type === 'text' ? String(block.text) : JSON.stringify(block)))
    .join('\n');
}
