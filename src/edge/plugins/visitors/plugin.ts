import { agents } from '../agents/plugin.ts';
import type { Plugin } from '../plugin.ts';
import { pools } from '../pools/plugin.ts';
import { validateVisitorSettings } from './visitor-settings.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

/** People without a login: tokens of their own, and one pool that pays for all of them. */
export const visitors: Plugin = {
  name: 'visitors',
  // Visitors' tokens are restricted tokens, which the agents plugin checks.
  needs: [agents, pools],
  routes: VISITOR_ROUTES,
  bindings: { VISITOR_BRAKE: null },
  settings: { check: validateVisitorSettings },
};
