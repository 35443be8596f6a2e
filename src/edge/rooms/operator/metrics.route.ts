import { upstreamFor } from '../../claude/upstream.ts';
import { route } from '../../gate/auth/route.ts';
import { ObjectUnreachable } from '../../kit/objects/call-object.ts';
import { spanAt, spanId } from '../../money/budget/windows.ts';
import { deploymentPool } from '../pools/pools.route.ts';
import { expositionOf, type Family, OPEN_METRICS } from './exposition.ts';
import { isolateFamilies } from './isolate-families.ts';
import { budgetFamilies, spentFamilies } from './spent-families.ts';

/** Metrics for Prometheus: the sums of the deployment's pool, in three calls of it at most, and the counts of this isolate. */
export const METRICS_ROUTES = [
  route('GET /metrics', { needs: 'admin' }, async (c) => {
    const settings = c.get('settings');
    const { pool } = upstreamFor(c);
    const now = Date.now();
    const from = spanId('day', spanAt('day', now).start);
    const call = deploymentPool(c);
    const told = async (): Promise<Family[]> => {
      const [byModel, byUpstream, standing] = await Promise.all([
        call((object) => object.usage({ from, group_by: 'model' })),
        pool && call((object) => object.usage({ from, group_by: 'upstream' })),
        call((object) => object.standing()),
      ]);
      const names = new Set(pool?.all.map(({ name }) => name));
      return [
        ...spentFamilies('sluice_', 'model', byModel, (name) => settings.models.find(name)?.id),
        ...(byUpstream
          ? spentFamilies('sluice_upstream_', 'upstream', byUpstream, (name) => (names.has(name) ? name : undefined))
          : []),
        ...budgetFamilies(standing),
      ];
    };
    // What the isolate knows is told even while the pool cannot be reached: that is when it is asked.
    const families = await told().catch((thrown: unknown) => {
      if (!(thrown instanceof ObjectUnreachable)) throw thrown;
      c.get('entry').line.error_type = thrown.logged;
      return [];
    });
    const help = 'Whether the pool, to which all accounts tell what they spend, has answered this request.';
    const up: Family = {
      name: 'sluice_pool_up',
      type: 'gauge',
      help,
      samples: [{ value: Number(families.length > 0) }],
    };
    return c.text(expositionOf([up, ...families, ...isolateFamilies(pool, now)]), 200, {
      'content-type': OPEN_METRICS,
    });
  }),
];
