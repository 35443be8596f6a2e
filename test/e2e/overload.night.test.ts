/**
 * A storm of 529, over HTTP: `test/edge/claude/failover.test.ts` has a clock that stands, and `test/edge/plugins/webhooks` no
 * tool, receiver and upstream behind sockets.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import type { EventReport } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { contentBlock, messageEnd, messageStart, messageWith } from '#test/support/wire.ts';
import { withFastClock } from '#test/support/worker-clock.ts';
import { signGithub } from '../../scripts/sign-webhook.ts';

const MODEL = 'claude-opus-5-5';
const STORM_MS = 10 * 60_000;
const JSON_HEADERS = { 'content-type': 'application/json' };
const GITHUB_SECRET = 'the secret of the tests';
const SIGNING_KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

interface UpstreamRequest {
  model: string;
  messages: { role: string; content: unknown }[];
  stream?: boolean;
  tools?: { name: string }[];
  container?: string;
}

/** A stand-in for the Claude API that is overloaded when the test says so, and knows its own containers only. */
class StormyUpstream {
  readonly name: string;
  readonly answered: UpstreamRequest[] = [];
  isOverloaded = false;
  overloadedCount = 0;
  server: FakeUpstream | undefined;

  constructor(name: string) {
    this.name = name;
  }

  get container(): string {
    return `container_${this.name}`;
  }

  async start(): Promise<this> {
    this.server = await startUpstream(({ path, body }, response) => {
      if (path.endsWith('/count_tokens')) response.writeHead(200, JSON_HEADERS).end('{"input_tokens":20}');
      else this.#answer(JSON.parse(body.toString()) as UpstreamRequest, response);
    });
    onTestFinished(async () => await this.server?.stop());
    return this;
  }

  #answer(request: UpstreamRequest, response: ServerResponse): void {
    const reject = (status: number, type: string, message: string) => {
      const id = `req_${this.name}_${this.overloadedCount}`;
      response.writeHead(status, { ...JSON_HEADERS, 'request-id': id });
      response.end(JSON.stringify({ type: 'error', error: { type, message }, request_id: id }));
    };
    if (this.isOverloaded) {
      this.overloadedCount += 1;
      reject(529, 'overloaded_error', 'Overloaded');
      return;
    }
    const { model, messages, stream, tools, container } = request;
    if (container !== undefined && container !== this.container) {
      reject(404, 'not_found_error', `Container not found: ${container}`);
      return;
    }
    this.answered.push(request);
    const hasTool = tools?.some(({ name }) => name === 'get_weather') === true;
    const calls = hasTool && messages.length % 2 === 1 && typeof messages.at(-1)?.content === 'string';
    const block: object = calls
      ? { type: 'tool_use', id: `toolu_${messages.length}`, name: 'get_weather', input: { city: 'Bern' } }
      : { type: 'text', text: `from ${this.name}` };
    const reason = calls ? 'tool_use' : 'end_turn';
    const made = tools?.some(({ name }) => name === 'code_execution')
      ? { container: { id: this.container, expires_at: '2126-11-28T00:00:00Z' } }
      : {};
    const headers = { 'request-id': `req_${this.name}_well_${this.answered.length}` };
    if (!stream) {
      response.writeHead(200, { ...JSON_HEADERS, ...headers });
      response.end(JSON.stringify(messageWith({ model, content: [block], stop_reason: reason, ...made })));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
    const delta = { stop_reason: reason, stop_sequence: null, ...made };
    response.end(messageStart({ model, ...made }) + contentBlock(block) + messageEnd({ output_tokens: 10 }, delta));
  }
}

async function start(vars: Record<string, string>, script = inject('worker')): Promise<Edge> {
  const edge = await startEdge(script, { SIGNING_SECRET: SECRET, UPSTREAM_MAX_RETRIES: '0', ...vars });
  onTestFinished(() => edge.stop());
  return edge;
}

async function call(
  edge: Edge,
  method: string,
  path: string,
  body?: unknown,
  by?: string,
): Promise<{ status: number; body: JsonObject }> {
  const headers = { ...JSON_HEADERS, ...(by === undefined ? {} : bearerHeader(await createToken(by))) };
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(edge.url + path, { method, headers, ...sent });
  return { status: response.status, body: (await response.json()) as JsonObject };
}

const CODE = { type: 'code_execution_20260120', name: 'code_execution' };
const ask = (edge: Edge, by: string, more: object = {}) =>
  call(
    edge,
    'POST',
    '/v1/messages',
    { model: MODEL, max_tokens: 64, messages: [{ role: 'user', content: 'Hi' }], ...more },
    by,
  );
const textOf = ({ body }: { body: JsonObject }) => (body.content as { text?: string }[] | undefined)?.[0]?.text;

async function listRows(edge: Edge, account: string): Promise<LedgerRow[]> {
  const rows: LedgerRow[] = [];
  for (let after = ''; ; ) {
    const { body } = await call(edge, 'GET', `/usage/requests?account=${account}&limit=1000${after}`);
    const page = body as unknown as { data: LedgerRow[]; has_more: boolean; last_id: string };
    rows.push(...page.data);
    if (!page.has_more) return rows;
    after = `&after_id=${page.last_id}`;
  }
}

/** Asks in rounds until ten minutes have passed on the edge's clock. @returns how many rounds that were */
async function repeatForTenMinutes(
  edge: Edge,
  account: string,
  round: (number: number) => Promise<void>,
): Promise<number> {
  const readClock = async () => Date.parse((await listRows(edge, account))[0]?.created_at ?? '');
  let rounds = 0;
  await round(rounds);
  const began = await readClock();
  for (let now = began; now < began + STORM_MS; now = await readClock()) {
    rounds += 1;
    await round(rounds);
  }
  return rounds + 1;
}

test('ten minutes of 529 with one upstream fail each request with 529 at no cost, and requests succeed at once afterwards', async () => {
  const main = await new StormyUpstream('main').start();
  const vars = { ANTHROPIC_API_KEY: 'key', ANTHROPIC_BASE_URL: main.server?.url ?? '' };
  const edge = await start(vars, withFastClock(inject('worker')));
  const talk = { conversation: 'talk' };
  expect((await ask(edge, 'alice', talk)).status).toBe(200);
  expect((await ask(edge, 'alice', { tools: [CODE] })).body.container).toMatchObject({ id: main.container });

  main.isOverloaded = true;
  const seen = new Set<string>();
  const rounds = await repeatForTenMinutes(edge, 'alice', async () => {
    for (const more of [{}, talk, { tools: [CODE], container: main.container }]) {
      const { status, body } = await ask(edge, 'alice', more);
      expect({ status, type: (body.error as JsonObject).type }).toEqual({ status: 529, type: 'overloaded_error' });
      seen.add(String(body.request_id));
    }
  });
  // Each reached the upstream: with nowhere else to go, nothing is held back.
  expect(main.overloadedCount).toBe(3 * rounds);
  expect(seen.size).toBe(3 * rounds);
  const [id = ''] = seen;
  expect(id).toContain('req_main_');
  for (const query of ['?account=alice', '']) {
    const { body } = await call(edge, 'GET', `/usage/requests/${id}${query}`);
    expect(body).toMatchObject({ upstream_request_id: id, status: 'refused_upstream', cost_usd: 0 });
  }

  main.isOverloaded = false;
  expect((await ask(edge, 'alice')).status).toBe(200);
  expect((await ask(edge, 'alice', { tools: [CODE], container: main.container })).status).toBe(200);
  expect((await ask(edge, 'alice', talk)).status).toBe(200);
  // The failed turns are no part of the conversation.
  expect(main.answered.at(-1)?.messages).toHaveLength(3);
  await eventually(async () => {
    const rows = await listRows(edge, 'alice');
    expect(rows.filter(({ status }) => status === 'held')).toEqual([]);
    const failed = rows.filter(({ error_type }) => error_type === 'overloaded_error');
    expect(failed).toHaveLength(3 * rounds);
    expect(failed.filter(({ cost_usd }) => cost_usd > 0)).toEqual([]);
  });
});

test('with two upstreams a 529 moves one request to the other upstream, and ten minutes of 529 move all until they end', async () => {
  const [main, east] = await Promise.all(['main', 'east'].map((name) => new StormyUpstream(name).start()));
  if (!main || !east) throw new Error('no upstreams');
  const entries = [main, east].map(({ name, server }) => ({ name, kind: 'anthropic', base_url: server?.url }));
  const vars = { UPSTREAMS: JSON.stringify(entries), UPSTREAM_MAIN_KEY: 'key', UPSTREAM_EAST_KEY: 'key' };
  const edge = await start(vars, withFastClock(inject('worker')));
  const talk = { conversation: 'talk' };

  main.isOverloaded = true;
  expect(textOf(await ask(edge, 'alice', talk))).toBe('from east');
  main.isOverloaded = false;
  for (const more of [talk, {}, talk]) expect(textOf(await ask(edge, 'alice', more))).toBe('from main');
  expect((await ask(edge, 'alice', { tools: [CODE] })).body.container).toMatchObject({ id: main.container });

  main.isOverloaded = true;
  const inMain = { tools: [CODE], container: main.container };
  const before = main.overloadedCount;
  const rounds = await repeatForTenMinutes(edge, 'bob', async (round) => {
    expect(textOf(await ask(edge, 'bob'))).toBe('from east');
    expect(textOf(await ask(edge, 'bob', { conversation: `talk-${round % 5}` }))).toBe('from east');
    // What is at the upstream that is down is nowhere else.
    if (round % 10 === 0) expect((await ask(edge, 'alice', inMain)).status).toBe(529);
  });
  expect(main.overloadedCount - before).toBeLessThan(2 * rounds);
  expect((await ask(edge, 'bob', { tools: [CODE] })).body.container).toMatchObject({ id: east.container });

  main.isOverloaded = false;
  // The breaker lets one request through now and then, and closes when it succeeds.
  await eventually(async () => expect(textOf(await ask(edge, 'bob', { conversation: 'talk-0' }))).toBe('from main'));
  for (const more of [{}, talk]) expect(textOf(await ask(edge, 'alice', more))).toBe('from main');
  expect(textOf(await ask(edge, 'alice', inMain))).toBe('from main');
  for (let time = 0; time < 3; time += 1)
    expect(textOf(await ask(edge, 'bob', { tools: [CODE], container: east.container }))).toBe('from east');

  await eventually(async () => {
    const rows = [...(await listRows(edge, 'alice')), ...(await listRows(edge, 'bob'))];
    expect(rows.filter(({ status }) => status === 'held')).toEqual([]);
    const elsewhere = rows.filter(({ failed_upstreams }) => failed_upstreams.includes('main'));
    const failed = rows.filter(({ upstream, error_type }) => upstream === 'main' && error_type === 'overloaded_error');
    expect(elsewhere.length + failed.length).toBe(main.overloadedCount);
    expect(elsewhere.every(({ upstream, status }) => upstream === 'east' && status === 'complete')).toBe(true);
  });
  const { body } = await call(edge, 'GET', '/usage?account=bob&group_by=upstream');
  const [ofMain] = (body.data as { key: string; failed: number }[]).filter(({ key }) => key === 'main');
  const bobs = (await listRows(edge, 'bob')).filter(({ failed_upstreams }) => failed_upstreams.includes('main'));
  expect(ofMain?.failed).toBe(bobs.length);
});

test('an agent that a webhook event starts survives a 529 and a spent budget with one tool call and, after a replay, one delivery', async () => {
  const main = await new StormyUpstream('main').start();
  /** Done while the tool is called, before the next step. */
  let meanwhile = async () => {};
  let toolCalls = 0;
  const delivered: JsonObject[] = [];
  const server = createServer({ keepAliveTimeout: 0 }, async (request, response) => {
    let body = '';
    for await (const piece of request) body += String(piece);
    if (request.url === '/weather') {
      toolCalls += 1;
      await meanwhile();
      response.end('sun');
    } else {
      delivered.push(JSON.parse(body) as JsonObject);
      response.writeHead(204).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const edge = await start({
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: main.server?.url ?? '',
    ...createWebhookVars('github', { deliver_url: `http://${host}/answers`, agent: 'sky' }),
    GITHUB_WEBHOOK_SECRET: GITHUB_SECRET,
    DELIVERY_SIGNING_SECRET: SIGNING_KEY,
    TOOL_HOSTS: host,
    TOOL_SIGNING_SECRET: SIGNING_KEY,
  });
  const tool = {
    name: 'get_weather',
    description: 'Tells the weather.',
    input_schema: { type: 'object', properties: { city: { type: 'string' } } },
    run: { url: `http://${host}/weather` },
  };
  expect(await call(edge, 'PUT', '/agents/sky', { model: MODEL, max_tokens: 64, tools: [tool] })).toMatchObject({
    status: 200,
  });
  const report = async (id: string) =>
    (await call(edge, 'GET', `/webhooks/github/events/${id}`)).body as unknown as EventReport;
  const send = async (id: string) => {
    const issue = { title: 'Is it sunny?', body: `This is ${id}.`, html_url: 'https://example.com/1' };
    const body = JSON.stringify({ action: 'opened', issue });
    const headers = await signGithub(body, GITHUB_SECRET, 'issues', id);
    headers.set('content-type', 'application/json');
    const response = await fetch(`${edge.url}/webhooks/github`, { method: 'POST', headers, body });
    expect(response.status).toBe(202);
    return ((await response.json()) as { event_id: string }).event_id;
  };
  const limit = (usd: number) => call(edge, 'PATCH', '/accounts/webhook-github/limits', { usd_per_day: usd });
  const replay = (id: string) => call(edge, 'POST', `/webhooks/github/events/${id}/replay`);

  for (const [nth, { begin, end, state, type }] of [
    {
      begin: async () => {
        main.isOverloaded = true;
      },
      end: async () => {
        main.isOverloaded = false;
      },
      state: 'accepted',
      type: 'overloaded_error',
    },
    {
      begin: async () => {
        await limit(0);
      },
      end: async () => {
        await limit(5);
      },
      state: 'waiting',
      type: 'rate_limit_error',
    },
  ].entries()) {
    meanwhile = begin;
    const id = await send(`event-${nth}`);
    await eventually(async () => {
      const { attempts, ...rest } = await report(id);
      expect({ ...rest, type: attempts[0]?.error?.type }).toMatchObject({ state, result: null, type });
    });
    expect(delivered).toHaveLength(nth);
    await end();
    expect((await replay(id)).status).toBeLessThan(300);
    await eventually(async () => expect(await report(id)).toMatchObject({ state: 'delivered' }));
    expect(delivered[nth]).toMatchObject({ event_id: id, status: 'complete', paused: null, text: 'from main' });
    expect([toolCalls, delivered.length]).toEqual([nth + 1, nth + 1]);
  }
  await eventually(async () =>
    expect((await listRows(edge, 'webhook-github')).filter(({ status }) => status === 'held')).toEqual([]),
  );
});
