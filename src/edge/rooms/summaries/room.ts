import type { Room } from '../room.ts';
import { COPIED_SUMMARIES } from './copied-summaries.ts';
import { Summarizer } from './summarizer.ts';
import { SUMMARY_ROWS } from './summary-rows.ts';

/** Summaries in place of a conversation's oldest turns. */
export const summariesRoom: Room = {
  name: 'summaries',
  strategy: 'summarize',
  rows: SUMMARY_ROWS,
  copied: COPIED_SUMMARIES,
  conversation: [{ open: (conversation) => new Summarizer(conversation) }],
};
