import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import * as z from 'zod/mini';
import { prefixAnswer } from '#edge/registry/prefixes/prefixes-answers.schema.ts';
import { nameRow, versionRow } from '#edge/registry/versions/versions-answers.schema.ts';
import { readError } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  authorizationFor,
  bindings,
  countStoreCalls,
  createProse,
  createSimulatedEdge,
  createSimulatedUpstream,
  createTool,
  requestUsage,
  storePrefix,
  tryStorePrefix,
} from '#test/support/prefixes.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const SUPPORT = { system: createProse(600), model: 'claude-opus-5-5', description: 'first' };
const HI = { messages: [{ role: 'user', content: 'Hi' }] };

const statusOf = async (response: Promise<Response>) => {
  const answer = await response;
  return { status: answer.status, ...(await readError(answer)) };
};

test('stores a schema that Claude will reject, and warns with Claude’s error message', async () => {
  const app = createSimulatedEdge();
  const input_schema = { type: 'object', properties: {} };
  const tools = [{ name: 'look', strict: true, input_schema }];
  const { warnings } = await storePrefix(
    app,
    'support',
    { tools, model: 'claude-opus-5-5' },
    await authorizationFor('alice'),
  );
  expect(warnings[0]).toBe(
    "Claude will reject requests with this: tools.0.custom.input_schema: For 'object' type, 'additionalProperties' must be explicitly set to false (the tool look)",
  );
});

describe('the cache of the upstream', () => {
  for (const cache_ttl of ['5m', '1h'] as const) {
    test(`serves the whole prefix at the second request, with and without the caller’s own system (${cache_ttl})`, async () => {
      const app = createSimulatedEdge();
      const alice = await authorizationFor('alice');
      const parts = { tools: [createTool('find', createProse(600))], system: createProse(700) };
      const stored = await storePrefix(app, 'support', { ...parts, model: 'claude-opus-5-5', cache_ttl }, alice);
      const first = await requestUsage(app, { prefix: 'support' }, alice);
      expect(first.cache_read_input_tokens).toBe(0);
      const long = cache_ttl === '1h' ? 'ephemeral_1h_input_tokens' : 'ephemeral_5m_input_tokens';
      expect(first.cache_creation[long]).toBeGreaterThanOrEqual(stored.input_tokens);
      for (const own of [{}, { system: 'Speak French.' }, { system: [{ type: 'text', text: 'Be brief.' }] }]) {
        const messages = [{ role: 'user', content: `Something else: ${JSON.stringify(own)}` }];
        const again = await requestUsage(app, { prefix: 'support', messages, ...own }, alice);
        // The simulator counts the three tokens of the request with the first block.
        expect(again.cache_read_input_tokens).toBe(stored.input_tokens + 3);
      }
      app.clock.now += cache_ttl === '1h' ? 3_500_000 : 290_000;
      expect((await requestUsage(app, { prefix: 'support' }, alice)).cache_read_input_tokens).toBeGreaterThan(0);
      app.clock.now += cache_ttl === '1h' ? 3_700_000 : 310_000;
      expect((await requestUsage(app, { prefix: 'support' }, alice)).cache_read_input_tokens).toBe(0);
    });
  }

  test('serves a prefix with messages, and at a repeated request also the rest of the history', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const messages = [
      { role: 'user', content: createProse(700) },
      { role: 'assistant', content: 'Understood.' },
    ];
    const { input_tokens } = await storePrefix(app, 'book', { messages, model: 'claude-opus-5-5' }, alice);
    await requestUsage(app, { prefix: 'book' }, alice);
    const second = await requestUsage(app, { prefix: 'book', messages: [{ role: 'user', content: 'Other' }] }, alice);
    expect(second.cache_read_input_tokens).toBe(input_tokens + 3);
    const same = await requestUsage(app, { prefix: 'book', messages: [{ role: 'user', content: 'Other' }] }, alice);
    expect(same.cache_read_input_tokens).toBeGreaterThan(input_tokens + 3);
    expect(same.input_tokens + same.cache_creation_input_tokens).toBe(0);
  });

  test('serves the prefix’s tools at the first request that adds tools, and the whole prefix at the second', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const tools = [createTool('find', createProse(800))];
    const model = 'claude-opus-5-5';
    const whole = await storePrefix(app, 'support', { tools, system: createProse(700), model }, alice);
    const only = await storePrefix(app, 'tools', { tools, model }, alice);
    await requestUsage(app, { prefix: 'support' }, alice);
    const own = [createTool('mine')];
    const first = await requestUsage(app, { prefix: 'support', tools: own }, alice);
    expect(first.cache_read_input_tokens).toBe(only.input_tokens + 3);
    const second = await requestUsage(
      app,
      { prefix: 'support', tools: own, messages: [{ role: 'user', content: 'B' }] },
      alice,
    );
    expect(second.cache_read_input_tokens).toBeGreaterThan(whole.input_tokens);
  });

  test('misses once when the version changes', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    await storePrefix(app, 'support', SUPPORT, alice);
    await requestUsage(app, { prefix: 'support' }, alice);
    expect((await requestUsage(app, { prefix: 'support' }, alice)).cache_read_input_tokens).toBeGreaterThan(0);
    await storePrefix(app, 'support', { ...SUPPORT, system: `New. ${SUPPORT.system}` }, alice);
    expect((await requestUsage(app, { prefix: 'support' }, alice)).cache_read_input_tokens).toBe(0);
    expect((await requestUsage(app, { prefix: 'support' }, alice)).cache_read_input_tokens).toBeGreaterThan(0);
  });
});

describe('PUT /prefixes/:name', () => {
  test('returns the version’s token count from the upstream and its costs from the price table', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const response = await tryStorePrefix(app, 'support', { system: createProse(6_000) }, alice);
    const answer = z.strictObject(prefixAnswer.shape).parse(await response.json());
    expect(answer).toMatchObject({
      name: 'support',
      version: expect.stringMatching(/^support@[0-9a-f]{32}$/),
      model: 'claude-haiku-5-5',
      minimum_cacheable_tokens: 512,
      warnings: [],
      pays_from_requests: 2,
    });
    const { input_tokens, cost_usd } = answer;
    expect(cost_usd?.cold).toBeCloseTo((input_tokens * 0.1) / 1e6, 9);
    expect(cost_usd?.write).toBeCloseTo((input_tokens * 0.125) / 1e6, 9);
    expect(cost_usd?.read).toBeCloseTo((input_tokens * 0.01) / 1e6, 9);
    const counted = await app.post('/count-tokens', { ...HI, model: 'claude-haiku-5-5', prefix: 'support' }, alice);
    const alone = await app.post('/count-tokens', { ...HI, model: 'claude-haiku-5-5' }, alice);
    const tokens = async (response: Response) => ((await response.json()) as { input_tokens: number }).input_tokens;
    expect((await tokens(counted)) - (await tokens(alone))).toBe(input_tokens);
  });

  test('warns that a prefix is too short to be cached, with the minimum', async () => {
    const app = createSimulatedEdge();
    const { warnings, input_tokens, pays_from_requests } = await storePrefix(
      app,
      'short',
      { system: 'Be kind.' },
      await authorizationFor('alice'),
    );
    expect(warnings).toEqual([
      `This prefix has ${input_tokens} tokens, but claude-haiku-5-5 caches at least 512. The prefix is cached only together with messages.`,
    ]);
    expect(pays_from_requests).toBeNull();
  });

  test('returns the same version for the same content, and a new version for different content', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(app, 'support', { system: 'é', model: 'claude-opus-5-5' }, alice);
    const other = '{ "model":"claude-opus-5-5",\n"system":"\\u00e9", "cache_ttl":"5m" }';
    expect((await storePrefix(app, 'support', other, alice)).version).toBe(version);
    expect((await storePrefix(app, 'support', { system: 'é' }, alice)).version).not.toBe(version);
    const versions = await app.fetch('/prefixes/support/versions', { headers: alice });
    expect(((await versions.json()) as { data: unknown[] }).data).toHaveLength(2);
  });

  test('rejects an invalid prefix with an error that explains the problem, and stores nothing', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const cases: [unknown, number, RegExp][] = [
      [{}, 400, /requires non-empty tools, system or messages/],
      [{ system: 1 }, 400, /^system: /],
      [{ system: 'x', cache_ttl: '2h' }, 400, /^cache_ttl: Input should be '5m' or '1h'/],
      [{ system: 'x', extra: 1 }, 400, /extra/],
      [{ tools: [1] }, 400, /^tools\.0: /],
      [{ tools: [{ name: 'no schema' }] }, 400, /tools\.0/],
      [{ tools: [createTool('a'), createTool('a')] }, 400, /unique/],
      [{ messages: [{ role: 'user', content: [] }] }, 400, /^messages: /],
      [
        { system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] },
        400,
        /^system\.0\.cache_control: /,
      ],
      [{ system: 'x', model: 'claude-nothing-1' }, 404, /claude-nothing-1/],
      // Opus 5.5 would think where Haiku 4.5 does not, and so would never step in.
      [
        { system: 'x', model: 'claude-haiku-4-5', max_tokens: 300, fallback_models: ['claude-opus-5-5'] },
        400,
        /^max_tokens: this value is not supported by claude-opus-5-5 \(supported: 2048 or more with thinking\)\. Change it, or use another/,
      ],
      [{ system: 'x'.repeat(20 * 1024 * 1024) }, 413, /20971520/],
      [{ tools: [{ name: 'a', description: 'x'.repeat(512 * 1024) }] }, 413, /^tools: 524\d{3} bytes\. At most 524288/],
      [{ version: 'support' }, 400, /^version: /],
      [{ version: 'other@0123456789abcdef0123456789abcdef' }, 400, /^version: /],
      [{ version: 'support@0123456789abcdef0123456789abcdef' }, 404, /does not exist/],
      ['nonsense', 400, /not valid JSON/],
    ];
    for (const [body, status, message] of cases) {
      const answer = await statusOf(tryStorePrefix(app, 'support', body, alice));
      expect({ status: answer.status, message: answer.message }).toEqual({
        status,
        message: expect.stringMatching(message) as string,
      });
    }
    expect((await app.fetch('/prefixes/support', { headers: alice })).status).toBe(404);
    for (const name of ['a@b', '-a', 'a'.repeat(65), 'a%20b', '%F0%9F%98%80']) {
      expect(await statusOf(tryStorePrefix(app, name, { system: 'x' }, alice))).toMatchObject({ status: 400 });
    }
  });

  test('rolls back to an earlier version', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const first = await storePrefix(app, 'support', SUPPORT, alice);
    const second = await storePrefix(app, 'support', { ...SUPPORT, system: 'Other.' }, alice);
    const back = await storePrefix(app, 'support', { version: first.version }, alice);
    expect({ ...back, notes: undefined }).toEqual({ ...first, notes: undefined });
    await requestUsage(app, { prefix: 'support' }, alice);
    expect(app.sent.at(-1)?.text).toContain(SUPPORT.system);
    const response = await app.fetch('/prefixes/support/versions', { headers: alice });
    const { data } = (await response.json()) as { data: { version: string; current: boolean }[] };
    expect(
      data.map((row) => z.strictObject(versionRow.shape).parse(row)).map(({ version, current }) => [version, current]),
    ).toEqual([
      [second.version, false],
      [first.version, true],
    ]);
  });

  test('returns a retryable 503 while KV rejects writes, and stores the prefix once KV accepts them', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const spy = vi.spyOn(Object.getPrototypeOf(bindings.STORE) as KVNamespace, 'put');
    spy.mockImplementation(async (key: string) => {
      if (key.startsWith('prefix')) throw new Error('KV PUT failed: 429 Too Many Requests');
    });
    const refused = await tryStorePrefix(app, 'support', SUPPORT, alice);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('x-should-retry')).toBeNull();
    expect((await readError(refused)).type).toBe('api_error');
    spy.mockRestore();
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    await requestUsage(createSimulatedEdge(), { prefix: version }, alice);
    await requestUsage(createSimulatedEdge(), { prefix: 'support' }, alice);
  });
});

describe('a request with a prefix', () => {
  test('is sent with the prefix’s content and defaults, whether the body or a header names the prefix', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(
      app,
      'support',
      { ...SUPPORT, max_tokens: 21, tools: [createTool('find')] },
      alice,
    );
    const sent = app.sent.length;
    for (const [body, headers] of [
      [{ ...HI, prefix: 'support' }, {}],
      [{ ...HI, prefix: version }, {}],
      [HI, { 'sluice-prefix': 'support' }],
      [{ ...HI, prefix: version }, { 'sluice-prefix': version }],
    ] as const) {
      const response = await app.post('/messages', body, { ...alice, ...headers });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toContain('text/event-stream');
      await response.text();
    }
    await app.waitUntilSettled();
    const texts = app.sent.slice(sent).map(({ text }) => text);
    expect(new Set(texts).size).toBe(1);
    const up = JSON.parse(texts[0] ?? '') as Record<string, unknown>;
    expect(Object.keys(up).sort()).toEqual([
      'cache_control',
      'max_tokens',
      'messages',
      'model',
      'stream',
      'system',
      'tools',
    ]);
    expect(up).toMatchObject({ model: 'claude-opus-5-5', max_tokens: 21, stream: true, messages: HI.messages });
    expect(app.sent.slice(sent).every(({ headers }) => !headers.has('sluice-prefix'))).toBe(true);
    const rows = await app.fetch('/usage/requests', { headers: alice });
    const { data } = (await rows.json()) as { data: { prefix: string }[] };
    expect(data.map(({ prefix }) => prefix)).toEqual([version, version, version, version]);
  });

  test('has a maximum cost that includes the prefix', async () => {
    const app = createSimulatedEdge();
    await storePrefix(app, 'support', SUPPORT, await authorizationFor('alice'));
    const limits = {
      method: 'PUT',
      headers: { 'content-type': 'application/json', ...(await authorizationFor('root', 'admin')) },
    };
    await app.fetch('/accounts/alice/limits', { ...limits, body: JSON.stringify({ usd_per_day: 0.003 }) });
    const before = app.sent.length;
    const short = { model: 'claude-opus-5-5', max_tokens: 1, ...HI, stream: false };
    expect((await app.post('/messages', short, await authorizationFor('alice'))).status).toBe(200);
    const refused = await statusOf(
      app.post('/messages', { ...short, prefix: 'support' }, await authorizationFor('alice')),
    );
    expect(refused).toMatchObject({ status: 429, type: 'billing_error' });
    // The counts of what they come to: by bytes the first was too much for its half, the second for the whole limit.
    expect(app.sent.slice(before).map(({ url }) => url.pathname)).toEqual([
      '/v1/messages/count_tokens',
      '/v1/messages',
      '/v1/messages/count_tokens',
    ]);
    expect(app.sent.at(-1)?.text).toContain(SUPPORT.system);
  });

  test('is rejected before any upstream call if the prefix is unknown, malformed or incompatible', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    const sent = app.sent.length;
    const cases: [object, Record<string, string>, number][] = [
      [{ prefix: 'nothing' }, {}, 404],
      [{ prefix: `${version.slice(0, -1)}g` }, {}, 400],
      [{ prefix: `support@${'0'.repeat(32)}` }, {}, 404],
      [{ prefix: 'a b' }, {}, 400],
      [{ prefix: 1 }, {}, 400],
      [{ prefix: null }, {}, 400],
      [{}, { 'sluice-prefix': '' }, 400],
      [{ prefix: 'support' }, { 'sluice-prefix': version }, 400],
      [{ prefix: 'support', messages: [] }, {}, 400],
      [{ prefix: 'support', messages: undefined }, {}, 400],
      [{ prefix: 'support', model: 1 }, {}, 400],
      [{ prefix: 'support', tools: 'x' }, {}, 400],
      // No default for it, neither here nor there.
      [{ prefix: 'support', max_tokens: undefined }, {}, 400],
    ];
    for (const [body, headers, status] of cases) {
      // A count needs no `max_tokens`.
      const paths = 'max_tokens' in body ? ['/messages'] : ['/messages', '/v1/messages', '/count-tokens'];
      for (const path of paths) {
        const whole = { model: 'claude-opus-5-5', max_tokens: 5, ...HI, ...body };
        const answer = await statusOf(app.post(path, whole, { ...alice, ...headers }));
        expect({ path, body, status: answer.status }).toEqual({ path, body, status });
      }
    }
    expect(app.sent.length).toBe(sent);
  });

  test('reads KV three times in a new isolate, not at all within a minute, and twice after a minute', async () => {
    const clock = { now: Date.now() };
    const simulate = createSimulatedUpstream(clock);
    const alice = await authorizationFor('alice');
    await storePrefix(
      createSimulatedEdge({}, clock, simulate),
      'everybody',
      SUPPORT,
      await authorizationFor('root', 'admin'),
    );
    await storePrefix(createSimulatedEdge({}, clock, simulate), 'own', { ...SUPPORT, system: 'Mine.' }, alice);
    for (const [prefix, cold] of [
      ['everybody', 3],
      ['own', 3],
    ] as const) {
      const { store, reads } = countStoreCalls();
      const app = createSimulatedEdge({ STORE: store }, clock, simulate);
      await requestUsage(app, { prefix }, alice);
      expect({ prefix, reads: reads() }).toEqual({ prefix, reads: cold });
      await requestUsage(app, { prefix }, alice);
      await requestUsage(app, { prefix }, alice);
      expect(reads()).toBe(cold);
      const spy = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61_000);
      await requestUsage(app, { prefix }, alice);
      spy.mockRestore();
      // The pointers again; the value never goes stale.
      expect(reads()).toBe(cold + 2);
    }
  });
});

describe('the version that a PUT returns', () => {
  test('can be used before KV has a copy', async () => {
    const blind = new Proxy(bindings.STORE, {
      get: (target, name) =>
        name === 'get'
          ? async () => null
          : (Reflect.get(target, name) as (...of: unknown[]) => unknown)?.bind?.(target),
    });
    const elsewhere = createSimulatedEdge({ STORE: blind });
    const app = createSimulatedEdge();
    for (const owner of [await authorizationFor('alice'), await authorizationFor('root', 'admin')]) {
      const { version } = await storePrefix(app, 'support', { ...SUPPORT, description: JSON.stringify(owner) }, owner);
      await requestUsage(elsewhere, { prefix: version }, await authorizationFor('alice'));
      expect(elsewhere.sent.at(-1)?.text).toContain(SUPPORT.system);
    }
    const big = { messages: [{ role: 'user', content: 'ä'.repeat(2_500_000) }], model: 'claude-opus-5-5' };
    const { version } = await storePrefix(app, 'big', big, await authorizationFor('alice'));
    const counted = await elsewhere.post('/count-tokens', { ...HI, prefix: version }, await authorizationFor('alice'));
    expect(counted.status).toBe(200);
    expect(elsewhere.sent.at(-1)?.text).toContain('ä'.repeat(2_500_000));
  });

  test('cannot be found while KV cannot be read: a request that names a prefix gets a retryable 503', async () => {
    const broken = new Proxy(bindings.STORE, {
      get: (target, name) =>
        name === 'get'
          ? async () => {
              throw new Error('KV GET failed: 500');
            }
          : (Reflect.get(target, name) as (...of: unknown[]) => unknown)?.bind?.(target),
    });
    const app = createSimulatedEdge({ STORE: broken });
    const response = await app.post(
      '/messages',
      { ...HI, model: 'm', max_tokens: 1, prefix: 'x' },
      await authorizationFor('alice'),
    );
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(app.sent).toEqual([]);
  });
});

describe('stored prefixes', () => {
  test('of the account take precedence over the deployment’s, and other accounts cannot use them', async () => {
    const app = createSimulatedEdge();
    const [alice, bob, root] = [
      await authorizationFor('alice'),
      await authorizationFor('bob'),
      await authorizationFor('root', 'admin'),
    ];
    await storePrefix(app, 'support', { system: 'Everybody’s.', model: 'claude-opus-5-5' }, root);
    const own = await storePrefix(app, 'support', { system: 'Alice’s.', model: 'claude-opus-5-5' }, alice);
    await storePrefix(app, 'secret', { system: 'Alice’s secret.', model: 'claude-opus-5-5' }, alice);
    const textFor = async (headers: Record<string, string>, prefix: string) => {
      await requestUsage(app, { prefix }, headers);
      return /"text":"(.*?)"/.exec(app.sent.at(-1)?.text ?? '')?.[1];
    };
    expect(await textFor(alice, 'support')).toBe('Alice’s.');
    expect(await textFor(bob, 'support')).toBe('Everybody’s.');
    for (const ref of [own.version, 'secret']) {
      const used = await statusOf(app.post('/messages', { ...HI, model: 'm', max_tokens: 1, prefix: ref }, bob));
      const read = await statusOf(app.fetch(`/prefixes/${ref}`, { headers: bob }));
      expect([used.status, read.status]).toEqual([404, 404]);
    }
    const path = '/prefixes/secret/versions';
    expect((await app.fetch(path, { headers: bob })).status).toBe(404);
    expect((await app.fetch(path, { headers: root })).status).toBe(404);
    expect((await app.fetch(path, { headers: alice })).status).toBe(200);
    expect((await app.fetch('/prefixes/secret', { method: 'DELETE', headers: bob })).status).toBe(404);
    // What is the deployment's is not an account's to delete.
    expect((await app.fetch('/prefixes/support', { method: 'DELETE', headers: bob })).status).toBe(404);
    expect((await app.fetch('/prefixes/support', { headers: bob })).status).toBe(200);
  });

  test('are listed by name in pages, with the account’s own in place of the deployment’s', async () => {
    const app = createSimulatedEdge();
    const [alice, root] = [await authorizationFor('alice'), await authorizationFor('root', 'admin')];
    for (const name of ['b', 'd', 'e']) await storePrefix(app, name, { system: 'x' }, root);
    for (const name of ['a', 'c', 'd']) await storePrefix(app, name, { system: 'y', description: 'mine' }, alice);
    const page = async (query: string) => {
      const response = await app.fetch(`/prefixes${query}`, { headers: alice });
      const { data, ...rest } = (await response.json()) as { data: unknown[] };
      return {
        names: data.map((row) => z.strictObject(nameRow.shape).parse(row)).map(({ name, owner }) => name + owner[0]),
        ...rest,
      };
    };
    const all = ['aa', 'bd', 'ca', 'da', 'ed'];
    expect(await page('')).toEqual({ names: all, has_more: false, first_id: 'a', last_id: 'e' });
    expect(await page('?limit=2')).toMatchObject({ names: all.slice(0, 2), has_more: true });
    expect(await page('?limit=2&after_id=b')).toMatchObject({ names: all.slice(2, 4), has_more: true });
    expect(await page('?limit=2&after_id=d')).toMatchObject({ names: all.slice(4), has_more: false });
    expect(await page('?limit=2&before_id=d')).toMatchObject({ names: all.slice(1, 3), has_more: true });
  });

  test('can be read by name and by version, and deleted', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    for (const ref of ['support', version]) {
      const response = await app.fetch(`/prefixes/${ref}`, { headers: alice });
      expect(await response.json()).toEqual({
        type: 'prefix',
        name: 'support',
        version,
        owner: 'account',
        tools: [],
        system: SUPPORT.system,
        messages: [],
        model: 'claude-opus-5-5',
        cache_ttl: '5m',
        description: 'first',
      });
    }
    const gone = await app.fetch('/prefixes/support', { method: 'DELETE', headers: alice });
    expect(await gone.json()).toEqual({ type: 'prefix_deleted', name: 'support' });
    expect((await app.fetch('/prefixes/support', { method: 'DELETE', headers: alice })).status).toBe(404);
    expect((await app.fetch('/prefixes/support', { headers: alice })).status).toBe(404);
    const used = app.post('/messages', { ...HI, model: 'm', max_tokens: 1, prefix: 'support' }, alice);
    expect((await used).status).toBe(404);
    expect((await bindings.STORE.list({ prefix: 'prefix' })).keys).toEqual([]);
    expect((await app.fetch('/prefixes/support@nonsense', { headers: alice })).status).toBe(404);
  });

  test('require the scope `messages` for reading and the scope `prefixes` for writing', async () => {
    const app = createSimulatedEdge();
    const reader = await authorizationFor('alice', 'messages');
    const writer = await authorizationFor('alice', 'prefixes');
    expect((await tryStorePrefix(app, 'support', SUPPORT, reader)).status).toBe(403);
    expect((await tryStorePrefix(app, 'support', SUPPORT, writer)).status).toBe(200);
    expect((await app.fetch('/prefixes/support', { method: 'DELETE', headers: reader })).status).toBe(403);
    for (const path of ['/prefixes', '/prefixes/support', '/prefixes/support/versions']) {
      expect((await app.fetch(path, { headers: reader })).status).toBe(200);
      expect((await app.fetch(path, { headers: writer })).status).toBe(403);
      expect((await app.fetch(path)).status).toBe(401);
    }
  });

  test('reject a revoked credential on every route', async () => {
    const app = createSimulatedEdge();
    const token = await createToken('alice', ['messages', 'prefixes']);
    const headers = bearerHeader(token);
    await storePrefix(app, 'support', SUPPORT, headers);
    await app.fetch('/accounts/alice/tokens', { method: 'DELETE', headers: await authorizationFor('root', 'admin') });
    const sent = app.sent.length;
    for (const [method, path] of [
      ['GET', '/prefixes'],
      ['GET', '/prefixes/support'],
      ['GET', '/prefixes/support/versions'],
      ['PUT', '/prefixes/support'],
      ['DELETE', '/prefixes/support'],
    ] as const) {
      const body = method === 'PUT' ? JSON.stringify(SUPPORT) : null;
      const response = await app.fetch(path, {
        method,
        headers: { 'content-type': 'application/json', ...headers },
        body,
      });
      expect({ method, path, status: response.status }).toEqual({ method, path, status: 401 });
    }
    const used = await app.post('/messages', { ...HI, prefix: 'support', max_tokens: 1 }, headers);
    expect(used.status).toBe(401);
    expect(app.sent.length).toBe(sent);
  });

  test('are deleted when their account is erased', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const { version } = await storePrefix(app, 'support', SUPPORT, alice);
    await requestUsage(app, { prefix: version }, alice);
    await app.fetch('/accounts/alice', { method: 'DELETE', headers: await authorizationFor('root', 'admin') });
    await eventually(async () => expect((await bindings.STORE.list({ prefix: 'prefix' })).keys).toEqual([]));
  });
});

describe('any input', () => {
  test('gets a success or a 4xx with the right error type on every prefix route', async () => {
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    await storePrefix(app, 'there', { ...SUPPORT, system: 'x' }, alice);
    const part = fc.oneof(
      fc.constantFrom('there', 'x', '', '.', '..', 'a@b', 'there@', '@', '%', '%00', 'é'),
      fc.string(),
    );
    const body = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record(
          {
            system: fc.oneof(fc.jsonValue(), fc.constant([{ type: 'text', text: 'a' }])),
            tools: fc.oneof(fc.jsonValue(), fc.constant([createTool('t')])),
            messages: fc.oneof(
              fc.jsonValue(),
              fc.array(fc.record({ role: fc.constantFrom('user', 'x'), content: fc.jsonValue() })),
            ),
            model: fc.oneof(fc.string(), fc.constant('claude-opus-5-5')),
            max_tokens: fc.oneof(fc.integer(), fc.double()),
            cache_ttl: fc.constantFrom('5m', '1h', '', null),
            version: fc.oneof(fc.string(), fc.constant(`there@${'0'.repeat(32)}`)),
          },
          { requiredKeys: [] },
        )
        .map((value) => JSON.stringify(value)),
    );
    await tryAsyncCases(
      150,
      part,
      part,
      fc.constantFrom('GET', 'PUT', 'DELETE', 'POST'),
      body,
      async (name, query, method, sent) => {
        const path = `/prefixes/${encodeURIComponent(name.isWellFormed() ? name : '')}`;
        for (const end of ['', '/versions', `?limit=${encodeURIComponent(query.isWellFormed() ? query : '')}`]) {
          const init = method === 'PUT' || method === 'POST' ? { body: sent } : {};
          const headers = { 'content-type': 'application/json', ...alice };
          const response = await app.fetch(path + end, { method, headers, ...init });
          if (response.status >= 500) throw new Error(`${response.status} ${await response.text()}`);
          if (response.status >= 400) await readError(response);
        }
      },
    );
  });
});
