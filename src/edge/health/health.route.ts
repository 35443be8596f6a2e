import { checkScope, signIn } from '../auth/authenticate.ts';
import { route } from '../auth/route.ts';
import { loggedParts, ONLY_UPSTREAM, remedyFor } from '../claude/explain-refused-key.ts';
import { keyNameOf } from '../claude/providers/entry.ts';
import { keyHealths, upstreamFor } from '../claude/upstream.ts';
import type { KeyHealth } from '../claude/upstreams/key-health.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { unreadSettings } from '../config/unread-settings.ts';
import { isoTimeOrNull } from '../kit/http/times.ts';
import { missingBindings } from '../kit/plugins/needed-bindings.ts';
import { contributions, pluginNames } from '../kit/plugins/plugins.ts';
import { checkRevoked } from '../money/admission/refuse-revoked.ts';
import type { HealthAnswer } from './health-answers.schema.ts';

/** Tells whether the settings are valid, and which upstream answers; for admins, with `?upstreams`, how each upstream is. */
export const HEALTH_ROUTES = [
  route('GET /health', { needs: 'nothing' }, async (c) => {
    const tellsUpstreams = c.req.query('upstreams') !== undefined;
    if (tellsUpstreams) {
      await signIn(c);
      await checkRevoked(c);
      checkScope(c.get('identity'), 'admin');
    }
    const upstream = upstreamFor(c);
    const { simulated, pool } = upstream;
    const isSimulated = pool?.all.every((one) => one.simulated) ?? simulated;
    const keys = [...keyHealths(upstream)];
    const refused = keys.filter(([, { refusedSince }]) => refusedSince !== undefined);
    const answer: HealthAnswer = {
      status: 'ok',
      upstream: isSimulated ? 'simulator' : 'anthropic',
      plugins: pluginNames(),
    };
    if (refused.length > 0) Object.assign(answer, { status: 'degraded', ...whatToDo(refused) });
    // Where another upstream answers, the edge is of use.
    const isDown = refused.length > 0 && refused.length === keys.length;
    const warnings = [...warningsOf(c.get('settings')), ...missingBindings(c.env), ...unreadSettings(c.env)];
    if (warnings.length > 0) answer.warnings = warnings;
    for (const tell of contributions('health')) Object.assign(answer, tell(c.get('settings')));
    if (tellsUpstreams) answer.upstreams = pool ? statesOf(pool, Date.now()) : [];
    return c.json(answer, isDown && c.req.query('strict') !== undefined ? 503 : 200);
  }),
];

/** @returns since when upstreams refuse the deployment, and what its operator must do. */
function whatToDo(refused: [string, KeyHealth][]): Pick<HealthAnswer, 'since' | 'todo'> {
  const todo = refused.map(([name, { words }]) => {
    const called = name === '' ? ONLY_UPSTREAM : { name: `The upstream ${name}`, setting: keyNameOf(name) };
    return remedyFor({ ...loggedParts(words), ...called });
  });
  const since = Math.min(...refused.map(([, { refusedSince = 0 }]) => refusedSince));
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
    running: health.running(name, now),
    max_concurrent: entry.max_concurrent ?? null,
    models: report
      .filter((one) => one.upstream === name)
      .map(({ model, state, dueAt, tries, failed }) => ({ model, state, due_at: isoTimeOrNull(dueAt), tries, failed })),
  }));
}
