import { assertScope, authenticateRequest } from '../auth/authenticate.ts';
import { defineRoute } from '../auth/route.ts';
import { findKeyRemedy } from '../claude/key-remedy.ts';
import { getUpstreamOfContext, listKeyHealths } from '../claude/upstream.ts';
import type { KeyHealth } from '../claude/upstreams/key-health.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { findUnusedSettings } from '../config/unused-settings.ts';
import { findMissingQueueHandler } from '../kit/delivery/queue.ts';
import { flagSchema } from '../kit/http/page.ts';
import { toIsoTimeOrNull } from '../kit/http/times.ts';
import { validateBySchema } from '../kit/http/validate.ts';
import * as z from '../kit/http/zod.ts';
import { findMissingBindings } from '../kit/plugins/needed-bindings.ts';
import { getPluginMembers, getPluginNames } from '../kit/plugins/plugins.ts';
import { requireUnrevokedCredential } from '../money/admission/refuse-revoked.ts';
import type { HealthAnswer } from './health-answers.schema.ts';

const healthQuery = z.object({
  strict: z.createOptionalField(
    flagSchema,
    'Returns 503 instead of 200 while the deployment is degraded and no other upstream is available.',
  ),
  upstreams: z.createOptionalField(
    flagSchema,
    'Includes the state of each upstream. Requires the scope `admin:metrics`.',
  ),
});

/**
 * Reports whether the settings are valid, and which upstream is used; to admins, with `?upstreams`, the state of each upstream.
 */
export const HEALTH_ROUTES = [
  defineRoute('GET /health', { needs: 'nothing', query: healthQuery }, async (c, { query }) => {
    const { strict, upstreams } = validateBySchema(query, c.req.query());
    const shouldIncludeUpstreams = upstreams !== undefined;
    if (shouldIncludeUpstreams) {
      await authenticateRequest(c);
      await requireUnrevokedCredential(c);
      assertScope(c.get('identity'), 'admin:metrics');
    }
    const upstream = getUpstreamOfContext(c);
    const { isSimulated: simulated, pool } = upstream;
    const isSimulated = pool?.all.every((one) => one.isSimulated) ?? simulated;
    const keys = [...listKeyHealths(upstream)];
    const rejectedKeys = keys.filter(([, { rejectedSince: refusedSince }]) => refusedSince !== undefined);
    const answer: HealthAnswer = {
      status: 'ok',
      upstream: isSimulated ? 'simulator' : 'anthropic',
      plugins: getPluginNames(),
    };
    if (rejectedKeys.length > 0) Object.assign(answer, { status: 'degraded', ...describeRejectedKeys(rejectedKeys) });
    // If another upstream has a working key, the deployment is degraded but not down.
    const isDown = rejectedKeys.length > 0 && rejectedKeys.length === keys.length;
    const warnings = [
      ...listSettingsWarnings(c.get('settings')),
      ...findMissingBindings(c.env),
      ...findMissingQueueHandler(c.get('app')),
      ...findUnusedSettings(c.env),
    ];
    if (warnings.length > 0) answer.warnings = warnings;
    for (const tell of getPluginMembers('health')) Object.assign(answer, tell(c.get('settings')));
    if (shouldIncludeUpstreams) answer.upstreams = pool ? listUpstreamStates(pool, Date.now()) : [];
    return c.json(answer, isDown && strict !== undefined ? 503 : 200);
  }),
];

/** @returns since when upstreams reject the deployment, and what its operator must do. */
function describeRejectedKeys(refused: [string, KeyHealth][]): Pick<HealthAnswer, 'since' | 'todo'> {
  const todo = refused.map(([name, { reason: words }]) => findKeyRemedy(name, words));
  const since = Math.min(...refused.map(([, { rejectedSince: refusedSince = 0 }]) => refusedSince));
  return { since: new Date(since).toISOString(), todo: todo.join(' ').trim() };
}

function listSettingsWarnings({ VISITORS }: Settings): readonly string[] {
  return VISITORS?.turnstile === false ? ['VISITORS sets "turnstile": false, so programs can also be visitors.'] : [];
}

/** @returns how the upstreams are, as far as this isolate knows. */
function listUpstreamStates({ all, health }: UpstreamPool, now: number): NonNullable<HealthAnswer['upstreams']> {
  const report = health.reportUpstreamHealth(now);
  return all.map(({ name, entry }) => ({
    name,
    kind: entry.kind,
    running: health.countRunning(name, now),
    max_concurrent: entry.max_concurrent ?? null,
    models: report
      .filter((one) => one.upstream === name)
      .map(({ upstream: _, dueAt, ...one }) => ({ ...one, due_at: toIsoTimeOrNull(dueAt) })),
  }));
}
