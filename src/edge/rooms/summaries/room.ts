import type { Room } from '../room.ts';
import { Summarizer } from './summarizer.ts';

/** For the reference alone: no Worker has them in it. */
export const SUMMARY_HEADER_WORDS = {
  'sluice-history': {
    only: 'truncated',
    words: 'It went up without its oldest turns, and there was no summary of them.',
  },
};

/** Summaries in place of a conversation's oldest turns. */
export const summariesRoom: Room = {
  name: 'summaries',
  headers: ['sluice-history'],
  conversation: { open: (context) => new Summarizer(context) },
};
