import { agentsRoom } from '../agents/room.ts';
import { poolsRoom } from '../pools/room.ts';
import type { Room } from '../room.ts';
import { checkVisitors } from './visitor-settings.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

/** People without a login: tokens of their own, and one pool that pays for all of them. */
export const visitorsRoom: Room = {
  name: 'visitors',
  // Their tokens are bound.
  needs: [agentsRoom, poolsRoom],
  routes: VISITOR_ROUTES,
  bindings: { VISITOR_BRAKE: null },
  settings: { check: checkVisitors },
};
