import type { Room } from '../room.ts';
import { checkVisitors } from './visitor-settings.ts';
import { visitorsRoutes } from './visitors.route.ts';

/** People without a login: tokens and pools of their own. */
export const visitorsRoom: Room = {
  name: 'visitors',
  openRoutes: () => [visitorsRoutes()],
  settings: { check: checkVisitors },
};
