import type { ContentPart } from './content.ts';
import { splitIntoRunSteps } from './steps.ts';

/** The fields of an entry that are read and set. */
interface EntryWithModelAbove {
  role: string;
  parts: readonly ContentPart[];
  row: { model: string | null; stop_reason?: string | null | undefined } | undefined;
  modelAbove?: string;
  stepsAbove?: number;
}

/** Marks answers that continue the one above: after the results of tools of this page, or after a pause. */
export function markContinuedAnswers<E extends EntryWithModelAbove>(entries: E[]): E[] {
  let above: string | undefined;
  let steps = 0;
  for (const entry of entries) {
    if (entry.role === 'assistant') {
      if (above !== undefined) entry.modelAbove = above;
      if (steps > 0) entry.stepsAbove = steps;
      above = entry.row?.model ?? undefined;
      // A paused run continues in the next row, so continue counting its steps.
      steps = entry.row?.stop_reason === 'pause_turn' ? steps + (splitIntoRunSteps(entry.parts)?.length ?? 0) : 0;
    } else if (!entry.parts.every(({ type }) => type === 'tool_result')) [above, steps] = [undefined, 0];
  }
  return entries;
}
