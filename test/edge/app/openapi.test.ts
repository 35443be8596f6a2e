import { decodeJwt } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import { SCOPES } from '#edge/auth/identity/identity.ts';
import { getRequiredScopes } from '#edge/auth/route.ts';
import { ApiError, type ErrorType } from '#edge/kit/http/errors.ts';
import { getPluginMembersWithNames } from '#edge/kit/plugins/plugins.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { ERRORS } from '#edge/openapi/errors.ts';
import type { ApiResource, BodyContent, DescribedRoute } from '#edge/openapi/resource.ts';
import { getResponsesByStatus } from '#edge/openapi/resource.ts';
import { createOpenApiDocument, RESOURCES } from '#edge/openapi.ts';
import { readError, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { setBatchUpstream, wakeBatch } from '#test/support/batch-objects.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createLongBackup } from '#test/support/long-backup.ts';
import { createSimulatedEdge, createSimulatedUpstream, type SimulatedEdge } from '#test/support/prefixes.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { createVisitorSettings } from '#test/support/visitors.ts';
import { createEvent, getInbox, WEBHOOK_SECRET } from '#test/support/webhooks.ts';
import { signGithub } from '../../../scripts/sign-webhook.ts';

interface Asked {
  key: string;
  route: DescribedRoute;
  parameters: ApiResource['parameters'];
}

/** The parts of a JSON schema that contain fields. */
interface SchemaObject {
  $ref?: string;
  description?: string;
  anyOf?: SchemaObject[];
  oneOf?: SchemaObject[];
  allOf?: SchemaObject[];
  items?: SchemaObject;
  properties?: Record<string, SchemaObject>;
  additionalProperties?: SchemaObject | boolean;
}

/** Senders are welcome, and nothing works on what is put on the queue. */
const SENDERS = { GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET, QUEUE: { send: async () => {} } };

/** Programs are welcome as visitors. */
const VISITORS = createVisitorSettings({ turnstile: false });
/** The document that the build writes. */
const ASSETS = { fetch: async () => Response.json(createOpenApiDocument()) };

setClockToNoon();

const described = RESOURCES.flatMap<Asked>(({ parameters, routes }) =>
  Object.entries(routes).map(([key, route]) => ({ key, route, parameters })),
);

test('every route of the app is described, and no other route', () => {
  const routes = createApp().routes.filter(({ method }) => method !== 'ALL');
  const keys = [...new Set(routes.map(({ method, path }) => `${method} ${path}`))];
  expect(keys.length).toBeGreaterThan(30);
  expect(described.map(({ key }) => key).sort(), 'each *.reference.ts describes the routes of its folder').toEqual(
    keys.sort(),
  );
  const document = createOpenApiDocument();
  const written = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
  );
  expect(written.sort()).toEqual(keys);
});

test('each route of a plugin names the plugin that it requires, and no other route does', () => {
  const document = createOpenApiDocument();
  const ofPlugins = new Map(
    getPluginMembersWithNames('routes').flatMap(([plugin, routes]) =>
      routes.map(({ name }) => [name as string, plugin]),
    ),
  );
  expect(ofPlugins.size).toBeGreaterThan(30);
  for (const [path, item] of Object.entries(document.paths ?? {}))
    for (const [method, { description = '' }] of Object.entries(item) as [string, { description?: string }][]) {
      const name = `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`;
      const [, plugin] = /Requires the plugin `(\w+)`\.$/.exec(description) ?? [];
      expect(plugin, name).toBe(ofPlugins.get(name));
    }
});

test('no two routes have the same name', () => {
  const names = described.map(({ route }) => route.operation);
  expect(new Set(names).size).toBe(names.length);
});

/** What a schema makes of a value, without what it does not know. */
const held = ({ schema, example }: BodyContent) => schema.parse(example);

test('every example is valid, and its schema contains all of its fields', () => {
  for (const { key, route } of described) {
    const contents = Object.values(getResponsesByStatus(route)).flatMap(({ content = [] }) => content);
    for (const content of contents) expect(held(content), key).toEqual(content.example);
    // A default may join what was given.
    if (route.body) expect(held(route.body), key).toMatchObject(route.body.example as object);
  }
});

test('no request schema has a `default`, because generators would make the field required', () => {
  const document = createOpenApiDocument();
  const withDefault: string[] = [];
  const seen = new Set<object>();
  const look = (schema: unknown, path: string): void => {
    if (typeof schema !== 'object' || schema === null || seen.has(schema)) return;
    seen.add(schema);
    const { $ref, properties = {}, ...rest } = schema as Record<string, unknown> & { properties?: object };
    if ('default' in rest) withDefault.push(path);
    const named = typeof $ref === 'string' ? document.components?.schemas?.[$ref.split('/').at(-1) ?? ''] : undefined;
    look(named, String($ref));
    for (const [name, one] of [...Object.entries(properties), ...Object.entries(rest)]) look(one, `${path}.${name}`);
  };
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const { requestBody, parameters } of Object.values(item) as { requestBody?: object; parameters?: object }[]) {
      look(requestBody, path);
      look(parameters, path);
    }
  }
  expect(seen.size).toBeGreaterThan(500);
  expect(withDefault).toEqual([]);
  expect(JSON.stringify(document.components?.schemas)).toContain('Default: `10`.');
});

test('every field of every request and response has a description', () => {
  const { components, paths } = createOpenApiDocument();
  const undescribed = new Set<string>();
  const seen = new Set<object>();
  let fields = 0;
  const schemas: Record<string, unknown> = components?.schemas ?? {};
  const resolve = (schema: SchemaObject): SchemaObject =>
    (schemas[schema.$ref?.split('/').at(-1) ?? ''] as SchemaObject | undefined) ?? schema;
  const listAlternatives = ({ anyOf = [], oneOf = [], allOf = [] }: SchemaObject) => [...anyOf, ...oneOf, ...allOf];
  const isDescribed = (schema: SchemaObject): boolean =>
    [schema, resolve(schema), ...listAlternatives(schema)].some(({ description }) => description);
  const look = (reference: SchemaObject, path: string): void => {
    const schema = resolve(reference);
    if (seen.has(schema)) return;
    seen.add(schema);
    for (const one of listAlternatives(schema)) look(one, path);
    if (schema.items) look(schema.items, `${path}[]`);
    if (typeof schema.additionalProperties === 'object') look(schema.additionalProperties, `${path}{}`);
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      fields += 1;
      if (!isDescribed(property)) undescribed.add(`${path}.${name}`);
      look(property, `${path}.${name}`);
    }
  };
  interface Body {
    content?: Record<string, { schema?: SchemaObject }>;
  }
  const lookAtBody = ({ content = {} }: Body, path: string) => {
    for (const { schema } of Object.values(content)) if (schema) look(schema, path);
  };
  for (const [path, item] of Object.entries(paths ?? {})) {
    const operations = Object.entries(item) as [string, { requestBody?: Body; responses?: Record<string, Body> }][];
    for (const [method, { requestBody = {}, responses = {} }] of operations) {
      lookAtBody(requestBody, `${method} ${path} request`);
      for (const [status, response] of Object.entries(responses)) lookAtBody(response, `${method} ${path} ${status}`);
    }
  }
  expect(fields).toBeGreaterThan(500);
  expect([...undescribed]).toEqual([]);
});

test('each error type has its documented status, with listed exceptions, and each status has a response', () => {
  // The type says more than the status, for these three.
  const others: Readonly<Record<number, ErrorType>> = {
    410: 'not_found_error',
    415: 'invalid_request_error',
    423: 'conflict_error',
  };
  for (const [status, { examples }] of Object.entries(ERRORS)) {
    for (const type of Object.keys(examples) as ErrorType[]) {
      if (others[Number(status)] === type || (status === '503' && type === 'api_error')) continue;
      expect(new ApiError(type, '').status, type).toBe(Number(status));
    }
  }
  const { responses } = createOpenApiDocument().components ?? {};
  expect(Object.keys(responses ?? {})).toEqual(Object.keys(ERRORS).map((status) => `Error${status}`));
});

describe('responses match the OpenAPI document', () => {
  beforeEach(() => {
    installSimulator();
  });
  afterEach(async () => {
    await waitForAllApps();
    await resetAll();
  });

  /** @param names what earlier answers have told, for the path */
  async function send(
    app: TestApp,
    { key, route, parameters }: Asked,
    headers: Record<string, string>,
    names: Record<string, string> = {},
    body: unknown = route.body?.example,
  ) {
    const [method = '', path = ''] = key.split(' ');
    const [, kind = ''] = /\/(batches|classifications)\//.exec(path) ?? [];
    const own = names[kind];
    const known = own === undefined ? names : { ...names, id: own };
    const url = path.replaceAll(/:(\w+)/g, (_, name: string) => known[name] ?? parameters?.[name]?.example ?? name);
    const json = body === undefined ? {} : { 'content-type': route.body?.type ?? 'application/json' };
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    return await app.fetch(url, { method, headers: { ...headers, ...json }, ...sent });
  }

  /** @returns the hash of a version of the name in a path that is not current */
  async function oldVersion(app: TestApp, { key, ...rest }: Asked, admin: Record<string, string>): Promise<string> {
    const put = described.find((one) => one.key === key.replace('DELETE', 'PUT').replace('/versions/:hash', ''));
    if (!put) throw new TypeError(`Nothing is put for ${key}.`);
    const example = put.route.body?.example as object;
    const answers = [];
    for (const description of ['old', 'new']) {
      const answer = await send(app, { ...rest, ...put }, admin, {}, { ...example, description });
      answers.push((await answer.json()) as { version: string });
    }
    return answers[0]?.version.split('@')[1] ?? '';
  }

  /** Restores a conversation with the message that the example of a rewind names. @returns its id */
  async function restoreForRewind(app: TestApp, { route }: Asked, admin: Record<string, string>): Promise<string> {
    const { before = '' } = (route.body?.example ?? {}) as { before?: string };
    const body = createLongBackup(2).replace('"msg_3"', JSON.stringify(before));
    const headers = { ...admin, 'content-type': 'application/jsonl' };
    const restored = await app.fetch('/accounts/alice/conversations/rewound/backup', { method: 'PUT', headers, body });
    expect(restored.status, await restored.text()).toBe(201);
    return 'rewound';
  }

  async function expectDescribed({ key, route }: Asked, response: Response): Promise<unknown> {
    const text = new TextDecoder().decode(await response.arrayBuffer());
    const answer = getResponsesByStatus(route)[response.status];
    expect(answer, `${key} answers ${response.status}: ${text}`).toBeDefined();
    expect(response.headers.get('sluice-request-id'), key).toMatch(/^req_/);
    const type = response.headers.get('content-type')?.split(';')[0] ?? null;
    const content = answer?.content?.find((one) => (one.type ?? 'application/json') === type);
    expect(content === undefined ? null : type, `${key} answers ${type}`).toBe(type);
    const body: unknown = type === 'application/json' ? JSON.parse(text) : text;
    expect(content ? content.schema.parse(body) : '', key).toEqual(body);
    return body;
  }

  /** @returns the id of a batch that has ended. */
  async function endedBatch(app: SimulatedEdge, headers: Record<string, string>, path: string, body: object) {
    const made = await app.post(path, body, headers);
    const { id } = (await made.json()) as { id: string };
    await eventually(async () => {
      app.clock.now += 1_000;
      await wakeBatch(id, 'alice');
      const batch = (await (await app.fetch(`/v1/messages/batches/${id}`, { headers })).json()) as MessageBatch;
      expect(batch.processing_status).toBe('ended');
    });
    return id;
  }

  /** What is made comes before what is read, and what is deleted after everything else. */
  const makes = (key: string) => /^(PUT|POST \/(conversations|tokens)$)/.test(key);
  const deletes = (key: string) => key.startsWith('DELETE');
  const blocks = (key: string) => key.endsWith('/block');
  const decides = (key: string) => key.endsWith('/approvals/:approval');
  const renews = (key: string) => key === 'POST /tokens/renew';
  const aboutFiles = (key: string) => key.includes(' /v1/files');

  test('for the example of each route', async () => {
    const clock = { now: Date.now() };
    const upstream = createSimulatedUpstream(clock);
    setBatchUpstream((url, init) => upstream(new Request(url, init)));
    const app = createSimulatedEdge({ ...SENDERS, ...VISITORS, ASSETS, DEPLOYMENT_LIMITS: '{}' }, clock, upstream);
    const token = await createToken('alice', SCOPES);
    const admin = bearerHeader(token);
    await getInbox('github').acceptEvent(createEvent('github_issue-3001-2026-11-20T090000Z'));
    // A backup is only taken up by what is new.
    const restores = ({ key }: Asked) => Number(key.endsWith('/backup'));
    const making = described
      .filter(({ key }) => makes(key) && !blocks(key))
      .sort((left, right) => restores(right) - restores(left));
    for (const one of making) await expectDescribed(one, await send(app, one, admin));
    const ask = { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'Where to?' }] };
    const turn = { ...ask, conversation: 'trip' };
    const said = [await app.post('/v1/messages', turn, admin), await app.post('/v1/messages', turn, admin)];
    for (const response of said) expect(response.status, await response.text()).toBe(200);
    const prefixed = await app.post('/v1/messages', { ...ask, prefix: 'support' }, admin);
    expect(prefixed.status, await prefixed.text()).toBe(200);
    await app.waitUntilSettled();
    const names = {
      request_id: said[0]?.headers.get('sluice-request-id') ?? '',
      turn: said[0]?.headers.get('sluice-turn') ?? '',
      batches: await endedBatch(app, admin, '/v1/messages/batches', {
        requests: [{ custom_id: 'a', params: ask }],
      }),
      classifications: await endedBatch(app, admin, '/classify', {
        labels: ['a', 'b'],
        inputs: [{ id: 'one', input: 'a' }],
        batch: true,
      }),
    };
    for (const one of described.filter(({ key }) => !makes(key) && !deletes(key) && !aboutFiles(key))) {
      if (one.route.needs === 'signature' || decides(one.key) || renews(one.key)) continue;
      const known = one.key === 'GET /tokens/:jti' ? { ...names, jti: decodeJwt(token).jti ?? '' } : names;
      const named = one.key.endsWith('/rewind') ? { ...names, id: await restoreForRewind(app, one, admin) } : known;
      await expectDescribed(one, await send(app, one, admin, named));
    }
    const session = { end: Math.floor(clock.now / 1_000) + 3_600, seconds: 60 };
    const renewable = bearerHeader(await createToken('alice', ['messages'], { session, expiresIn: 60 }));
    for (const one of described.filter(({ key }) => renews(key)))
      await expectDescribed(one, await send(app, one, renewable));
    for (const one of described.filter(({ route }) => route.needs === 'signature')) {
      for (const payload of [one.route.body?.example, { zen: 'Keep it simple.' }]) {
        const text = JSON.stringify(payload);
        const signed = Object.fromEntries(await signGithub(text, WEBHOOK_SECRET, 'issues', 'one'));
        await expectDescribed(one, await send(app, one, signed, {}, payload));
      }
    }
    // Who erases an account, or revokes its tokens, is not heard any more.
    const other = bearerHeader(await createToken('root', SCOPES));
    for (const one of described.filter(({ key }) => (deletes(key) || blocks(key)) && !aboutFiles(key))) {
      const of = one.key.includes(':hash') ? { ...names, hash: await oldVersion(app, one, admin) } : names;
      await expectDescribed(one, await send(app, one, one.key.includes('/accounts/') ? other : admin, of));
    }
  });

  test('for a call that waits for an approval', async () => {
    const app = createSimulatedEdge();
    const headers = bearerHeader(await createToken('alice', SCOPES));
    const asked = await app.post(
      '/v1/messages',
      {
        model: 'claude-haiku-5-5',
        max_tokens: 200,
        conversation: 'waits',
        tools: [{ name: 'edge_clock', run: { worker: true, approval: 'always' } }],
        messages: [{ role: 'user', content: 'Ask edge_clock for UTC' }],
      },
      headers,
    );
    expect(await asked.json()).toMatchObject({ stop_reason: 'pause_turn' });
    const [lists, decision] = ['GET /conversations/:id/approvals', 'POST /conversations/:id/approvals/:approval'].map(
      (wanted) => described.find(({ key }) => key === wanted),
    );
    if (!lists || !decision) throw new Error('No such routes.');
    const { data } = (await expectDescribed(lists, await send(app, lists, headers, { id: 'waits' }))) as {
      data: { id: string }[];
    };
    const names = { id: 'waits', approval: data[0]?.id ?? '' };
    await expectDescribed(decision, await send(app, decision, headers, names));
  });

  test('for uploaded files', async () => {
    const app = createSimulatedEdge();
    const headers = bearerHeader(await createToken('alice', ['messages']));
    let names: Record<string, string> = {};
    // As they are listed: it is uploaded first, and deleted at last.
    for (const one of described.filter(({ key }) => aboutFiles(key))) {
      const uploads = one.key.startsWith('POST');
      const form = new FormData();
      for (const [name, value] of Object.entries(one.route.body?.example ?? {}))
        form.set(name, name === 'file' ? new File([value], 'a.txt', { type: 'text/plain' }) : String(value));
      const response = uploads
        ? await app.fetch('/v1/files', { method: 'POST', headers, body: form })
        : await send(app, one, headers, names);
      if (one.key.endsWith('/content')) {
        // Only what a tool has made can be read: the upstream says so, and is relayed.
        expect([response.status, await response.text()]).toEqual([
          400,
          expect.stringContaining('file_not_downloadable'),
        ]);
        continue;
      }
      const body = await expectDescribed(one, response);
      if (uploads) names = { id: (body as { id: string }).id };
    }
  });

  test('for the credential and the scope that each route requires', async () => {
    const app = createSimulatedEdge({ ...SENDERS, ...VISITORS, ASSETS, DEPLOYMENT_LIMITS: '{}' });
    for (const one of described) {
      const { key, route } = one;
      const bare = await send(app, one, {}, {}, route.needs === 'signature' ? {} : route.body?.example);
      if (route.needs === 'nothing') {
        await expectDescribed(one, bare);
        continue;
      }
      expect(bare.status, key).toBe(401);
      if (route.needs === 'credential' || route.needs === 'signature') continue;
      const needed = getRequiredScopes(route.needs);
      const scopes = SCOPES.filter((scope) => !needed.includes(scope) && !scope.startsWith('admin'));
      const without = await send(app, one, bearerHeader(await createToken('bob', scopes)));
      expect(without.status, key).toBe(403);
      expect((await readError(without)).message).toContain(needed.map((scope) => `\`${scope}\``).join(' or '));
      for (const scope of needed) {
        const within = await send(app, one, bearerHeader(await createToken('carol', [scope])));
        expect([401, 403], key).not.toContain(within.status);
        await within.body?.cancel();
      }
    }
  });
});
