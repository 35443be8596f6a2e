import type { Context } from 'hono';
import type { UpstreamPool } from '../../claude/upstreams/pool.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import type { Family } from '../../health/told.ts';
import { ObjectUnreachable } from '../../kit/objects/call-object.ts';
import { spanAt, spanId } from '../../money/budget/windows.ts';
import { deploymentPool } from './pools.route.ts';
import { budgetFamilies, spentFamilies } from './spent-families.ts';

/** Tells the sums of the deployment's pool, in three calls of it at most. */
export async function poolFamilies(c: Context<AppEnv>, upstreams: UpstreamPool | undefined): Promise<Family[]> {
  const { models } = c.get('settings');
  const from = spanId('day', spanAt('day', Date.now()).start);
  const call = deploymentPool(c);
  const told = async (): Promise<Family[]> => {
    const [byModel, byUpstream, standing] = await Promise.all([
      call((object) => object.usage({ from, group_by: 'model' })),
      upstreams && call((object) => object.usage({ from, group_by: 'upstream' })),
      call((object) => object.standing()),
    ]);
    const names = new Set(upstreams?.all.map(({ name }) => name));
    return [
      ...spentFamilies('sluice_', 'model', byModel, (name) => models.find(name)?.id),
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
  const up = {
    name: 'sluice_pool_up',
    type: 'gauge' as const,
    help,
    samples: [{ value: Number(families.length > 0) }],
  };
  return [up, ...families];
}
