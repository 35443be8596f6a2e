/** What copies and rewinds of a conversation know of its summaries. */

import type { CopiedRows } from '../../conversations/history/storage/copied-rows.ts';
import { BLANK_SUMMARY, type SummaryRow, summariesIn } from './summary-rows.ts';

export const COPIED_SUMMARIES: CopiedRows = {
  kinds: ['summary'],
  *linesBefore(transcript, _, lastMessage) {
    for (const row of summariesIn(transcript).complete(lastMessage)) {
      const { id, until, turn, model, text, tokens, cost, beganAt } = row;
      yield ['summary', JSON.stringify({ id, until, turn, model, tokens, cost, beganAt }), text ?? ''];
    }
  },
  storing(transcript, shift) {
    const copied: SummaryRow[] = [];
    return {
      add: (_, row, text) => copied.push({ ...(JSON.parse(row) as SummaryRow), text }),
      end() {
        for (const row of copied) summariesIn(transcript).add({ ...BLANK_SUMMARY, ...row, turn: shift + row.turn });
        return {};
      },
    };
  },
  rewind: (transcript, message) => summariesIn(transcript).rewind(message),
};
