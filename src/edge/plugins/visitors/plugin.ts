import { agents } from '../agents/plugin.ts';
import type { Plugin } from '../plugin.ts';
import { pools } from '../pools/plugin.ts';
import { validateVisitorSettings } from './visitor-settings.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

/** People without a login: tokens of their own, and one pool that pays for all of them. */
export const visitors: Plugin = {
  name: 'visitors',
  // Requires `agents`, which checks the restricted tokens of visitors, and `pools`, which limits what all visitors spend
  // together.
  needs: [agents, pools],
  routes: VISITOR_ROUTES,
  bindings: { VISITOR_BRAKE: null },
  settings: { check: validateVisitorSettings },
};
