import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { accountStub, batchStub } from '#edge/durable/stubs.ts';
import { HOUR_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { errorOf } from '#test/support/app.ts';
import { FIRST_SCHEMAS } from '#test/support/classification.ts';
import { byId, inputsOf, jobEdge, LABELS, ticket } from '#test/support/classification-jobs.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearer, tokenOf } from '#test/support/tokens.ts';

const bindings = env as unknown as Bindings;

const ROUTES = [
  ['', 'GET'],
  ['/results', 'GET'],
  ['/cancel', 'POST'],
] as const;

const credential = async (account: string) => bearer(await tokenOf(account, ['classify']));
const standing = async (account = 'ada') => await accountStub(bindings, {}, account).quota();

describe('a classification by batch', () => {
  test('is a batch with an item for each input, whose results are read as labels', async () => {
    const edge = jobEdge();
    const inputs = [...inputsOf(3), { id: 'again', input: ticket(0) }];
    const begun = await edge.begin({ inputs });
    expect(begun).toMatchObject({ type: 'message_batch', processing_status: 'in_progress', results_url: null });
    expect(begun.request_counts.processing).toBe(4);
    expect(edge.requestsUp().map(({ custom_id }) => custom_id)).toEqual(inputs.map(({ id }) => id));
    const early = await edge.app.fetch(`/classifications/${begun.id}/results`, { headers: await credential('ada') });
    expect(early.status).toBe(404);
    const ended = await edge.finish(begun);
    expect(ended.results_url).toMatch(new RegExp(`/classifications/${begun.id}/results$`));
    expect((await edge.resultsOf(ended)).rows).toEqual(
      (await edge.classified({ inputs }, 'grace')).rows.map((row) => ({
        ...row,
        cached: false,
      })),
    );
    const headers = bearer(await tokenOf('ada', ['messages']));
    const batch = await edge.app.fetch(`/v1/messages/batches/${begun.id}`, { headers });
    expect(await batch.json()).toMatchObject({ id: begun.id, results_url: expect.stringMatching(/batches/) as string });
    // Its labels are in no cache.
    expect((await bindings.STORE.list({ prefix: 'classified:ada:' })).keys).toEqual([]);
  });

  describe.each(Object.entries(FIRST_SCHEMAS))('by a schema with %s', (_, { schema, property }) => {
    test('has the whole object in its results, as a single request has', async () => {
      const edge = jobEdge();
      const inputs = [ticket(0), ticket(1)];
      const body = { labels: undefined, schema };
      const { rows } = await edge.resultsOf(await edge.finish(await edge.begin({ ...body, inputs })));
      expect(rows).toMatchObject([
        { id: '0', fields: null, output: expect.any(Object) as object, error: null },
        { id: '1', fields: null, output: expect.any(Object) as object, error: null },
      ]);
      expect(rows.map(({ label }) => label)).toEqual(rows.map(({ output }) => output?.[property] ?? null));
      const named = inputs.map((input, id) => ({ id: `${id}`, input }));
      expect(rows).toEqual((await edge.classified({ ...body, inputs: named }, 'grace')).rows);
    });

    test('labels by a stored classifier that has it', async () => {
      const edge = jobEdge();
      const headers = { ...bearer(await tokenOf('ada', ['prefixes'])), 'content-type': 'application/json' };
      const body = JSON.stringify({ schema });
      const stored = await edge.app.fetch('/classifiers/first', { method: 'PUT', headers, body });
      expect(await stored.json()).toMatchObject({ schema, label_property: property });
      const begun = await edge.begin({ labels: undefined, classifier: 'first', inputs: [ticket(0)] });
      const { rows } = await edge.resultsOf(await edge.finish(begun));
      expect(rows).toMatchObject([{ output: expect.any(Object) as object, error: null }]);
      expect(rows[0]?.label).toBe(rows[0]?.output?.[property] ?? null);
    });
  });

  test('a batch of messages is none', async () => {
    const edge = jobEdge();
    const params = { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
    const headers = bearer(await tokenOf('ada', ['messages', 'classify']));
    const made = await edge.app.post('/v1/messages/batches', { requests: [{ custom_id: 'a', params }] }, headers);
    const { id } = (await made.json()) as { id: string };
    for (const [path, method] of ROUTES) {
      expect((await edge.app.fetch(`/classifications/${id}${path}`, { method, headers })).status).toBe(404);
    }
    expect(await (await edge.app.fetch(`/v1/messages/batches/${id}`, { headers })).json()).toMatchObject({
      cancel_initiated_at: null,
    });
  });

  test.each([
    ['claude-haiku-5-5', { type: 'disabled' }],
    ['claude-sonnet-5-5', { type: 'between_tools' }],
    ['claude-opus-5-5', undefined],
  ])('asks %s in each item to label without thinking, as a single request does', async (model, thinking) => {
    const edge = jobEdge();
    const report = await edge.begin({ inputs: inputsOf(3), model });
    expect(edge.requestsUp().map(({ params }) => params.thinking)).toEqual(Array.from({ length: 3 }, () => thinking));
    // A batch has no second try.
    const tokens = edge.requestsUp().map(({ params }) => Number(params.max_tokens));
    for (const most of tokens) expect(most - (thinking ? 0 : 8_192)).toBeLessThan(200);
    const ended = await edge.finish(report);
    expect((await edge.resultsOf(ended)).rows.map(({ error }) => error)).toEqual([null, null, null]);
  });

  test('belongs to its account, and is erased with it', async () => {
    const edge = jobEdge();
    const report = await edge.finish(await edge.begin({ inputs: inputsOf(2) }));
    for (const [path, method] of ROUTES) {
      const headers = await credential('mallory');
      const response = await edge.app.fetch(`/classifications/${report.id}${path}`, { method, headers });
      expect(response.status).toBe(404);
      expect((await errorOf(response)).type).toBe('not_found_error');
    }
    const account = accountStub(bindings, {}, 'ada');
    await account.erase();
    const object = batchStub(bindings, {}, { account: 'ada', id: report.id });
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
    expect(ended.request_counts.processing).toBe(0);
  });

  test('results that break off are read again, and come to the same', async () => {
    const edge = jobEdge();
    const inputs = inputsOf(20);
    edge.breaks = 3;
    const ended = await edge.finish(await edge.begin({ inputs }));
    expect(edge.breaks).toBe(0);
    const rows = (await edge.resultsOf(ended)).rows;
    expect(rows.map(({ id, error }) => [id, error])).toEqual(inputs.sort(byId).map(({ id }) => [id, null]));
    const { day } = await standing();
    expect([day.held_usd, day.settled_usd]).toEqual([0, ended.cost_usd]);
  });

  test('its end is told once, signed, and under the same id where the receiver fails', async () => {
    const edge = jobEdge({
      DELIVER_HOSTS: 'a.test',
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
      type: 'batch.ended',
      batch: { id: ended.id, processing_status: 'ended', request_counts: { succeeded: 2 } },
    });
  });

  test.each([
    ['a single input', { input: 'x' }, /batch: it takes `inputs`/],
    ['a stream', { inputs: inputsOf(1), stream: true }, /batch: it takes `inputs`/],
    ['two ids that are the same', { inputs: [...inputsOf(1), ...inputsOf(1)] }, /same id/],
    ['more than one vote', { inputs: inputsOf(1), votes: 3 }, /^votes: .*without `batch`/],
    ['keeping', { inputs: inputsOf(1), cache_seconds: 60 }, /^cache_seconds: /],
    ['an id that no item can have', { inputs: [{ id: 'a b', input: 'x' }] }, /^inputs\.0\.id: /],
    ['what is no text', { inputs: [...inputsOf(1), { id: 'b', input: 5 }] }, /^inputs\.1\.input: /],
    ['an empty text', { inputs: [...inputsOf(1), { id: 'b', input: ' ' }] }, /^inputs\.1\.input: /],
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
