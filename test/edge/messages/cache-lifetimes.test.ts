import fc from 'fast-check';
import { expect, test } from 'vitest';
import { requestEdge } from '#test/support/agents.ts';
import { createBody } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { authorizationFor, createSimulatedEdge, createSimulatedUpstream } from '#test/support/prefixes.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

type Lifetime = '5m' | '1h';
type Mark = Lifetime | undefined;
const LIFETIMES: readonly Lifetime[] = ['5m', '1h'];
/** Only long parts are cached, so only these cost more with a longer lifetime. */
const LONG = 'word '.repeat(6_000);
const OWN = { model: 'claude-opus-5-5', max_tokens: 8 };

const markOf = (ttl: Mark) => ttl && { cache_control: { type: 'ephemeral', ...(ttl === '1h' && { ttl }) } };
const toolOf = (name: string, ttl?: Mark) => ({
  name,
  description: LONG,
  input_schema: { type: 'object', properties: {} },
  ...markOf(ttl),
});
const textOf = (text: string, ttl?: Mark) => ({ type: 'text', text, ...markOf(ttl) });

/** @returns whether the API accepts the caller's own breakpoints: 1h never comes after 5m */
function areOrdered(marks: readonly Mark[]): boolean {
  const set = marks.filter((ttl) => ttl !== undefined);
  return set.length <= 4 && !set.some((ttl, index) => ttl === '1h' && set.slice(0, index).includes('5m'));
}

/** @returns the lifetimes of a body's breakpoints in the order of the API */
function lifetimesOf(body: string): Lifetime[] {
  const { tools = [], system = [], messages = [], cache_control } = JSON.parse(body) as Record<string, unknown>;
  const found: Lifetime[] = [];
  JSON.stringify([tools, system, messages, { cache_control }], (key, value: unknown) => {
    if (key === 'cache_control' && typeof value === 'object' && value !== null)
      found.push('ttl' in value && value.ttl === '1h' ? '1h' : '5m');
    return value;
  });
  return found;
}

const mark = fc.constantFrom<Mark>(undefined, '5m', '1h');
const shape = fc.record({
  from: fc.constantFrom('nothing', 'agent', 'prefix', 'agent with a prefix'),
  ttl: fc.constantFrom(...LIFETIMES),
  prefixTtl: fc.constantFrom(...LIFETIMES),
  isInConversation: fc.boolean(),
  tools: mark,
  system: mark,
  first: mark,
  last: mark,
  automatic: mark,
});

test('a breakpoint that Sluice adds never makes a valid request invalid, and each hold covers its price', async () => {
  installSimulator();
  const simulate = createSimulatedUpstream({ now: Date.now() });
  const sentBodies: string[] = [];
  const record: typeof simulate = async (input, init) => {
    const request = new Request(input, init);
    if (new URL(request.url).pathname.endsWith('/messages')) sentBodies.push(await request.clone().text());
    return await simulate(request);
  };
  setConversationUpstream(async (url, init) => {
    const answer = await record(url, init);
    return new Response(createBody([await answer.text()]), answer);
  });
  const app = createSimulatedEdge({}, undefined, record);
  const alice = await authorizationFor('alice');
  const root = await authorizationFor('root', 'admin');
  for (const ttl of LIFETIMES) {
    const parts = { tools: [toolOf('find')], system: LONG, cache_ttl: ttl };
    expect((await requestEdge(app, 'PUT', `/agents/a${ttl}`, alice, { ...OWN, ...parts })).status).toBe(200);
    expect((await requestEdge(app, 'PUT', `/prefixes/p${ttl}`, alice, parts)).status).toBe(200);
  }
  for (const ttl of LIFETIMES)
    for (const prefix of LIFETIMES) {
      const agent = { ...OWN, prefix: `p${prefix}`, cache_ttl: ttl };
      expect((await requestEdge(app, 'PUT', `/agents/a${ttl}-p${prefix}`, alice, agent)).status).toBe(200);
    }
  const limits = { usd_total: 1_000 };
  expect((await requestEdge(app, 'PUT', '/accounts/alice/limits', root, limits)).status).toBe(200);
  let turns = 0;
  await tryAsyncCases(caseCount(400, 0.5), shape, async ({ from, ttl, prefixTtl, isInConversation, ...marks }) => {
    const own = [marks.tools, marks.system, marks.first, marks.last, marks.automatic];
    // The last block has one lifetime, whether it is marked itself or by automatic caching.
    if (!areOrdered(own) || (marks.last && marks.automatic && marks.last !== marks.automatic)) return true;
    const body = {
      ...OWN,
      ...(from === 'agent' && { agent: `a${ttl}` }),
      ...(from === 'agent with a prefix' && { agent: `a${ttl}-p${prefixTtl}` }),
      ...(from === 'prefix' && { prefix: `p${ttl}` }),
      ...(isInConversation && { conversation: `c${turns++}` }),
      stream: false,
      tools: [toolOf('own', marks.tools)],
      system: [textOf(LONG, marks.system)],
      messages: [{ role: 'user', content: [textOf('Hello', marks.first), textOf('Hi', marks.last)] }],
      ...markOf(marks.automatic),
    };
    const response = await app.post('/messages', body, alice);
    const text = await response.text();
    expect(`${response.status} ${response.ok ? '' : text}`).toBe('200 ');
    const sent = lifetimesOf(sentBodies.pop() ?? '');
    sentBodies.length = 0;
    expect(areOrdered(sent)).toBe(true);
    // Sluice leaves out its own only if the caller uses the API's four.
    const used = own.filter((ttl) => ttl !== undefined).length;
    const added = from === 'nothing' ? 0 : Math.min(2, 4 - used);
    if (used > 0) expect(sent.length).toBe(used + added);
    else expect(sent.length).toBe(added + (from === 'nothing' && !isInConversation ? 0 : 1));
    await app.waitUntilSettled();
    const [row] = (await requestEdge(app, 'GET', '/usage/requests?limit=1', alice)).body.data as Record<
      string,
      unknown
    >[];
    expect(row).not.toHaveProperty('over_hold', true);
    return true;
  });
});

test('an agent caches its parts for the lifetime of its `cache_ttl`, which is by default that of its prefix', async () => {
  const app = createSimulatedEdge();
  const alice = await authorizationFor('alice');
  const cached = async (agent: object) => {
    const stored = await requestEdge(app, 'PUT', '/agents/sky', alice, { ...OWN, ...agent });
    expect(stored.status).toBe(200);
    const { messages } = { messages: [{ role: 'user', content: crypto.randomUUID() }] };
    const answer = await requestEdge(app, 'POST', '/v1/messages', alice, { agent: 'sky', messages });
    const { usage } = answer.body as { usage: { cache_creation: Record<string, number> } };
    return { ttl: stored.body.cache_ttl, long: (usage.cache_creation.ephemeral_1h_input_tokens ?? 0) > 0 };
  };
  expect(await cached({ system: LONG })).toEqual({ ttl: undefined, long: false });
  expect(await cached({ system: `${LONG}!`, cache_ttl: '1h' })).toEqual({ ttl: '1h', long: true });
  const prefix = { system: `${LONG}?`, cache_ttl: '1h' };
  expect((await requestEdge(app, 'PUT', '/prefixes/long', alice, prefix)).status).toBe(200);
  expect(await cached({ prefix: 'long' })).toEqual({ ttl: '1h', long: true });
  expect((await requestEdge(app, 'PUT', '/agents/sky', alice, { ...OWN, cache_ttl: '2h' })).body).toMatchObject({
    error: { message: "cache_ttl: Input should be '5m' or '1h'" },
  });
});
