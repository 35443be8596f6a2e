import type { WordsOf } from '../../kit/http/headers/answer-headers.ts';
import type { Room } from '../room.ts';

const SUMMARY_HEADERS = ['sluice-history'] as const;
export const SUMMARY_HEADER_WORDS: WordsOf<typeof SUMMARY_HEADERS> = {
  'sluice-history': {
    only: 'truncated',
    words: 'It went up without its oldest turns, and there was no summary of them.',
  },
};

/** Summaries in place of a conversation's oldest turns. */
export const summariesRoom: Room = { name: 'summaries', headers: SUMMARY_HEADERS };
