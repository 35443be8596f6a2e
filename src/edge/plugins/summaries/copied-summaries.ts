/** What copies and rewinds of a conversation know of its summaries. */

import { position } from '../../conversations/history/storage/copied-lines.schema.ts';
import type { CopyableRows } from '../../conversations/history/storage/copyable-rows.ts';
import { SUMMARY_PREFACE } from '../../conversations/history/storage/summary-message.ts';
import { count, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { BLANK_SUMMARY, getSummaryRows, type SummaryRow } from './summary-rows.ts';

const summaryLine = z.strictObject({
  id: position,
  until: position,
  turn: count,
  model: z.string(),
  tokens: count,
  cost: count,
  beganAt: instant,
});

/** A summary is sent as the first message, in words of the user. */
const sentSummary = z.strictObject({
  role: z.literal('user'),
  content: z.string().check(z.refine((text) => text.startsWith(SUMMARY_PREFACE), 'what a summary begins with')),
});

export const COPIED_SUMMARIES: CopyableRows = {
  lines: { summary: { parts: [summaryLine, sentSummary], numberedBy: 'id' } },
  *linesBefore(transcript, _, lastMessage) {
    for (const row of getSummaryRows(transcript).listCompleteSummaries(lastMessage)) {
      const { id, until, turn, model, text, tokens, cost, beganAt } = row;
      yield ['summary', JSON.stringify({ id, until, turn, model, tokens, cost, beganAt }), text ?? ''];
    }
  },
  storeLine(transcript, shift, _, row = '', text = '') {
    const copied = JSON.parse(row) as SummaryRow;
    getSummaryRows(transcript).insertSummary({ ...BLANK_SUMMARY, ...copied, text, turn: shift + copied.turn });
  },
  rewind: (transcript, message) => getSummaryRows(transcript).voidSummariesFrom(message),
};
