/**
 * `BATCH_TICKETS=10000 npx vitest run --project workerd test/classifications/classifications.route.test.ts` labels so many
 * tickets, at night.
 */
import { reset, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Batch } from '../../src/batches/batch.ts';
import type { ClassifyResult } from '../../src/classification/classify-answers.schema.ts';
import { ClassificationJob } from '../../src/classifications/classification-job.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import type { ClassificationReport } from '../../src/durable/contracts/classification.ts';
import { accountStub, batchStub, classificationStub } from '../../src/durable/stubs.ts';
import { settingsOf } from '../../src/settings/settings.ts';
import { type Upstream, upstreamOf } from '../../src/upstream/upstream.ts';
import { bodyOf, errorOf, type Sent, TEST_KEY, type TestApp, testApp } from '../support/app.ts';
import { bearer, DEPLOYED, tokenOf } from '../support/tokens.ts';

declare const BATCH_TICKETS: number;

const bindings = env as unknown as Bindings;
const LABELS = [
  { name: 'billing', description: 'invoices, charges, refunds, payment' },
  { name: 'bug', description: 'something is broken, crashes, or shows an error' },
  { name: 'account', description: 'login, password, profile, email address' },
];
const TEXTS = [
  'I was charged twice, please send a refund of the second payment, order',
  'The app crashes and shows an error when I open page',
  'I forgot the password of my login and my email address is number',
];
const ticket = (index: number) => `${TEXTS[index % TEXTS.length]} ${index}.`;
const inputsOf = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ id: `t${index}`, input: ticket(index) }));

type Row = ClassifyResult & { type: string };

let app: TestApp;
/** What the upstream says in place of the simulator, if anything. */
let instead: ((sent: Sent) => Response | undefined) | undefined;
/** How many times results break off before they come whole. */
let breaks = 0;

function start(vars: Record<string, string> = {}): void {
  const { fetch: simulate } = upstreamOf(
    settingsOf({
      ...bindings,
      MODE: 'development',
      UPSTREAM: 'simulator',
      SIMULATOR_BATCH_MS: '1',
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
    }),
  );
  const settings = {
    ...DEPLOYED,
    MODE: 'development',
    ANTHROPIC_API_KEY: TEST_KEY,
    UPSTREAM: 'anthropic',
    UPSTREAM_MAX_RETRIES: '0',
    ...vars,
  };
  app = testApp(async (sent) => {
    const { method, url, headers, text } = sent;
    return (
      instead?.(sent) ?? (await simulate(url.href, { method, headers, ...(method === 'POST' ? { body: text } : {}) }))
    );
  }, settings);
  const upstream: Upstream = {
    baseURL: 'https://api.anthropic.com',
    apiKey: TEST_KEY,
    simulated: false,
    fetch: async (url, init) => {
      const response = await simulate(url, init);
      if (!url.endsWith('/results') || breaks === 0) return response;
      breaks -= 1;
      const text = await response.text();
      return new Response(bodyOf([text.slice(0, text.length * 0.7)], 'cut'));
    },
  };
  const spies = [Batch, ClassificationJob].flatMap(({ prototype }) => {
    const inside = prototype as unknown as { settings(): unknown; upstream(): Upstream };
    return [
      vi.spyOn(inside, 'settings').mockReturnValue(settingsOf({ ...bindings, ...settings })),
      vi.spyOn(inside, 'upstream').mockReturnValue(upstream),
    ];
  });
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
}

beforeEach(() => {
  instead = undefined;
  breaks = 0;
});
afterEach(() => reset());

const credential = async (account: string) => bearer(await tokenOf(account, ['classify']));

async function begin(
  body: object,
  account = 'ada',
  headers: Record<string, string> = {},
): Promise<ClassificationReport> {
  const response = await app.post(
    '/classify',
    { batch: true, labels: LABELS, ...body },
    { ...(await credential(account)), ...headers },
  );
  const text = await response.text();
  expect(response.status, text).toBe(202);
  return JSON.parse(text) as ClassificationReport;
}

async function read(id: string, account = 'ada'): Promise<ClassificationReport> {
  return await (await app.fetch(`/classifications/${id}`, { headers: await credential(account) })).json();
}

/** Has the batch settle, and the classification read its results and put them away. */
async function finish(report: ClassificationReport, account = 'ada'): Promise<ClassificationReport> {
  for (let alarms = 0; alarms < 50; alarms += 1) {
    if (report.batch) await runDurableObjectAlarm(batchStub(bindings, {}, { account, id: report.batch }));
    await runDurableObjectAlarm(classificationStub(bindings, {}, { account, id: report.id }));
    const now = await read(report.id, account);
    if (now.status === 'ended') return now;
  }
  throw new Error('It did not end.');
}

/** Has the answers put into the cache. */
async function keep({ id, counts }: ClassificationReport, account = 'ada'): Promise<void> {
  for (let alarms = 0; alarms < 2 + counts.inputs / 100; alarms += 1) {
    await runDurableObjectAlarm(classificationStub(bindings, {}, { account, id }));
  }
}

async function resultsOf({ id }: ClassificationReport, account = 'ada'): Promise<Row[]> {
  const response = await app.fetch(`/classifications/${id}/results`, { headers: await credential(account) });
  expect(response.headers.get('content-type')).toBe('application/jsonl');
  return (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
}

/** The same by `/classify`, as many at a time as that takes. */
async function classified(inputs: readonly object[], account: string): Promise<{ rows: Row[]; cost: number }> {
  const rows: Row[] = [];
  let cost = 0;
  for (let from = 0; from < inputs.length; from += 256) {
    const body = { labels: LABELS, inputs: inputs.slice(from, from + 256) };
    const response = await app.post('/classify', body, await credential(account));
    const answer = (await response.json()) as { results: ClassifyResult[]; cost_usd: number };
    rows.push(...answer.results.map((row) => ({ type: 'result', ...row })));
    cost += answer.cost_usd;
  }
  return { rows, cost };
}

/** The requests of the batches that have gone up. */
function requestsUp(): { custom_id: string; params: { messages: { content: { text: string }[] }[] } }[] {
  return app.sent
    .filter(({ url, method }) => method === 'POST' && url.pathname === '/v1/messages/batches')
    .flatMap(({ text }) => JSON.parse(text).requests);
}

const standing = async (account = 'ada') => await accountStub(bindings, {}, account).standing();

describe('a classification by batch', () => {
  test(`of ${BATCH_TICKETS} tickets equals the same by /classify, at half the cost, each input once`, async () => {
    start();
    const inputs = inputsOf(BATCH_TICKETS);
    const report = await begin({ inputs });
    expect(report).toMatchObject({ status: 'in_progress', results_url: null, cost_usd: null });
    expect(report.counts).toMatchObject({ inputs: BATCH_TICKETS, requests: BATCH_TICKETS, cached: 0, repeated: 0 });
    const up = requestsUp().map(({ params }) => params.messages[0]?.content[0]?.text.split('\n')[1]);
    expect(up.length).toBe(BATCH_TICKETS);
    expect(new Set(up)).toEqual(new Set(inputs.map(({ input }) => input)));
    const ended = await finish(report);
    const rows = await resultsOf(ended);
    const summary = rows.pop();
    const direct = await classified(inputs, 'grace');
    expect(rows).toEqual(direct.rows);
    expect(new Set(rows.map(({ label }) => label))).toEqual(new Set(['billing', 'bug', 'account']));
    expect(ended.counts).toMatchObject({ labelled: BATCH_TICKETS, failed: 0, processing: 0 });
    // $0.10 and $0.50 for a million tokens, and half of that. A prompt has a random tag, whose tokens are not always as many.
    const { input_tokens = 0, output_tokens = 0 } = ended.usage ?? {};
    const half = (input_tokens * 100 + output_tokens * 500) / 2 / 1e9;
    expect(Math.abs((ended.cost_usd ?? 0) - half)).toBeLessThanOrEqual(BATCH_TICKETS / 1e9);
    expect((ended.cost_usd ?? 0) / (direct.cost / 2)).toBeCloseTo(1, 2);
    expect(summary).toMatchObject({ type: 'summary', cost_usd: ended.cost_usd, model: ended.model });
    const { day } = await standing();
    expect(day.held_usd).toBe(0);
    expect(day.settled_usd).toBe(ended.cost_usd);
  });

  test('answers what is known from the cache, and puts what it learns there', async () => {
    start();
    const inputs = inputsOf(9);
    await classified(inputs.slice(0, 3), 'ada');
    await app.settled();
    const report = await begin({ inputs });
    expect(report.counts).toMatchObject({ inputs: 9, cached: 3, requests: 6 });
    const ended = await finish(report);
    expect((await resultsOf(ended)).slice(0, -1).map(({ cached }) => cached)).toEqual([
      ...[true, true, true],
      ...Array.from({ length: 6 }, () => false),
    ]);
    await keep(ended);
    const sent = app.sent.length;
    const after = await classified(inputs, 'ada');
    expect(after.cost).toBe(0);
    expect(after.rows.every(({ cached }) => cached)).toBe(true);
    expect(app.sent.length).toBe(sent);
    const again = await begin({ inputs });
    expect(again).toMatchObject({ status: 'ended', batch: null, cost_usd: 0, counts: { cached: 9, requests: 0 } });
    expect((await resultsOf(again)).length).toBe(10);
  });

  test('asks once about equal inputs, and tells what is no text', async () => {
    start();
    const inputs = [
      { id: 'a', input: ticket(0) },
      { id: 'b', input: 5 },
      { id: 'c', input: ticket(0) },
      { id: 'd', input: ' ' },
      { id: 'e', input: ticket(1) },
    ];
    const report = await begin({ inputs });
    expect(report.counts).toMatchObject({ inputs: 5, repeated: 1, requests: 2 });
    const ended = await finish(report);
    expect(ended.counts).toMatchObject({ labelled: 3, failed: 2 });
    const direct = await classified(inputs, 'grace');
    expect((await resultsOf(ended)).slice(0, -1)).toEqual(direct.rows);
  });

  test('makes as many requests as there are votes', async () => {
    start();
    const report = await begin({ inputs: inputsOf(3), votes: 3 });
    expect(report.counts.requests).toBe(9);
    expect(new Set(requestsUp().map(({ custom_id }) => custom_id)).size).toBe(9);
    const ended = await finish(report);
    expect((await resultsOf(ended)).slice(0, -1)).toMatchObject([
      { label: 'billing', confidence: 1 },
      { label: 'bug', confidence: 1 },
      { label: 'account', confidence: 1 },
    ]);
  });

  test('belongs to its account, and is erased with it', async () => {
    start();
    const report = await finish(await begin({ inputs: inputsOf(2) }));
    for (const [path, method] of [
      ['', 'GET'],
      ['/results', 'GET'],
      ['/cancel', 'POST'],
    ] as const) {
      const headers = await credential('mallory');
      const response = await app.fetch(`/classifications/${report.id}${path}`, { method, headers });
      expect(response.status).toBe(404);
      expect((await errorOf(response)).type).toBe('not_found_error');
    }
    const account = accountStub(bindings, {}, 'ada');
    await account.erase();
    await runDurableObjectAlarm(account);
    const object = classificationStub(bindings, {}, { account: 'ada', id: report.id });
    expect(await object.read()).toBeUndefined();
  });

  test('what the budget has no room for is refused, and nothing of it stays', async () => {
    start();
    await accountStub(bindings, {}, 'ada').setLimits({ usd_per_day: 0.000001 });
    const response = await app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(429);
    expect((await errorOf(response)).message).toMatch(/would fit/);
    await app.settled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
    expect(requestsUp()).toEqual([]);
  });

  test('what the upstream refuses is told in its words, and costs nothing', async () => {
    start();
    instead = ({ url }) =>
      url.pathname === '/v1/messages/batches'
        ? Response.json(
            { type: 'error', error: { type: 'invalid_request_error', message: 'Not these.' } },
            { status: 400 },
          )
        : undefined;
    const response = await app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('Not these.');
    await app.settled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
  });

  test('the same key finds the same classification, and is of no use for another', async () => {
    start();
    const key = { 'idempotency-key': 'once' };
    const first = await begin({ inputs: inputsOf(3) }, 'ada', key);
    const again = await begin({ inputs: inputsOf(3) }, 'ada', key);
    expect(again.id).toBe(first.id);
    expect(requestsUp().length).toBe(3);
    const other = await app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(4) },
      { ...(await credential('ada')), ...key },
    );
    expect(other.status).toBe(400);
  });

  test('canceled, it ends with what was labelled', async () => {
    start();
    const report = await begin({ inputs: inputsOf(3) });
    const response = await app.fetch(`/classifications/${report.id}/cancel`, {
      method: 'POST',
      headers: await credential('ada'),
    });
    expect(response.status).toBe(200);
    const ended = await finish(report);
    const rows = (await resultsOf(ended)).slice(0, -1);
    expect(rows.length).toBe(3);
    expect(ended.counts.labelled + ended.counts.failed).toBe(3);
  });

  test('results that break off are read again, and come to the same', async () => {
    start();
    const inputs = inputsOf(20);
    breaks = 3;
    const ended = await finish(await begin({ inputs, votes: 2 }));
    expect(breaks).toBe(0);
    expect(ended.counts).toMatchObject({ labelled: 20, failed: 0, requests: 40 });
    const rows = (await resultsOf(ended)).slice(0, -1);
    expect(rows.map(({ id }) => id)).toEqual(inputs.map(({ id }) => id));
    expect(rows.every(({ confidence }) => confidence === 1)).toBe(true);
    const { day } = await standing();
    expect([day.held_usd, day.settled_usd]).toEqual([0, ended.cost_usd]);
  });

  test('goes on where whoever has made its batch dies before that was noted', async () => {
    start();
    const dies = vi.spyOn(ClassificationJob.prototype, 'sent').mockImplementation(() => {
      throw new Error('killed');
    });
    const body = { batch: true, labels: LABELS, inputs: inputsOf(3) };
    const key = { ...(await credential('ada')), 'idempotency-key': 'lost' };
    expect((await app.post('/classify', body, key)).status).toBe(503);
    dies.mockRestore();
    const report = await begin({ inputs: inputsOf(3) }, 'ada', { 'idempotency-key': 'lost' });
    expect(requestsUp().length).toBe(3);
    const inside = ClassificationJob.prototype as unknown as { now(): number };
    const later = vi.spyOn(inside, 'now').mockImplementation(() => Date.now() + 16 * 60_000);
    onTestFinished(() => later.mockRestore());
    const ended = await finish(report);
    expect(ended.counts).toMatchObject({ labelled: 3, requests: 3 });
    expect(requestsUp().length).toBe(3);
  });

  test('its end is told once, signed, and under the same id where the receiver fails', async () => {
    start({
      DELIVER_HOSTS: 'a.test',
      DELIVERY_SIGNING_SECRET: 'whsec_dGhlIHNlY3JldCBvZiB0aGUgZGVsaXZlcmllcyBvZiB0ZXN0cw==',
    });
    const told: { id: string | null; signature: string | null; body: Record<string, unknown> }[] = [];
    const taken = vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
      const headers = new Headers(init?.headers);
      const body = JSON.parse(await new Response(init?.body).text());
      told.push({ id: headers.get('webhook-id'), signature: headers.get('webhook-signature'), body });
      return new Response(null, { status: told.length === 1 ? 500 : 204 });
    });
    onTestFinished(() => taken.mockRestore());
    const ended = await finish(await begin({ inputs: inputsOf(2), deliver_url: 'https://a.test/hook' }));
    const inside = ClassificationJob.prototype as unknown as { now(): number };
    const later = vi.spyOn(inside, 'now').mockImplementation(() => Date.now() + 3_600_000);
    onTestFinished(() => later.mockRestore());
    await keep(ended);
    await keep(ended);
    expect(told.map(({ id }) => id)).toEqual([`evt_${ended.id}`, `evt_${ended.id}`]);
    expect(told[1]?.signature).toMatch(/^v1,/);
    expect(told[1]?.body).toMatchObject({
      type: 'classification.ended',
      classification: { id: ended.id, status: 'ended', counts: { labelled: 2 } },
    });
  });

  test.each([
    ['a single input', { input: 'x' }, /batch: it takes `inputs`/],
    ['a stream', { inputs: inputsOf(1), stream: true }, /batch: it takes `inputs`/],
    ['two ids that are the same', { inputs: [...inputsOf(1), ...inputsOf(1)] }, /each needs an id of its own/],
    ['a receiver that is not allowed', { inputs: inputsOf(1), deliver_url: 'https://a.test/' }, /deliver_url/],
  ])('%s is refused, and nothing goes up', async (_, body, said) => {
    start();
    const response = await app.post('/classify', { batch: true, labels: LABELS, ...body }, await credential('ada'));
    expect(response.status).toBe(400);
    expect((await errorOf(response)).message).toMatch(said);
    expect(app.sent).toEqual([]);
  });
});
