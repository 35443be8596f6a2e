import { poolsRoom } from '../pools/room.ts';
import type { Room } from '../room.ts';
import { checkVisitors } from './visitor-settings.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

/** People without a login: tokens of their own, and one pool that pays for all of them. */
export const visitorsRoom: Room = {
  name: 'visitors',
  needs: [poolsRoom],
  routes: VISITOR_ROUTES,
  settings: { check: checkVisitors },
};
