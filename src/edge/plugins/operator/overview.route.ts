import { route } from '../../auth/route.ts';
import type { Overview } from '../../health/overview-answers.schema.ts';
import { contributions } from '../../kit/plugins/plugins.ts';

/** What is broken, as plugins tell it: sums that accounts have reported, and counts of what was not delivered. */
export const OVERVIEW_ROUTES = [
  route('GET /overview', { needs: 'admin' }, async (c) => {
    const parts = await Promise.all(contributions('overview').map((tell) => tell(c)));
    const answer: Overview = Object.assign({ type: 'overview' as const }, ...parts);
    return c.json(answer);
  }),
];
