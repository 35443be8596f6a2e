import { defineRoute } from '../../auth/route.ts';
import type { OverviewResponse } from '../../health/overview-answers.schema.ts';
import { getPluginMembers } from '../../kit/plugins/plugins.ts';

/** The overview of failures that plugins report: sums that accounts have reported, and counts of undelivered events. */
export const OVERVIEW_ROUTES = [
  defineRoute('GET /overview', { needs: 'admin:read' }, async (c) => {
    const parts = await Promise.all(getPluginMembers('overview').map((tell) => tell(c)));
    const answer: OverviewResponse = Object.assign({ type: 'overview' as const }, ...parts);
    return c.json(answer);
  }),
];
