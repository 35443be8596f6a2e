import type { Plugin } from '../plugin.ts';
import { COPIED_SUMMARIES } from './copied-summaries.ts';
import { Summarizer } from './summarizer.ts';
import { SUMMARY_ROWS } from './summary-rows.ts';

/** Summaries in place of a conversation's oldest turns. */
export const summaries: Plugin = {
  name: 'summaries',
  strategy: 'summarize',
  rows: SUMMARY_ROWS,
  copied: COPIED_SUMMARIES,
  conversation: [{ createHooks: (conversation) => new Summarizer(conversation) }],
};
