import { describe, expect, test, vi } from 'vitest';
import { getModelLifecycle, ModelTable } from '#edge/claude/models/models.ts';
import { describeModelPrices } from '#edge/messages/served-models.ts';
import { createTestApp, readError, type SentRequest } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';

const ALL = [
  'claude-opus-5-5',
  'claude-sonnet-5-5',
  'claude-sonnet-5',
  'claude-haiku-5-5',
  'claude-haiku-4-5-20251001',
];
const ALIASES = JSON.stringify({ quick: 'claude-haiku-5-5', clever: 'claude-opus-5-5' });

interface List {
  data: { id: string; prices: unknown }[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

/** The upstream's list, a page of it as the query says. */
function upstream({ url }: SentRequest): Response {
  const limit = Number(url.searchParams.get('limit') ?? 20);
  const start = ALL.indexOf(url.searchParams.get('after_id') ?? '') + 1;
  const data = ALL.slice(start, start + limit).map((id) => ({ type: 'model', id, display_name: id }));
  const [id] = url.pathname.split('/').slice(-1);
  return Response.json(
    url.pathname.endsWith('/models')
      ? { data, has_more: start + limit < ALL.length, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null }
      : { type: 'model', id },
  );
}

async function limitedTo(models: string[] | undefined) {
  const app = createTestApp(upstream, { MODEL_ALIASES: ALIASES });
  const put = await app.fetch('/accounts/dev/limits', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(models ? { models } : {}),
  });
  expect(put.status).toBe(200);
  const list = async (query = '') => await (await app.fetch(`/v1/models${query}`)).json<List>();
  return { app, list };
}

describe('an account with the limit `models`', () => {
  test('lists only its models, with their prices, on both routes', async () => {
    const { app, list } = await limitedTo(['claude-sonnet-5', 'claude-haiku-4-5']);
    const { data, ...page } = await list();
    expect(data.map(({ id }) => id)).toEqual(['claude-sonnet-5', 'claude-haiku-4-5-20251001']);
    expect(data[0]?.prices).toMatchObject({ input: 2 });
    expect(page).toEqual({ has_more: false, first_id: 'claude-sonnet-5', last_id: 'claude-haiku-4-5-20251001' });
    expect((await (await app.fetch('/models')).json<List>()).data).toEqual(data);
  });

  test('lists a model by its alias if only the alias is allowed', async () => {
    const { list } = await limitedTo(['quick', 'clever', 'claude-opus-5-5']);
    expect((await list()).data.map(({ id }) => id)).toEqual(['claude-opus-5-5', 'quick', 'clever']);
  });

  test('pages through its models, even if pages of the upstream contain none of them', async () => {
    const { list } = await limitedTo(['claude-opus-5-5', 'claude-haiku-5-5', 'claude-haiku-4-5']);
    const seen: string[] = [];
    for (let after = '', more = true; more; ) {
      const { data, has_more, last_id } = await list(`?limit=1${after}`);
      expect(data).toHaveLength(1);
      seen.push(...data.map(({ id }) => id));
      more = has_more;
      after = `&after_id=${last_id}`;
    }
    expect(seen).toEqual(['claude-opus-5-5', 'claude-haiku-5-5', 'claude-haiku-4-5-20251001', 'quick', 'clever']);
    const before = await list('?limit=1&before_id=claude-haiku-4-5-20251001');
    expect(before).toMatchObject({ data: [{ id: 'claude-haiku-5-5' }], has_more: true });
  });

  test('can read an allowed model, and gets a 404 for another one', async () => {
    const { app } = await limitedTo(['claude-sonnet-5', 'quick']);
    for (const name of ['claude-sonnet-5', 'quick']) expect((await app.fetch(`/v1/models/${name}`)).status).toBe(200);
    const other = await app.fetch('/v1/models/claude-opus-5-5');
    expect(other.status).toBe(404);
    expect((await readError(other)).message).toContain('GET /models');
  });

  test('gets an error that lists the allowed models, if a message names another one', async () => {
    for (const [models, told] of [
      [['claude-sonnet-5', 'quick'], 'It can use claude-sonnet-5, quick.'],
      [[], 'Its limit `models` allows none'],
      [Array.from({ length: 12 }, (_, index) => `m${index}`), 'm9 and 2 more, which GET /models lists.'],
    ] as const) {
      const { app } = await limitedTo([...models]);
      const messages = [{ role: 'user', content: 'Hi' }];
      const refused = await app.post('/v1/messages', { model: 'claude-opus-5-5', max_tokens: 9, messages });
      expect(refused.status).toBe(404);
      expect((await readError(refused)).message).toContain(told);
      expect(app.sent).toEqual([]);
    }
  });
});

test('an account without the limit `models` gets the upstream’s pages', async () => {
  const app = createTestApp(upstream);
  expect(await (await app.fetch('/v1/models?limit=2&after_id=claude-opus-5-5')).json()).toMatchObject({
    data: [{ id: 'claude-sonnet-5-5' }, { id: 'claude-sonnet-5' }],
    has_more: true,
  });
  expect(app.sent.map(({ url }) => url.search)).toEqual(['?limit=2&after_id=claude-opus-5-5']);
});

test('the names in MODEL_ALIASES are listed after the models, with the prices of their targets', async () => {
  const { list } = await limitedTo(undefined);
  const { data } = await list();
  expect(data.map(({ id }) => id)).toEqual([...ALL, 'quick', 'clever']);
  expect(data.at(-1)?.prices).toEqual(data.find(({ id }) => id === 'claude-opus-5-5')?.prices);
  expect((await list('?limit=1&after_id=quick')).data.map(({ id }) => id)).toEqual(['clever']);
});

test('a model has its lifecycle, thinking types, efforts, and prices with those of batches', async () => {
  const { app } = await limitedTo(undefined);
  const one = async (id: string) => await (await app.fetch(`/models/${id}`)).json();
  const haiku = {
    input: 0.1,
    long_prompt: { input: 0.5 },
    batch: { input: 0.05, output: 0.25, long_prompt: { input: 0.25, above_tokens: 100_000 } },
  };
  expect(await one('claude-haiku-5-5')).toMatchObject({
    line: 'haiku',
    lifecycle: 'active',
    thinking: { default: 'adaptive', types: ['adaptive', 'disabled'], off_efforts: ['low', 'medium', 'high'] },
    efforts: ['low', 'medium', 'high', 'xhigh', 'max'],
    default_effort: 'medium',
    prices: haiku,
  });
  expect(await one('claude-opus-4-5')).toMatchObject({ lifecycle: expect.stringMatching(/^(?:deprecated|retired)$/) });
  const unknown = { lifecycle: null, line: null, thinking: null, efforts: [], default_effort: null, prices: null };
  expect(await one('somebodys-model')).toMatchObject(unknown);
});

test('the fast prices of a model are returned until it retires', () => {
  const opus = new ModelTable().findRow('claude-opus-4-8');
  const end = Date.parse('2026-11-30T00:00:00Z');
  expect(describeModelPrices(opus, end - 1)).toMatchObject({ fast: { input: 10 }, batch: { input: 2.5 } });
  expect(describeModelPrices(opus, end)).not.toHaveProperty('fast');
  expect(getModelLifecycle({ retires_at: '2026-11-30T00:00:00Z' }, end - 1)).toBe('deprecated');
  expect(getModelLifecycle({ retires_at: '2026-11-30T00:00:00Z' }, end)).toBe('retired');
});

test('lists the models of Sluice’s own table if a gateway has no list of models', async () => {
  for (const status of [404, 405, 501]) {
    const app = createTestApp(() => Response.json({ error: 'no such path' }, { status }));
    const list = async (query: string) => await (await app.fetch(`/v1/models${query}`)).json<List>();
    const { data, has_more } = await list('?limit=1000');
    expect(data.map(({ id }) => id)).toContain('claude-haiku-5-5');
    expect(data.find(({ id }) => id === 'claude-haiku-5-5')?.prices).toMatchObject({ input: 0.1 });
    expect(has_more).toBe(false);
    const first = await list('?limit=2');
    expect(first).toMatchObject({ has_more: true, first_id: data[0]?.id, last_id: data[1]?.id });
    expect((await list(`?limit=2&after_id=${first.last_id}`)).data[0]?.id).toBe(data[2]?.id);
    expect((await app.fetch('/v1/models/claude-haiku-5-5')).status).toBe(status);
  }
});

test('caches the upstream’s list for five minutes, for each query and API version', async () => {
  let isDown = false;
  const app = createTestApp((sent) => {
    if (isDown) return Response.json({ error: 'busy' }, { status: 404 });
    return new Response(upstream(sent).body, { headers: { 'request-id': 'req_up', 'x-served-by': 'up' } });
  });
  const list = async (query = '', version = '2023-06-01') => {
    const response = await app.fetch(`/v1/models${query}`, { headers: { 'anthropic-version': version } });
    return { page: await response.json<List>(), headers: response.headers };
  };
  const first = await list('?limit=2');
  expect(first.headers.get('request-id')).toBe('req_up');
  isDown = true;
  const again = await list('?limit=2');
  expect(again.page).toEqual(first.page);
  expect(again.headers.get('x-served-by')).toBe('up');
  expect(again.headers.get('request-id')).not.toBe('req_up');
  expect(app.sent).toHaveLength(1);
  // Another page, and what another version of the API says, is another list; and what failed is not remembered.
  isDown = false;
  expect((await list('?limit=3')).page.data).toHaveLength(3);
  await list('?limit=2', '2026-10-21');
  expect(app.sent).toHaveLength(3);
  advanceClock(300_000);
  isDown = true;
  for (let time = 1; time < 3; time += 1) {
    expect((await list('?limit=2')).page.data[1]).not.toEqual(first.page.data[1]);
    expect(app.sent).toHaveLength(3 + time);
  }
});

test('a list depends on the caller’s headers in FORWARD_HEADERS, and never on another caller’s headers', async () => {
  const teams = ({ headers }: SentRequest) =>
    Response.json({ data: [{ id: `claude-${headers.get('x-team') ?? 'all'}` }] });
  for (const [vars, red] of [
    [{}, 'claude-all'],
    [{ FORWARD_HEADERS: 'x-te*' }, 'claude-red'],
  ] as const) {
    const app = createTestApp(teams, vars);
    const first = async (headers = {}) => (await (await app.fetch('/v1/models', { headers })).json<List>()).first_id;
    expect(await first({ 'x-team': 'red', 'user-agent': 'a' })).toBe(red);
    expect(await first({ 'user-agent': 'b' })).toBe('claude-all');
  }
});

describe('an unexpected upstream response for the list of models', () => {
  const page = '<!doctype html><title>Welcome</title>';
  test.each<[string, () => Response | Promise<Response>]>([
    ['a web page', () => new Response(page, { headers: { 'content-type': 'text/html' } })],
    ['a web page with 404', () => new Response(page, { status: 404, headers: { 'content-type': 'text/html' } })],
    ['a redirect', () => new Response(null, { status: 302, headers: { location: '/login' } })],
    ['a stream', () => new Response('event: ping\ndata: {}\n\n', { headers: { 'content-type': 'text/event-stream' } })],
    ['something else in JSON', () => Response.json({ status: 'ok' })],
    ['nothing', () => new Promise(() => {})],
  ])('is replaced by Sluice’s own table: %s', async (_, answer) => {
    const app = createTestApp(answer, { UPSTREAM_TIMEOUT_MS: '100' });
    const response = await app.fetch('/v1/models?limit=1000');
    expect(response.status).toBe(200);
    expect((await response.json<List>()).data.map(({ id }) => id)).toContain('claude-haiku-5-5');
  });

  test('is replaced by Sluice’s own table after two seconds without a response', async () => {
    const { setTimeout: wait } = globalThis;
    let waits = 0;
    const soon = (run: () => void, ms?: number) => {
      if (ms === 2_000) waits += 1;
      return wait(run, ms === 2_000 ? 0 : ms);
    };
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(soon as never);
    const app = createTestApp(() => new Promise(() => {}));
    const response = await app.fetch('/v1/models?limit=1000');
    expect((await response.json<List>()).data.map(({ id }) => id)).toContain('claude-haiku-5-5');
    expect(waits).toBeGreaterThan(0);
  });

  test('causes an error if it is a stream in place of one model', async () => {
    const stream = { headers: { 'content-type': 'text/event-stream' } };
    const app = createTestApp(() => new Response('event: ping\ndata: {}\n\n', stream));
    const response = await app.fetch('/v1/models/claude-haiku-5-5');
    expect(response.status).toBe(500);
    expect(await response.text()).toContain('is not the Claude API');
  });

  test('is converted to the Claude API’s format if it is a list of another API', async () => {
    const rows = [
      { id: 'claude-haiku-5-5', object: 'model' },
      { id: 'our-own', object: 'model' },
    ];
    const app = createTestApp(() => Response.json({ object: 'list', data: rows }));
    expect(await (await app.fetch('/v1/models')).json<List>()).toMatchObject({
      data: [
        { type: 'model', display_name: 'Claude Haiku 5.5', prices: { input: 0.1 } },
        { type: 'model', display_name: 'our-own', prices: null },
      ],
      has_more: false,
      first_id: 'claude-haiku-5-5',
      last_id: 'our-own',
    });
  });

  const error = (status: number, type: string) =>
    Response.json({ type: 'error', error: { type, message: 'no' } }, { status });
  const alone = { UPSTREAM_MAX_RETRIES: '0' };

  test.each<[string, () => Response]>([
    ['an upstream that fails', () => error(500, 'api_error')],
    ['a busy upstream', () => error(529, 'overloaded_error')],
    ['a gateway without its upstream', () => new Response('bad gateway', { status: 502 })],
    [
      'an upstream that cannot be reached',
      () => {
        throw new TypeError('Network connection lost.');
      },
    ],
  ])('is replaced by pages of Sluice’s own table: %s', async (_, answer) => {
    const app = createTestApp(answer, alone);
    const response = await app.fetch('/v1/models?limit=2');
    expect(response.status).toBe(200);
    const { data, has_more } = await response.json<List>();
    expect([data.length, has_more]).toEqual([2, true]);
  });

  test.each([
    [401, 'authentication_error'],
    [403, 'permission_error'],
    [401, 'x'],
  ])('causes an error if it rejects the key (%i %s)', async (status, type) => {
    const app = createTestApp(() => error(status, type), alone);
    for (const path of ['/v1/models', '/models']) expect((await app.fetch(path)).ok).toBe(false);
  });

  test('causes an error if every upstream rejects its key, but not if only one of several does', async () => {
    const listFrom = async (names: string[], dead: string[]) => {
      const app = createTestApp(
        ({ url }) => (dead.includes(url.hostname) ? error(401, 'authentication_error') : Response.json({ data: [] })),
        {
          UPSTREAMS: JSON.stringify(
            names.map((name) => ({
              name,
              ...(name === 'bedrock'
                ? { kind: name, region: 'us-east-1' }
                : { kind: 'anthropic', base_url: `https://${name}` }),
            })),
          ),
          ...Object.fromEntries(names.map((name) => [`UPSTREAM_${name.toUpperCase()}_KEY`, 'key'])),
          ...alone,
        },
      );
      return (await app.fetch('/v1/models')).status;
    };
    expect(await listFrom(['one', 'two'], ['one', 'two'])).toBe(500);
    expect(await listFrom(['one', 'two'], ['one'])).toBe(200);
    // What it has need not be known to the key that was refused.
    expect(await listFrom(['one', 'bedrock'], ['one'])).toBe(200);
  });
});
