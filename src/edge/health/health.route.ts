import type { MiddlewareHandler } from 'hono';
import { loggedParts, ONLY_UPSTREAM, remedyFor } from '../claude/explain-refused-key.ts';
import { keyNameOf } from '../claude/kinds/entry.ts';
import type { Fetch } from '../claude/upstream.ts';
import { keyHealths, upstreamOf } from '../claude/upstream.ts';
import type { KeyHealth } from '../claude/upstreams/key-health.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import { type Authenticate, authenticate, requireScope } from '../gate/auth/authenticate.ts';
import type { AppEnv } from '../gate/auth/context.ts';
import type { Settings } from '../gate/settings/settings.ts';
import { Hono } from '../kit/http/hono.ts';
import { isoTimeOrNull } from '../kit/http/times.ts';
import { missingBindings } from '../kit/objects/needed-bindings.ts';
import { pluggedInto } from '../kit/rooms/rooms.ts';
import { refuseRevoked } from '../money/admission/refuse-revoked.ts';
import type { HealthAnswer } from './health-answers.schema.ts';
import { HEALTH } from './told.ts';

/**
 * Answers whether the settings are valid, and which upstream answers; for admins, with `?upstreams`, how each upstream is.
 *
 * @param own a Worker's own function that says who is asking
 */
export function healthRoutes(fetchUpstream?: Fetch, own?: Authenticate) {
  const known = whereAsked(authenticate(own));
  const current = whereAsked(refuseRevoked);
  const admin = whereAsked(requireScope('admin'));
  return new Hono<AppEnv>().get('/health', known, current, admin, (c) => {
    const upstream = upstreamOf(c.get('settings'), fetchUpstream);
    const { simulated, pool } = upstream;
    const isSimulated = pool?.all.every((one) => one.simulated) ?? simulated;
    const keys = [...keyHealths(upstream)];
    const refused = keys.filter(([, { refusedSince }]) => refusedSince !== undefined);
    const answer: HealthAnswer = { status: 'ok', upstream: isSimulated ? 'simulator' : 'anthropic' };
    if (refused.length > 0) Object.assign(answer, { status: 'degraded', ...whatToDo(refused) });
    // Where another upstream answers, the edge is of use.
    const isDown = refused.length > 0 && refused.length === keys.length;
    const warnings = [...warningsOf(c.get('settings')), ...missingBindings(c.env)];
    if (warnings.length > 0) answer.warnings = warnings;
    for (const tell of pluggedInto(HEALTH)) Object.assign(answer, tell(c.get('settings')));
    if (c.req.query('upstreams') !== undefined) answer.upstreams = pool ? statesOf(pool, Date.now()) : [];
    return c.json(answer, isDown && c.req.query('strict') !== undefined ? 503 : 200);
  });
}

/** @returns since when upstreams refuse the deployment, and what its operator must do. */
function whatToDo(refused: [string, KeyHealth][]): Pick<HealthAnswer, 'since' | 'todo'> {
  const todo = refused.map(([name, { said }]) => {
    const called = name === '' ? ONLY_UPSTREAM : { name: `The upstream ${name}`, setting: keyNameOf(name) };
    return remedyFor({ ...loggedParts(said), ...called });
  });
  const since = Math.min(...refused.map(([, { refusedSince = 0 }]) => refusedSince));
  return { since: new Date(since).toISOString(), todo: todo.join(' ').trim() };
}

function warningsOf({ JWT_GROUP_CLAIM, JWT_GROUP_DEFAULT, outdated }: Settings): readonly string[] {
  if (JWT_GROUP_CLAIM === undefined || JWT_GROUP_DEFAULT !== undefined) return outdated;
  return [
    ...outdated,
    'A token without the claim of JWT_GROUP_CLAIM is in no group, and no group’s budget holds it: set JWT_GROUP_DEFAULT.',
  ];
}

/** @returns a middleware only for requests that ask for the upstreams: all others need no credential. */
function whereAsked(middleware: MiddlewareHandler<AppEnv>): MiddlewareHandler<AppEnv> {
  return async (c, next) => (c.req.query('upstreams') === undefined ? await next() : await middleware(c, next));
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
