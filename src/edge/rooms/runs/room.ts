import type { Room } from '../room.ts';
import { RUN_MEMBERS } from './runs.schema.ts';

/** Runs: the edge calls tools itself. */
export const runsRoom: Room = { name: 'runs', members: RUN_MEMBERS };
