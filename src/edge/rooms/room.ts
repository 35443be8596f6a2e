import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { SHARED_BUDGETS } from '../money/account/account-state.ts';
import type { UNLESS_SPENT } from '../money/admission/refuse-spent.ts';
import type { KEY_NEWS } from '../money/admission/request-meter.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room
  extends AnyRoom,
    Plugged<typeof SHARED_BUDGETS>,
    Plugged<typeof UNLESS_SPENT>,
    Plugged<typeof KEY_NEWS> {}
