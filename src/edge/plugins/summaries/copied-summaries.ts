/** What copies and rewinds of a conversation know of its summaries. */

import type { CopyableRows } from '../../conversations/history/storage/copyable-rows.ts';
import { BLANK_SUMMARY, getSummaryRows, type SummaryRow } from './summary-rows.ts';

export const COPIED_SUMMARIES: CopyableRows = {
  kinds: ['summary'],
  *linesBefore(transcript, _, lastMessage) {
    for (const row of getSummaryRows(transcript).listCompleteSummaries(lastMessage)) {
      const { id, until, turn, model, text, tokens, cost, beganAt } = row;
      yield ['summary', JSON.stringify({ id, until, turn, model, tokens, cost, beganAt }), text ?? ''];
    }
  },
  storing(transcript, shift) {
    const copied: SummaryRow[] = [];
    return {
      addLine: (_, row, text) => copied.push({ ...(JSON.parse(row) as SummaryRow), text }),
      end() {
        for (const row of copied)
          getSummaryRows(transcript).insertSummary({ ...BLANK_SUMMARY, ...row, turn: shift + row.turn });
        return {};
      },
    };
  },
  rewind: (transcript, message) => getSummaryRows(transcript).voidSummariesFrom(message),
};
