/**
 * Every route, with bodies that nest, are wide or huge, repeat keys or have the wrong types, and with any path, query
 * and headers. `FUZZ_RUNS=10000 FUZZ_SEED=$RANDOM npx vitest run --project workerd test/edge/app/fuzz.test.ts` at night.
 */

import fc from 'fast-check';
import { beforeEach, expect, test, vi } from 'vitest';
import { createApp } from '#edge/app.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { createBody, createTestApp, type TestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { createSimulatedUpstream } from '#test/support/prefixes.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';

declare const FUZZ_RUNS: number;
declare const FUZZ_SEED: number;

/** JSON as it is written, which no value of ours could be. */
class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function write(value: unknown): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  return `{${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}:${write(member)}`)
    .join(',')}}`;
}

const raw = (text: string) => new Raw(text);
const MODEL = 'claude-haiku-5-5';
const schema = {
  type: 'object',
  additionalProperties: false,
  properties: { model: { type: 'string' }, n: { type: 'array', items: { type: 'integer' } } },
};
const tools = [
  { name: 'pick', description: 'Picks', input_schema: schema, cache_control: { type: 'ephemeral', ttl: '1h' } },
  { type: 'web_search_20250305', name: 'web_search', max_uses: 2 },
  { type: 'advisor_20260301', name: 'advisor', model: 'claude-opus-5-5', max_uses: 1 },
];
const MESSAGE = {
  model: MODEL,
  max_tokens: 20,
  stream: false,
  system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'Hi' },
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA' } },
      ],
    },
    { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'pick', input: { n: [1] } }] },
    {
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'x' }] }],
    },
  ],
  tools,
  tool_choice: { type: 'auto' },
  thinking: { type: 'disabled' },
  metadata: { user_id: 'u' },
  fallbacks: [{ model: 'claude-opus-5-5', max_tokens: 5 }],
  output_config: { format: { type: 'json_schema', schema } },
  context_management: { edits: [{ type: 'compact_20260112', trigger: { type: 'input_tokens', value: 100 } }] },
  conversation: 'c1',
  prefix: 'p1',
};
const PLAIN = { model: MODEL, max_tokens: 20, messages: [{ role: 'user', content: 'Hi' }] };
const CLASSIFIER = {
  labels: ['bug', { name: 'idea', description: 'A wish', examples: ['Could you…'] }],
  multi: false,
  instructions: 'Label it.',
  examples: [{ input: 'It crashes', label: 'bug', fields: { n: 1 } }],
  fields: { type: 'object', properties: { n: { type: 'integer' } } },
  votes: 1,
  cache_seconds: 0,
};
const SAMPLES: Record<string, readonly object[]> = {
  '/messages': [MESSAGE, PLAIN, { ...PLAIN, conversation: 'c2', stream: true }],
  '/v1/messages': [MESSAGE, PLAIN, { ...PLAIN, prefix: 'p1' }],
  '/count-tokens': [MESSAGE, PLAIN],
  '/v1/messages/count_tokens': [MESSAGE, PLAIN],
  '/classify': [
    { ...CLASSIFIER, input: 'It crashes' },
    {
      schema: { enum: ['a', 'b'] },
      inputs: [
        { id: '1', input: 'x' },
        { id: '2', input: 'y' },
      ],
      stream: true,
    },
    { classifier: 'k1', input: 'x', prefix: 'p1' },
  ],
  '/classifiers/:name': [CLASSIFIER, { version: 'k1@0123456789abcdef0123456789abcdef' }],
  '/classifiers/:name/evaluate': [{ examples: [{ id: '1', input: 'x', label: 'bug' }], model: MODEL, votes: 1 }],
  '/prefixes/:name': [
    {
      system: 'Be brief.',
      tools,
      messages: PLAIN.messages,
      model: MODEL,
      max_tokens: 5,
      cache_ttl: '1h',
      description: 'd',
    },
  ],
  '/conversations': [
    {
      id: 'c1',
      title: 'T',
      system: 'S',
      tools,
      model: MODEL,
      max_tokens: 5,
      metadata: { a: 1 },
      history: { max_tokens: 100, strategy: 'truncate' },
    },
  ],
  '/conversations/:id': [{ title: 'T', metadata: { a: 'b' }, max_tokens: 5, retention_seconds: 600, history: null }],
  '/conversations/:id/rewind': [{ before: 'msg_1' }],
  '/conversations/:id/fork': [{ at: 'msg_1', id: 'c3' }],
  '/accounts/:id/limits': [
    { usd_per_day: 1, requests_per_minute: 60, models: [MODEL], conversations: 5, on_shortfall: 'clamp' },
  ],
  '/tokens': [{ account: 'victim', scopes: ['messages'], expires_in: 60, label: 'l' }],
  '/webhooks/:source': [{ ticket: { id: '1', text: 'It crashes' } }],
};

const deep = fc
  .tuple(fc.constantFrom(10, 300, 3_000, 100_000), fc.boolean(), fc.constantFrom('1', '"x"', 'null', '{}'))
  .map(([levels, listed, end]) =>
    raw(listed ? '['.repeat(levels) + end + ']'.repeat(levels) : '{"type":'.repeat(levels) + end + '}'.repeat(levels)),
  );
const wide = fc
  .tuple(
    fc.constantFrom(100, 5_000, 50_000),
    fc.constantFrom('1', '{}', '""', '[]', '{"type":"text","text":"x"}', '{"role":"user","content":"x"}'),
  )
  .map(([length, item]) => raw(`[${Array.from({ length }, () => item).join(',')}]`));
const manyKeys = fc
  .constantFrom(100, 20_000)
  .map((length) => raw(`{${Array.from({ length }, (_, n) => `"k${n}":${n}`).join(',')}}`));
const repeated = fc
  .tuple(fc.constantFrom('model', 'type', 'name', 'text', '__proto__', 'constructor'), fc.nat(3))
  .map(([name, more]) =>
    raw(
      `{${Array.from({ length: more + 2 }, (_, n) => `"${name}":${n % 2 ? `"v${n}"` : '{"a":1,"a":[]}'}`).join(',')}}`,
    ),
  );
const long = fc
  .oneof(
    {
      weight: 20,
      arbitrary: fc.tuple(
        fc.constantFrom(300, 5_000, 300_000),
        fc.constantFrom('x', '🌍', '\\u0000', '\\ud800', '€', '\\"'),
      ),
    },
    { weight: 1, arbitrary: fc.tuple(fc.constantFrom(2_500_000, 9_000_000, 30_000_000), fc.constantFrom('x', '€')) },
  )
  .map(([length, unit]) => raw(`"${unit.repeat(Math.ceil(length / new TextEncoder().encode(unit).length))}"`));
const mistyped = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    '',
    ' ',
    'x',
    0,
    -1,
    1.5,
    1e300,
    [],
    {},
    [[]],
    [null],
    [{}],
    // It cannot become a string by itself.
    { toString: 7 },
    'c1',
    MODEL,
    '..',
    '\u0000',
  ),
  fc.constantFrom('1e400', '-0', '123456789012345678901234567890', '"\\ud800"', '1E-400').map(raw),
  fc.jsonValue({ maxDepth: 3 }),
);
const hostile = fc.oneof(deep, wide, manyKeys, repeated, long, { weight: 5, arbitrary: mistyped });

/** Every place in a value. */
function placesIn(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [path];
  return [
    path,
    ...Object.entries(value).flatMap(([name, member]) =>
      placesIn(member, [...path, Array.isArray(value) ? Number(name) : name]),
    ),
  ];
}

function changed(value: unknown, [first, ...rest]: readonly (string | number)[], to: unknown): unknown {
  if (first === undefined) return to;
  if (Array.isArray(value)) return value.map((item, index) => (index === first ? changed(item, rest, to) : item));
  const object = value as Record<string, unknown>;
  return { ...object, [first]: changed(object[first], rest, to) };
}

const bodies = (samples: readonly object[]): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.constantFrom(...samples).chain((sample) => {
        const places = placesIn(sample);
        return fc
          .array(fc.tuple(fc.constantFrom(...places), hostile), { minLength: 1, maxLength: 3 })
          .map((changes) => {
            // A place may have gone with one that was changed before.
            const body = changes.reduce<unknown>(
              (now, [place, to]) => (isThere(now, place) ? changed(now, place, to) : now),
              sample,
            );
            return write(body);
          });
      }),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(...samples)
        .map((sample) => write({ ...sample, of_the_future: raw('{"a":{"b":[1,2,{"c":null}]}}') })),
    },
    { weight: 1, arbitrary: hostile.map(write) },
    { weight: 1, arbitrary: fc.string({ maxLength: 40 }) },
  );

function isThere(value: unknown, [first, ...rest]: readonly (string | number)[]): boolean {
  if (first === undefined) return true;
  if (typeof value !== 'object' || value === null || value instanceof Raw || !Object.hasOwn(value, first)) return false;
  return isThere((value as Record<string | number, unknown>)[first], rest);
}

const source = defineWebhook<{ ticket: { id: string; text: string } }>({
  source: 'tickets',
  verify: async () => 'valid',
  id: ({ body }) => body.ticket.id,
  text: ({ body }) => body.ticket.text,
  labels: ['bug', 'idea'],
});
const ROUTES = createApp({ webhooks: [source] }).routes.filter(({ method }) => method !== 'ALL');

const odd = fc.oneof(
  fc.constantFrom(
    'x',
    'c1',
    'c2',
    'p1',
    'k1',
    'tickets',
    'victim',
    '%00',
    '%2e%2e',
    '%ff',
    'a%2fb',
    '%F0%9F%8C%8D',
    '__proto__',
    '-1',
    '0',
    '1001',
    'x'.repeat(300),
    'name@0123456789abcdef0123456789abcdef',
    'turn_x-1',
  ),
  fc.stringMatching(/^[!-~]{1,12}$/).map(encodeURIComponent),
);
const query = fc.dictionary(
  fc.constantFrom(
    'limit',
    'after_id',
    'before_id',
    'from',
    'to',
    'group_by',
    'account',
    'turn',
    'key',
    'pending',
    'after',
    'state',
    'beta',
  ),
  odd,
  { maxKeys: 3 },
);
const plainText = fc.stringMatching(/^[ -~]{0,40}$/);
const headers = fc.dictionary(
  fc.constantFrom(
    'idempotency-key',
    'sluice-conversation',
    'sluice-prefix',
    'last-event-id',
    'anthropic-version',
    'anthropic-beta',
    'x-stainless-retry-count',
    'accept',
    'origin',
    'content-length-x',
    'x-github-delivery',
  ),
  fc.oneof(
    plainText,
    fc.constantFrom(
      'c1',
      'p1',
      'k1',
      '1',
      'x'.repeat(2_000),
      'text/event-stream',
      'application/x-ndjson',
      'https://evil.example',
    ),
  ),
  { maxKeys: 3 },
);

const requestTo = ({ method, path }: (typeof ROUTES)[number]) =>
  fc.record({
    method: fc.constant(method),
    path: fc.constant(path),
    names: fc.array(odd, { minLength: 3, maxLength: 3 }),
    query,
    headers,
    type: fc.constantFrom(
      'application/json',
      'application/json',
      'application/json',
      'application/json',
      'text/plain',
      '',
    ),
    body: method === 'GET' || method === 'DELETE' ? fc.constant(undefined) : bodies(SAMPLES[path] ?? [PLAIN]),
  });

type Asked = ReturnType<typeof requestTo> extends fc.Arbitrary<infer Request> ? Request : never;

let app: TestApp;
beforeEach(() => {
  installSimulator();
  vi.spyOn(Inbox.prototype as unknown as { enqueue(): Promise<void> }, 'enqueue').mockResolvedValue();
  const upstream = createSimulatedUpstream({ now: Date.now() });
  app = createTestApp(
    async ({ url, method, headers: up, text }) => {
      const answer = await upstream(new Request(url, { method, headers: up, ...(text && { body: text }) }));
      return new Response(createBody([await answer.text()]), answer);
    },
    {
      ...DEPLOYED_VARS,
      UPSTREAM_MAX_RETRIES: '0',
      ...createWebhookVars('tickets'),
      TICKETS_WEBHOOK_SECRET: 'a-secret-of-the-tests-that-is-long',
      QUEUE: { send: async () => {} },
    },
    { options: { webhooks: [source] } },
  );
});
test(
  `${FUZZ_RUNS} hostile requests to every route cause no server error except 501`,
  async () => {
    const admin = bearerHeader(await createToken('root', ['admin']));
    const user = bearerHeader(await createToken('alice', ['messages', 'classify', 'prefixes']));
    await app.fetch('/classifiers/k1', {
      method: 'PUT',
      headers: { ...admin, 'content-type': 'application/json' },
      body: JSON.stringify({ labels: ['a', 'b'] }),
    });
    await app.fetch('/prefixes/p1', {
      method: 'PUT',
      headers: { ...admin, 'content-type': 'application/json' },
      body: JSON.stringify({ system: 'x', model: MODEL }),
    });
    const statuses = new Map<number, number>();
    const reached = new Set<string>();
    const ask = async ({ method, path, names, query: asked, headers: sent, type, body }: Asked, isAdmin: boolean) => {
      let next = 0;
      const to = path.replaceAll(/:\w+/g, (name) => (name === ':source' ? 'tickets' : (names[next++] ?? 'x')));
      const search = Object.entries(asked)
        .map(([name, value]) => `${name}=${value}`)
        .join('&');
      const init = {
        method,
        headers: { ...sent, ...(type === '' ? {} : { 'content-type': type }), ...(isAdmin ? admin : user) },
        ...(body === undefined ? {} : { body }),
      };
      const response = await app.fetch(search === '' ? to : `${to}?${search}`, init);
      await response.body?.pipeTo(new WritableStream());
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      if (response.status < 500) reached.add(`${method} ${path}`);
      expect(
        response.status === 501 ? 0 : Math.floor(response.status / 500),
        `${method} ${to} ${response.status}`,
      ).toBe(0);
    };
    // Each case asks every route once: where routes are drawn, one may never be asked.
    const everyRoute = fc.tuple(...ROUTES.map((route) => fc.tuple(requestTo(route), fc.boolean())));
    const order = fc.shuffledSubarray([...ROUTES.keys()], { minLength: ROUTES.length });
    await tryAsyncCases(
      { numRuns: Math.ceil(FUZZ_RUNS / ROUTES.length), seed: FUZZ_SEED, endOnFailure: true },
      everyRoute,
      order,
      async (requests, inOrder) => {
        for (const at of inOrder) {
          const [request, isAdmin] = requests[at] ?? [];
          if (request && isAdmin !== undefined) await ask(request, isAdmin);
        }
      },
    );
    await app.waitUntilSettled();
    expect(app.log.filter(({ error_type }) => String(error_type).startsWith('internal'))).toEqual([]);
    // Every route has been asked, and not all of it was refused at the door.
    expect(new Set(ROUTES.map(({ method, path }) => `${method} ${path}`)).difference(reached)).toEqual(new Set());
    for (const status of [200, 400, 404]) expect(statuses.get(status) ?? 0).toBeGreaterThan(FUZZ_RUNS / 100);
  },
  Math.max(300_000, FUZZ_RUNS * 300),
);
