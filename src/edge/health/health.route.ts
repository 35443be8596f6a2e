import { authenticateRequest, checkScope } from '../auth/authenticate.ts';
import { route } from '../auth/route.ts';
import { findRemedy, ONLY_UPSTREAM, parseLoggedRejection } from '../claude/explain-rejected-key.ts';
import { keyNameOf } from '../claude/providers/entry.ts';
import { keyHealths, upstreamFor } from '../claude/upstream.ts';
import type { KeyHealth } from '../claude/upstreams/key-health.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { findUnusedSettings } from '../config/unused-settings.ts';
import { toIsoTimeOrNull } from '../kit/http/times.ts';
import { findMissingBindings } from '../kit/plugins/needed-bindings.ts';
import { contributions, pluginNames } from '../kit/plugins/plugins.ts';
import { checkRevoked } from '../money/admission/refuse-revoked.ts';
import type { HealthAnswer } from './health-answers.schema.ts';

/** Tells whether the settings are valid, and which upstream answers; for admins, with `?upstreams`, how each upstream is. */
export const HEALTH_ROUTES = [
  route('GET /health', { needs: 'nothing' }, async (c) => {
    const shouldIncludeUpstreams = c.req.query('upstreams') !== undefined;
    if (shouldIncludeUpstreams) {
      await authenticateRequest(c);
      await checkRevoked(c);
      checkScope(c.get('identity'), 'admin');
    }
    const upstream = upstreamFor(c);
    const { isSimulated: simulated, pool } = upstream;
    const isSimulated = pool?.all.every((one) => one.isSimulated) ?? simulated;
    const keys = [...keyHealths(upstream)];
    const rejectedKeys = keys.filter(([, { rejectedSince: refusedSince }]) => refusedSince !== undefined);
    const answer: HealthAnswer = {
      status: 'ok',
      upstream: isSimulated ? 'simulator' : 'anthropic',
      plugins: pluginNames(),
    };
    if (rejectedKeys.length > 0) Object.assign(answer, { status: 'degraded', ...describeRejectedKeys(rejectedKeys) });
    // Where another upstream answers, the edge is of use.
    const isDown = rejectedKeys.length > 0 && rejectedKeys.length === keys.length;
    const warnings = [...warningsOf(c.get('settings')), ...findMissingBindings(c.env), ...findUnusedSettings(c.env)];
    if (warnings.length > 0) answer.warnings = warnings;
    for (const tell of contributions('health')) Object.assign(answer, tell(c.get('settings')));
    if (shouldIncludeUpstreams) answer.upstreams = pool ? statesOf(pool, Date.now()) : [];
    return c.json(answer, isDown && c.req.query('strict') !== undefined ? 503 : 200);
  }),
];

/** @returns since when upstreams refuse the deployment, and what its operator must do. */
function describeRejectedKeys(refused: [string, KeyHealth][]): Pick<HealthAnswer, 'since' | 'todo'> {
  const todo = refused.map(([name, { reason: words }]) => {
    const called = name === '' ? ONLY_UPSTREAM : { name: `The upstream ${name}`, setting: keyNameOf(name) };
    return findRemedy({ ...parseLoggedRejection(words), ...called });
  });
  const since = Math.min(...refused.map(([, { rejectedSince: refusedSince = 0 }]) => refusedSince));
  return { since: new Date(since).toISOString(), todo: todo.join(' ').trim() };
}

function warningsOf({ JWT_GROUP_CLAIM, JWT_GROUP_DEFAULT, VISITORS }: Settings): readonly string[] {
  const warnings: string[] = [];
  if (JWT_GROUP_CLAIM !== undefined && JWT_GROUP_DEFAULT === undefined) {
    warnings.push(
      'A token without the claim of JWT_GROUP_CLAIM is in no group, and no group’s budget holds it: set JWT_GROUP_DEFAULT.',
    );
  }
  if (VISITORS?.turnstile === false)
    warnings.push('VISITORS says "turnstile": false, so programs can be visitors, too.');
  return warnings;
}

/** @returns how the upstreams are, as far as this isolate knows. */
function statesOf({ all, health }: UpstreamPool, now: number): NonNullable<HealthAnswer['upstreams']> {
  const report = health.report(now);
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
