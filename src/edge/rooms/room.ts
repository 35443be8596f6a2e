import type { BEFORE_SPENDING, ROUTES, TAKE_OPTIONS } from '../gate/auth/route.ts';
import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { BY_BATCH } from '../named/classify/classify.route.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room
  extends AnyRoom,
    Plugged<typeof ROUTES>,
    Plugged<typeof TAKE_OPTIONS>,
    Plugged<typeof BEFORE_SPENDING>,
    Plugged<typeof BY_BATCH> {}
