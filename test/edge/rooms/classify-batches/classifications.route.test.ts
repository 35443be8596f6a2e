import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { HOUR_MS } from '../../../../src/edge/kit/async/durations.ts';
import type { Bindings } from '../../../../src/edge/kit/objects/bindings.ts';
import { accountStub, batchStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { errorOf } from '../../../support/app.ts';
import { inputsOf, jobEdge, LABELS, ticket } from '../../../support/classification-jobs.ts';
import { eventually } from '../../../support/eventually.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';

const bindings = env as unknown as Bindings;

const credential = async (account: string) => bearer(await tokenOf(account, ['classify']));
const standing = async (account = 'ada') => await accountStub(bindings, {}, account).standing();

describe('a classification by batch', () => {
  test('asked for, answers what is known from the cache, and puts what it learns there', async () => {
    const edge = jobEdge();
    const inputs = inputsOf(9);
    const keeping = { inputs, cache_seconds: 3_600 };
    await edge.classified({ inputs: inputs.slice(0, 3) }, 'ada');
    await edge.app.settled();
    const report = await edge.begin(keeping);
    expect(report.counts).toMatchObject({ inputs: 9, cached: 3, requests: 6 });
    const ended = await edge.finish(report);
    expect((await edge.resultsOf(ended)).rows.map(({ cached }) => cached)).toEqual([
      ...[true, true, true],
      ...Array.from({ length: 6 }, () => false),
    ]);
    // Answers go into the cache some at a time.
    for (let alarms = 0; alarms < 3; alarms += 1) await edge.wake();
    const sent = edge.app.sent.length;
    const after = await edge.classified({ inputs }, 'ada');
    expect(after.cost).toBe(0);
    expect(after.rows.every(({ cached }) => cached)).toBe(true);
    expect(edge.app.sent.length).toBe(sent);
    const again = await edge.begin(keeping);
    expect(again).toMatchObject({ status: 'ended', batch: null, cost_usd: 0, counts: { cached: 9, requests: 0 } });
    expect((await edge.resultsOf(again)).rows.length).toBe(9);
  });

  test('reads and writes no value of KV unless the request or its classifier says how long an answer is kept', async () => {
    const edge = jobEdge();
    const inputs = [...inputsOf(3), { id: 'again', input: ticket(0) }];
    const kept = async () => (await bindings.STORE.list({ prefix: 'classified:ada:' })).keys.length;
    await edge.classified({ inputs: inputs.slice(0, 1) }, 'ada');
    await edge.app.settled();
    expect(await kept()).toBe(1);
    const report = await edge.begin({ inputs });
    // Equal texts are asked about once all the same.
    expect(report.counts).toMatchObject({ inputs: 4, cached: 0, repeated: 1, requests: 3 });
    await edge.finish(report);
    for (let alarms = 0; alarms < 3; alarms += 1) await edge.wake();
    expect(await kept()).toBe(1);
    const stored = await edge.app.fetch('/classifiers/tickets', {
      method: 'PUT',
      headers: { ...bearer(await tokenOf('ada', ['prefixes'])), 'content-type': 'application/json' },
      body: JSON.stringify({ labels: LABELS, cache_seconds: 60 }),
    });
    expect(stored.status).toBe(200);
    const keeping = await edge.finish(await edge.begin({ classifier: 'tickets', labels: undefined, inputs }));
    for (let alarms = 0; alarms < 3; alarms += 1) await edge.wake();
    // For how long an answer is kept does not change it, so the one of the direct request was known.
    expect(keeping.counts).toMatchObject({ cached: 2, repeated: 0, requests: 2 });
    expect(await kept()).toBe(3);
  });

  test('asks once about equal inputs, and tells what is no text', async () => {
    const edge = jobEdge();
    const inputs = [
      { id: 'a', input: ticket(0) },
      { id: 'b', input: 5 },
      { id: 'c', input: ticket(0) },
      { id: 'd', input: ' ' },
      { id: 'e', input: ticket(1) },
    ];
    const report = await edge.begin({ inputs });
    expect(report.counts).toMatchObject({ inputs: 5, repeated: 1, requests: 2 });
    const ended = await edge.finish(report);
    expect(ended.counts).toMatchObject({ labelled: 3, failed: 2 });
    const direct = await edge.classified({ inputs }, 'grace');
    expect((await edge.resultsOf(ended)).rows).toEqual(direct.rows);
  });

  test.each([
    ['claude-haiku-5-5', { type: 'disabled' }],
    ['claude-sonnet-5-5', { type: 'between_tools' }],
    ['claude-opus-5-5', undefined],
  ])('asks %s in each item to label without thinking, as a single request does', async (model, thinking) => {
    const edge = jobEdge();
    const report = await edge.begin({ inputs: inputsOf(3), votes: 2, model });
    expect(edge.requestsUp().map(({ params }) => params.thinking)).toEqual(Array.from({ length: 6 }, () => thinking));
    // A batch has no second try.
    const tokens = edge.requestsUp().map(({ params }) => Number(params.max_tokens));
    for (const most of tokens) expect(most - (thinking ? 0 : 8_192)).toBeLessThan(200);
    const ended = await edge.finish(report);
    expect(ended.counts).toMatchObject({ labelled: 3, failed: 0 });
  });

  test('makes as many requests as there are votes', async () => {
    const edge = jobEdge();
    const report = await edge.begin({ inputs: inputsOf(3), votes: 3 });
    expect(report.counts.requests).toBe(9);
    expect(new Set(edge.requestsUp().map(({ custom_id }) => custom_id)).size).toBe(9);
    const ended = await edge.finish(report);
    expect((await edge.resultsOf(ended)).rows).toMatchObject([
      { label: 'billing', confidence: 1 },
      { label: 'bug', confidence: 1 },
      { label: 'account', confidence: 1 },
    ]);
  });

  test('belongs to its account, and is erased with it', async () => {
    const edge = jobEdge();
    const report = await edge.finish(await edge.begin({ inputs: inputsOf(2) }));
    for (const [path, method] of [
      ['', 'GET'],
      ['/results', 'GET'],
      ['/cancel', 'POST'],
    ] as const) {
      const headers = await credential('mallory');
      const response = await edge.app.fetch(`/classifications/${report.id}${path}`, { method, headers });
      expect(response.status).toBe(404);
      expect((await errorOf(response)).type).toBe('not_found_error');
    }
    const account = accountStub(bindings, {}, 'ada');
    await account.erase();
    const object = batchStub(bindings, {}, { account: 'ada', id: report.id.replace('cls', 'msg') });
    // The account may be at its alarm just now.
    await eventually(async () => {
      await runDurableObjectAlarm(account);
      expect(await object.read()).toEqual({ kind: 'none' });
    });
  });

  test('what the budget has no room for is refused, and nothing of it stays', async () => {
    const edge = jobEdge();
    await accountStub(bindings, {}, 'ada').setLimits({ usd_per_day: 0.000001 });
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(429);
    expect((await errorOf(response)).message).toMatch(/would fit/);
    await edge.app.settled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
    expect(edge.requestsUp()).toEqual([]);
  });

  test('what the upstream refuses is told in its words, and costs nothing', async () => {
    const edge = jobEdge();
    edge.instead = ({ url }) =>
      url.pathname === '/v1/messages/batches'
        ? Response.json(
            { type: 'error', error: { type: 'invalid_request_error', message: 'Not these.' } },
            { status: 400 },
          )
        : undefined;
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('Not these.');
    await edge.app.settled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
  });

  test('the same key finds the same classification, and is of no use for another', async () => {
    const edge = jobEdge();
    const key = { 'idempotency-key': 'once' };
    const first = await edge.begin({ inputs: inputsOf(3) }, 'ada', key);
    const again = await edge.begin({ inputs: inputsOf(3) }, 'ada', key);
    expect(again.id).toBe(first.id);
    expect(edge.requestsUp().length).toBe(3);
    const other = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: inputsOf(4) },
      { ...(await credential('ada')), ...key },
    );
    expect(other.status).toBe(400);
  });

  test('canceled, it ends with what was labelled', async () => {
    const edge = jobEdge();
    const report = await edge.begin({ inputs: inputsOf(3) });
    const response = await edge.app.fetch(`/classifications/${report.id}/cancel`, {
      method: 'POST',
      headers: await credential('ada'),
    });
    expect(response.status).toBe(200);
    const ended = await edge.finish(report);
    const rows = (await edge.resultsOf(ended)).rows;
    expect(rows.length).toBe(3);
    expect(ended.counts.labelled + ended.counts.failed).toBe(3);
  });

  test('results that break off are read again, and come to the same', async () => {
    const edge = jobEdge();
    const inputs = inputsOf(20);
    edge.breaks = 3;
    const ended = await edge.finish(await edge.begin({ inputs, votes: 2 }));
    expect(edge.breaks).toBe(0);
    expect(ended.counts).toMatchObject({ labelled: 20, failed: 0, requests: 40 });
    const rows = (await edge.resultsOf(ended)).rows;
    expect(rows.map(({ id }) => id)).toEqual(inputs.map(({ id }) => id));
    expect(rows.every(({ confidence }) => confidence === 1)).toBe(true);
    const { day } = await standing();
    expect([day.held_usd, day.settled_usd]).toEqual([0, ended.cost_usd]);
  });

  test('its end is told once, signed, and under the same id where the receiver fails', async () => {
    const edge = jobEdge({
      DELIVER_HOSTS: 'a.test',
      // The batch behind it is nobody's: its end is not told.
      BATCH_DELIVER_URL: 'https://a.test/batches',
      DELIVERY_SIGNING_SECRET: 'whsec_dGhlIHNlY3JldCBvZiB0aGUgZGVsaXZlcmllcyBvZiB0ZXN0cw==',
    });
    const told: { id: string | null; signature: string | null; body: Record<string, unknown> }[] = [];
    vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
      const headers = new Headers(init?.headers);
      const body = JSON.parse(await new Response(init?.body).text());
      told.push({ id: headers.get('webhook-id'), signature: headers.get('webhook-signature'), body });
      return new Response(null, { status: told.length === 1 ? 500 : 204 });
    });
    const ended = await edge.finish(await edge.begin({ inputs: inputsOf(2), deliver_url: 'https://a.test/hook' }));
    for (let alarms = 0; alarms < 3; alarms += 1) {
      await edge.wake();
      edge.pass(HOUR_MS);
    }
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
    const edge = jobEdge();
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, ...body },
      await credential('ada'),
    );
    expect(response.status).toBe(400);
    expect((await errorOf(response)).message).toMatch(said);
    expect(edge.app.sent).toEqual([]);
  });
});
