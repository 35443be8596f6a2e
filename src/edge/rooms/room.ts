import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { DIMENSIONS } from '../money/contracts/about.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room extends AnyRoom, Plugged<typeof DIMENSIONS> {}
