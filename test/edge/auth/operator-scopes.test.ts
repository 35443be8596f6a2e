/** Authenticate.test.ts tries each scope that is enough for a route. This file lists what each operator scope opens, and nothing else. */
import { describe, expect, test } from 'vitest';
import type { Scope } from '#edge/auth/identity/identity.ts';
import type { EventReport } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { ROUTES } from '#test/support/routes.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import {
  createClassification,
  createEvent,
  createWebhookWorks,
  getInbox,
  WEBHOOK_SECRET,
} from '#test/support/webhooks.ts';

const OPERATOR_SCOPES = ['admin:read', 'admin:metrics', 'admin:backup'] as const satisfies Scope[];
type OperatorScope = (typeof OPERATOR_SCOPES)[number];

/** The routes that only operators read, with the scopes that open them. */
const OPERATOR_READS: Readonly<Record<string, readonly OperatorScope[]>> = {
  'GET /accounts': ['admin:read', 'admin:backup'],
  'GET /accounts/:id/backup': ['admin:backup'],
  'GET /accounts/:id/conversations': ['admin:backup'],
  'GET /accounts/:id/conversations/:conversation/backup': ['admin:backup'],
  'GET /accounts/:id/tokens': ['admin:read'],
  'GET /alerts': ['admin:read'],
  'GET /changes': ['admin:read'],
  'GET /erasures': ['admin:backup'],
  'GET /groups': ['admin:read', 'admin:backup'],
  'GET /groups/:id': ['admin:read'],
  'GET /groups/:id/accounts': ['admin:read'],
  'GET /groups/:id/backup': ['admin:backup'],
  'GET /metrics': ['admin:read', 'admin:metrics'],
  'GET /overview': ['admin:read'],
  'GET /pools/deployment': ['admin:read'],
  'GET /pools/deployment/backup': ['admin:backup'],
  'GET /tokens': ['admin:read'],
  'GET /tokens/:jti': ['admin:read'],
  'GET /versions/:kind': ['admin:read', 'admin:backup'],
  'GET /versions/:kind/:version/backup': ['admin:backup'],
  'GET /webhooks': ['admin:read'],
  'GET /webhooks/:source/events': ['admin:read'],
  'GET /webhooks/:source/events/:id': ['admin:read'],
};

/** Routes that any credential may call, for its own account. `admin:read` calls them for every account. */
const OWN_READS = [
  'GET /accounts/:id',
  'GET /accounts/:id/credit',
  'GET /accounts/:id/export',
  'GET /usage',
  'GET /usage/requests',
  'GET /usage/requests/:request_id',
];

/** The routes of models, which tokens with `messages` read too. They ask the upstream. */
const MODEL_READS = ['GET /models', 'GET /models/:id', 'GET /v1/models', 'GET /v1/models/:id'];

/** Any credential can renew itself, if it was created with a session. */
const RENEWAL = 'POST /tokens/renew';

/** The routes that no operator scope opens. A new route belongs here, or into one of the lists above. */
const CLOSED = [
  'POST /messages',
  'POST /v1/messages',
  'POST /count-tokens',
  'POST /v1/messages/count_tokens',
  'POST /v1/messages/batches',
  'GET /v1/messages/batches',
  'GET /v1/messages/batches/:id',
  'GET /v1/messages/batches/:id/results',
  'POST /v1/messages/batches/:id/cancel',
  'DELETE /v1/messages/batches/:id',
  'POST /v1/files',
  'GET /v1/files',
  'GET /v1/files/:id',
  'GET /v1/files/:id/content',
  'DELETE /v1/files/:id',
  'GET /conversations',
  'POST /conversations',
  'GET /conversations/:id',
  'PATCH /conversations/:id',
  'DELETE /conversations/:id',
  'GET /conversations/:id/messages',
  'GET /conversations/:id/turns/:turn',
  'DELETE /conversations/:id/turns/:turn',
  'GET /conversations/:id/stream',
  'POST /conversations/:id/stop',
  'POST /conversations/:id/rewind',
  'GET /conversations/:id/export',
  'POST /conversations/:id/fork',
  'GET /conversations/:id/approvals',
  'POST /conversations/:id/approvals/:approval',
  ...['agents', 'prefixes', 'classifiers'].flatMap((name) => [
    `GET /${name}`,
    `GET /${name}/:name`,
    `GET /${name}/:name/versions`,
    `PUT /${name}/:name`,
    `DELETE /${name}/:name`,
    `DELETE /${name}/:name/versions/:hash`,
  ]),
  'POST /classify',
  'POST /classifiers/:name/evaluate',
  'GET /classifications/:id',
  'GET /classifications/:id/results',
  'POST /classifications/:id/cancel',
  'POST /tokens',
  'DELETE /accounts/:id/tokens',
  'DELETE /accounts/:id/tokens/:jti',
  'PUT /accounts/:id/limits',
  'PATCH /accounts/:id/limits',
  'PUT /accounts/:id/block',
  'DELETE /accounts/:id/block',
  'POST /accounts/:id/credit',
  'DELETE /accounts/:id',
  'PUT /accounts/:id/erasure',
  'PUT /accounts/:id/backup',
  'PUT /accounts/:id/conversations/:conversation/backup',
  'PUT /versions/:kind/:version/backup',
  'PUT /groups/:id/limits',
  'PATCH /groups/:id/limits',
  'PUT /groups/:id/backup',
  'DELETE /groups/:id',
  'PUT /groups/:id/accounts/:account',
  'DELETE /groups/:id/accounts/:account',
  'PUT /pools/deployment/limits',
  'PATCH /pools/deployment/limits',
  'PUT /pools/deployment/backup',
  'POST /webhooks/:source/events/:id/replay',
  'POST /webhooks/:source/events/replay',
];

const createEdge = () =>
  createTestApp(() => Response.json({ data: [] }), {
    ...DEPLOYED_VARS,
    ...createWebhookVars('github'),
    GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
    DEPLOYMENT_LIMITS: '{}',
  });

test('the lists of routes by operator scope contain each route of the app exactly once', () => {
  const listed = [...Object.keys(OPERATOR_READS), ...OWN_READS, ...MODEL_READS, ...CLOSED, RENEWAL];
  expect(listed.sort()).toEqual(ROUTES.map(({ method, path }) => `${method} ${path}`).sort());
});

describe.each(OPERATOR_SCOPES)('a token with %s', (scope) => {
  test('can use exactly the routes that are listed for its scope', async () => {
    const app = createEdge();
    const headers = bearerHeader(await createToken('monitor', [scope]));
    for (const { method, path, url } of ROUTES) {
      const name = `${method} ${path}`;
      const isOpen =
        OPERATOR_READS[name]?.includes(scope) ??
        (MODEL_READS.includes(name) ? scope === 'admin:read' : OWN_READS.includes(name) || name === RENEWAL);
      const json = method === 'GET' ? {} : { 'content-type': 'application/json' };
      const response = await app.fetch(url, { method, headers: { ...headers, ...json } });
      if (isOpen) expect([401, 403], `${name} with ${scope}`).not.toContain(response.status);
      else expect(response.status, `${name} with ${scope}`).toBe(403);
      await response.body?.cancel();
    }
    expect(app.sent.filter(({ url }) => !url.pathname.startsWith('/v1/models'))).toEqual([]);
  });

  test('can read other accounts only if its scope is admin:read', async () => {
    const app = createEdge();
    const admin = bearerHeader(await createToken('root', ['admin']));
    const json = { 'content-type': 'application/json', ...admin };
    await app.fetch('/accounts/alice/limits', { method: 'PUT', headers: json, body: '{"usd_per_day":2}' });
    const headers = bearerHeader(await createToken('monitor', [scope]));
    for (const path of [
      '/accounts/alice',
      '/accounts/alice/credit',
      '/accounts/alice/export',
      '/usage?account=alice',
    ]) {
      const response = await app.fetch(path, { headers });
      expect(response.status, `${path} with ${scope}`).toBe(scope === 'admin:read' ? 200 : 404);
      await response.body?.cancel();
    }
    const all = await app.fetch('/usage?group_by=account', { headers });
    expect(all.status).toBe(scope === 'admin:read' ? 200 : 403);
    await all.body?.cancel();
    const own = await app.fetch('/accounts/monitor', { headers });
    expect(own.status).toBe(200);
    await own.body?.cancel();
  });

  test('has no read limit, and can read the state of upstreams unless its scope is admin:backup', async () => {
    const app = createTestApp(() => Response.json({ data: [] }), { ...DEPLOYED_VARS, READS_PER_MINUTE: '1' });
    const headers = bearerHeader(await createToken('monitor', [scope]));
    for (let read = 0; read < 3; read += 1)
      expect((await app.fetch('/accounts/monitor', { headers })).status, `read ${read}`).toBe(200);
    const health = await app.fetch('/health?upstreams', { headers });
    expect(health.status).toBe(scope === 'admin:backup' ? 403 : 200);
    if (health.status === 403) expect((await readError(health)).message).toContain('`admin:metrics`');
    else await health.body?.cancel();
  });
});

/** The routes that read the account in the parameter `account`, or filter by it. */
const READS_ACCOUNT = [
  'GET /usage',
  'GET /usage/requests',
  'GET /usage/requests/:request_id',
  'GET /changes',
  'GET /versions/:kind',
  'GET /versions/:kind/:version/backup',
  'GET /conversations/:id/approvals',
  'POST /conversations/:id/approvals/:approval',
];

test('rejects the parameter `account` on every route that does not read it', async () => {
  const app = createEdge();
  const headers = { ...bearerHeader(await createToken('root', ['admin'])), 'content-type': 'application/json' };
  const unsupported: string[] = [];
  for (const { method, path, url } of ROUTES) {
    const response = await app.fetch(`${url}?account=carol`, { method, headers });
    const text = await response.text();
    if (response.status === 400 && text.includes('account: not supported by this route'))
      unsupported.push(`${method} ${path}`);
  }
  const names = ROUTES.map(({ method, path }) => `${method} ${path}`);
  expect(unsupported.sort()).toEqual(names.filter((name) => !READS_ACCOUNT.includes(name)).sort());
  expect(app.sent).toEqual([]);
});

describe('texts of webhook events', () => {
  const PLANTED = 'PLANTED';
  const ERROR = { type: 'api_error', message: `cannot read “${PLANTED}”` };
  const attempt = { at: '2026-11-20T10:00:00.000Z', ms: 5, error: ERROR };
  const answer = {
    agent: 'support',
    conversation: 'c1',
    turn: 'turn_1',
    status: 'interrupted' as const,
    paused: null,
    stop_reason: null,
    text: PLANTED,
    error: ERROR,
    cost_usd: 0.1,
    answered_at: '2026-11-20T10:00:00.000Z',
  };
  const classification = {
    ...createClassification('bug'),
    fields: { name: PLANTED },
    output: { summary: PLANTED },
  };

  /** Stores one event for each kind of result and each way an attempt can end. */
  async function storeEvents(): Promise<string[]> {
    const inbox = getInbox('github');
    const ids: string[] = [];
    for (const result of [undefined, answer, classification]) {
      for (const to of [
        { state: 'failed' as const },
        { state: 'parked' as const },
        { state: 'again' as const, pause: 60_000, notBefore: null },
      ]) {
        const id = `github_${ids.length}`;
        ids.push(id);
        await inbox.acceptEvent({ ...createEvent(id, PLANTED), subject: `https://example.com/${PLANTED}` });
        const work = await inbox.leaseEvent(id, 60_000);
        if (work.kind === 'none') throw new Error(`${id} cannot be leased.`);
        if (result) await inbox.recordResult(id, result);
        await inbox.recordJobEnd(id, { lease: work.lease, to, attempt });
      }
    }
    return ids;
  }

  test('are shown to admin, and hidden from admin:read in the list and in each event', async () => {
    const app = createEdge();
    const ids = await storeEvents();
    const read = async (scope: Scope, path: string) => {
      const response = await app.fetch(path, { headers: bearerHeader(await createToken('desk', [scope])) });
      expect(response.status).toBe(200);
      return await response.json();
    };
    const paths = ['/webhooks/github/events', ...ids.map((id) => `/webhooks/github/events/${id}`)];
    for (const path of paths) {
      const [shown, hidden] = [await read('admin', path), await read('admin:read', path)];
      expect(JSON.stringify(shown)).toContain(PLANTED);
      expect(JSON.stringify(hidden)).not.toContain(PLANTED);
      // Everything else is the same.
      const withoutTexts = (value: unknown): unknown =>
        JSON.parse(JSON.stringify(value), (name, member: unknown) =>
          ['subject', 'text', 'fields', 'output', 'message'].includes(name) ? undefined : member,
        );
      expect(withoutTexts(hidden)).toEqual(withoutTexts(shown));
    }
    const report = (await read('admin:read', '/webhooks/github/events/github_8')) as EventReport;
    expect(report).toMatchObject({
      subject: null,
      text: null,
      result: { label: 'bug' },
      attempts: [{ error: { type: 'api_error', message: '' } }],
    });
    expect(report.result).not.toHaveProperty('fields');
  });

  test('are not in the alert that a delivery function fails', async () => {
    const app = createEdge();
    const inbox = getInbox('github');
    await inbox.acceptEvent(createEvent('github_1'));
    const work = await inbox.leaseEvent('github_1', 60_000);
    if (work.kind === 'none') throw new Error('The event cannot be leased.');
    await inbox.recordResult('github_1', createClassification('bug'));
    const error = { ...ERROR, type: 'delivery_function_error' };
    const to = { state: 'again' as const, pause: 60_000, notBefore: null };
    await inbox.recordJobEnd('github_1', { lease: work.lease, to, attempt: { ...attempt, error } });
    await createWebhookWorks().wakeAt('github', Date.now() + 3_600_000);
    const headers = bearerHeader(await createToken('desk', ['admin:read']));
    const alerts = await (await app.fetch('/alerts', { headers })).text();
    expect(alerts).toContain('The delivery function threw an error.');
    expect(alerts).not.toContain(PLANTED);
  });
});
