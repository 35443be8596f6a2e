import type { WordsOf } from '../../kit/http/headers/answer-headers.ts';
import type { Room } from '../room.ts';
import { RUN_MEMBERS } from './runs.schema.ts';

const RUN_HEADERS = ['sluice-paused'] as const;
export const RUN_HEADER_WORDS: WordsOf<typeof RUN_HEADERS> = {
  'sluice-paused': 'Why a run has paused, where the answer does not stream; a stream says it in a comment.',
};

/** Runs: the edge calls tools itself. */
export const runsRoom: Room = { name: 'runs', headers: RUN_HEADERS, members: RUN_MEMBERS };
