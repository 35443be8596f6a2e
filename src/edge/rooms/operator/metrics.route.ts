import { upstreamFor } from '../../claude/upstream.ts';
import { route } from '../../gate/auth/route.ts';
import { METRICS } from '../../health/told.ts';
import { pluggedInto } from '../../kit/rooms/rooms.ts';
import { expositionOf, OPEN_METRICS } from './exposition.ts';
import { isolateFamilies } from './isolate-families.ts';

/** Metrics for Prometheus: what rooms tell, such as the sums of the deployment's pool, and the counts of this isolate. */
export const METRICS_ROUTES = [
  route('GET /metrics', { needs: 'admin' }, async (c) => {
    const { pool } = upstreamFor(c);
    const told = await Promise.all(pluggedInto(METRICS).map((tell) => tell(c, pool)));
    return c.text(expositionOf([...told.flat(), ...isolateFamilies(pool, Date.now())]), 200, {
      'content-type': OPEN_METRICS,
    });
  }),
];
