import type { Part } from './content.ts';

/** What is read and noted of an entry. */
interface PlacedEntry {
  role: string;
  parts: readonly Part[];
  row: { model: string | null } | undefined;
  modelAbove?: string;
}

/** Notes which answers go on from the one above: after the results of tools of this page, or after a pause. */
export function withModelsAbove<E extends PlacedEntry>(entries: E[]): E[] {
  let above: string | undefined;
  for (const entry of entries) {
    if (entry.role === 'assistant') {
      if (above !== undefined) entry.modelAbove = above;
      above = entry.row?.model ?? undefined;
    } else if (!entry.parts.every(({ type }) => type === 'tool_result')) above = undefined;
  }
  return entries;
}
