import { type Fetch, upstreamOf } from '../../claude/upstream.ts';
import { requireScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { METRICS } from '../../health/told.ts';
import { Hono } from '../../kit/http/hono.ts';
import { pluggedInto } from '../../kit/rooms/rooms.ts';
import { expositionOf, OPEN_METRICS } from './exposition.ts';
import { isolateFamilies } from './isolate-families.ts';

/** Metrics for Prometheus: what rooms tell, such as the sums of the deployment's pool, and the counts of this isolate. */
export function metricsRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>().get('/metrics', requireScope('admin'), async (c) => {
    const { pool } = upstreamOf(c.get('settings'), fetchUpstream);
    const told = await Promise.all(pluggedInto(METRICS).map((tell) => tell(c, pool)));
    return c.text(expositionOf([...told.flat(), ...isolateFamilies(pool, Date.now())]), 200, {
      'content-type': OPEN_METRICS,
    });
  });
}
