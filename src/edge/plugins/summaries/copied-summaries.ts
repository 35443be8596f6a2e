/** What copies and rewinds of a conversation know of its summaries. */

import type { CopyableRows } from '../../conversations/history/storage/copyable-rows.ts';
import { BLANK_SUMMARY, type SummaryRow, summaryRowsOf } from './summary-rows.ts';

export const COPIED_SUMMARIES: CopyableRows = {
  kinds: ['summary'],
  *linesBefore(transcript, _, lastMessage) {
    for (const row of summaryRowsOf(transcript).complete(lastMessage)) {
      const { id, until, turn, model, text, tokens, cost, beganAt } = row;
      yield ['summary', JSON.stringify({ id, until, turn, model, tokens, cost, beganAt }), text ?? ''];
    }
  },
  storing(transcript, shift) {
    const copied: SummaryRow[] = [];
    return {
      add: (_, row, text) => copied.push({ ...(JSON.parse(row) as SummaryRow), text }),
      end() {
        for (const row of copied) summaryRowsOf(transcript).add({ ...BLANK_SUMMARY, ...row, turn: shift + row.turn });
        return {};
      },
    };
  },
  rewind: (transcript, message) => summaryRowsOf(transcript).rewind(message),
};
