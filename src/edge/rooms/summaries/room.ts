import type { Room } from '../room.ts';
import { Summarizer } from './summarizer.ts';

/** Summaries in place of a conversation's oldest turns. */
export const summariesRoom: Room = {
  name: 'summaries',
  strategy: 'summarize',
  conversation: [{ open: (context) => new Summarizer(context) }],
};
