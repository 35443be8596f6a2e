import { pageTokensRoom } from '../page-tokens/room.ts';
import type { Room } from '../room.ts';
import { checkVisitors } from './visitor-settings.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

/** People without a login: tokens and pools of their own. */
export const visitorsRoom: Room = {
  name: 'visitors',
  // Their tokens are bound.
  needs: [pageTokensRoom],
  routes: VISITOR_ROUTES,
  settings: { check: checkVisitors },
};
