import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { getAccountStub, getBatchStub } from '#edge/durable/stubs.ts';
import { HOUR_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { readError } from '#test/support/app.ts';
import { compareById, createInputs, createJobEdge, createTicket, LABELS } from '#test/support/classification-jobs.ts';
import { eventually } from '#test/support/eventually.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const bindings = env as unknown as Bindings;

const ROUTES = [
  ['', 'GET'],
  ['/results', 'GET'],
  ['/cancel', 'POST'],
] as const;

const credential = async (account: string) => bearerHeader(await createToken(account, ['classify']));
const standing = async (account = 'ada') => await getAccountStub(bindings, {}, account).getQuotaReport();

describe('a batch classification', () => {
  test('is a batch with an item for each input, and its results equal those of a single request', async () => {
    const edge = createJobEdge();
    const inputs = [...createInputs(3), { id: 'again', input: createTicket(0) }];
    const begun = await edge.createJob({ inputs });
    expect(begun).toMatchObject({ type: 'message_batch', processing_status: 'in_progress', results_url: null });
    expect(begun.request_counts.processing).toBe(4);
    expect(edge.listUpstreamRequests().map(({ custom_id }) => custom_id)).toEqual(inputs.map(({ id }) => id));
    const early = await edge.app.fetch(`/classifications/${begun.id}/results`, { headers: await credential('ada') });
    expect(early.status).toBe(404);
    const ended = await edge.settleJob(begun);
    expect(ended.results_url).toMatch(new RegExp(`/classifications/${begun.id}/results$`));
    expect((await edge.readResults(ended)).rows).toEqual(
      (await edge.classifyDirectly({ inputs }, 'grace')).rows.map((row) => ({
        ...row,
        cached: false,
      })),
    );
    const headers = bearerHeader(await createToken('ada', ['messages']));
    const batch = await edge.app.fetch(`/v1/messages/batches/${begun.id}`, { headers });
    expect(await batch.json()).toMatchObject({ id: begun.id, results_url: expect.stringMatching(/batches/) as string });
    // Its labels are in no cache.
    expect((await bindings.STORE.list({ prefix: 'classified:ada:' })).keys).toEqual([]);
  });

  describe.each(Object.entries(FIRST_SCHEMAS))('by a schema with %s', (_, { schema, property }) => {
    test('returns the whole object in its results, as a single request does', async () => {
      const edge = createJobEdge();
      const inputs = [createTicket(0), createTicket(1)];
      const body = { labels: undefined, schema };
      const { rows } = await edge.readResults(await edge.settleJob(await edge.createJob({ ...body, inputs })));
      expect(rows).toMatchObject([
        { id: '0', output: expect.any(Object) as object, error: null },
        { id: '1', output: expect.any(Object) as object, error: null },
      ]);
      expect(rows.map(({ label }) => label)).toEqual(rows.map(({ output }) => output?.[property] ?? null));
      const named = inputs.map((input, id) => ({ id: `${id}`, input }));
      expect(rows).toEqual((await edge.classifyDirectly({ ...body, inputs: named }, 'grace')).rows);
    });

    test('uses a stored classifier with the schema', async () => {
      const edge = createJobEdge();
      const headers = { ...bearerHeader(await createToken('ada', ['prefixes'])), 'content-type': 'application/json' };
      const body = JSON.stringify({ schema });
      const stored = await edge.app.fetch('/classifiers/first', { method: 'PUT', headers, body });
      expect(await stored.json()).toMatchObject({ schema, label_property: property });
      const begun = await edge.createJob({ labels: undefined, classifier: 'first', inputs: [createTicket(0)] });
      const { rows } = await edge.readResults(await edge.settleJob(begun));
      expect(rows).toMatchObject([{ output: expect.any(Object) as object, error: null }]);
      expect(rows[0]?.label).toBe(rows[0]?.output?.[property] ?? null);
    });
  });

  test('returns 404 for the id of a message batch', async () => {
    const edge = createJobEdge();
    const params = { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
    const headers = bearerHeader(await createToken('ada', ['messages', 'classify']));
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
  ])('sets the same thinking for %s in each item as a single request does', async (model, thinking) => {
    const edge = createJobEdge();
    const report = await edge.createJob({ inputs: createInputs(3), model });
    expect(edge.listUpstreamRequests().map(({ params }) => params.thinking)).toEqual(
      Array.from({ length: 3 }, () => thinking),
    );
    // A batch has no second try.
    const tokens = edge.listUpstreamRequests().map(({ params }) => Number(params.max_tokens));
    for (const most of tokens) expect(most - (thinking ? 0 : 8_192)).toBeLessThan(200);
    const ended = await edge.settleJob(report);
    expect((await edge.readResults(ended)).rows.map(({ error }) => error)).toEqual([null, null, null]);
  });

  test('belongs to its account, and is erased with it', async () => {
    const edge = createJobEdge();
    const report = await edge.settleJob(await edge.createJob({ inputs: createInputs(2) }));
    for (const [path, method] of ROUTES) {
      const headers = await credential('mallory');
      const response = await edge.app.fetch(`/classifications/${report.id}${path}`, { method, headers });
      expect(response.status).toBe(404);
      expect((await readError(response)).type).toBe('not_found_error');
    }
    const account = getAccountStub(bindings, {}, 'ada');
    await account.erase();
    const object = getBatchStub(bindings, {}, { account: 'ada', id: report.id });
    // The account may be at its alarm just now.
    await eventually(async () => {
      await runDurableObjectAlarm(account);
      expect(await object.readBatchState()).toEqual({ kind: 'none' });
    });
  });

  test('is rejected without a hold when the budget does not cover it', async () => {
    const edge = createJobEdge();
    await getAccountStub(bindings, {}, 'ada').setLimits({ usd_per_day: 0.000001 });
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: createInputs(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(429);
    expect((await readError(response)).message).toMatch(/fit into the budget/);
    await edge.app.waitUntilSettled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
    expect(edge.listUpstreamRequests()).toEqual([]);
  });

  test('returns the error of an upstream that rejects it, and costs nothing', async () => {
    const edge = createJobEdge();
    edge.instead = ({ url }) =>
      url.pathname === '/v1/messages/batches'
        ? Response.json(
            { type: 'error', error: { type: 'invalid_request_error', message: 'Not these.' } },
            { status: 400 },
          )
        : undefined;
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: createInputs(5) },
      await credential('ada'),
    );
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('Not these.');
    await edge.app.waitUntilSettled();
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: 0 });
  });

  test('is found again by its idempotency key, which is rejected for another body', async () => {
    const edge = createJobEdge();
    const key = { 'idempotency-key': 'once' };
    const first = await edge.createJob({ inputs: createInputs(3) }, 'ada', key);
    const again = await edge.createJob({ inputs: createInputs(3) }, 'ada', key);
    expect(again.id).toBe(first.id);
    expect(edge.listUpstreamRequests().length).toBe(3);
    const other = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, inputs: createInputs(4) },
      { ...(await credential('ada')), ...key },
    );
    expect(other.status).toBe(400);
  });

  test('ends with a result for every input when it is canceled', async () => {
    const edge = createJobEdge();
    const report = await edge.createJob({ inputs: createInputs(3) });
    const response = await edge.app.fetch(`/classifications/${report.id}/cancel`, {
      method: 'POST',
      headers: await credential('ada'),
    });
    expect(response.status).toBe(200);
    const ended = await edge.settleJob(report);
    const rows = (await edge.readResults(ended)).rows;
    expect(rows.length).toBe(3);
    expect(ended.request_counts.processing).toBe(0);
  });

  test('reads interrupted results again until they are complete', async () => {
    const edge = createJobEdge();
    const inputs = createInputs(20);
    edge.interruptionCount = 3;
    const ended = await edge.settleJob(await edge.createJob({ inputs }));
    expect(edge.interruptionCount).toBe(0);
    const rows = (await edge.readResults(ended)).rows;
    expect(rows.map(({ id, error }) => [id, error])).toEqual(inputs.sort(compareById).map(({ id }) => [id, null]));
    const { day } = await standing();
    expect([day.held_usd, day.settled_usd]).toEqual([0, ended.cost_usd]);
  });

  test('delivers one signed event at its end, and retries it under the same id if the receiver fails', async () => {
    const edge = createJobEdge({
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
    const ended = await edge.settleJob(
      await edge.createJob({ inputs: createInputs(2), deliver_url: 'https://a.test/hook' }),
    );
    for (let alarms = 0; alarms < 3; alarms += 1) {
      await edge.wakeBatches();
      edge.advanceClock(HOUR_MS);
    }
    expect(told.map(({ id }) => id)).toEqual([`evt_${ended.id}`, `evt_${ended.id}`]);
    expect(told[1]?.signature).toMatch(/^v1,/);
    expect(told[1]?.body).toMatchObject({
      type: 'batch.ended',
      batch: { id: ended.id, processing_status: 'ended', request_counts: { succeeded: 2 } },
    });
  });

  test.each([
    ['a single input', { input: 'x' }, /batch: requires `inputs`/],
    ['a stream', { inputs: createInputs(1), stream: true }, /batch: requires `inputs`/],
    ['two ids that are the same', { inputs: [...createInputs(1), ...createInputs(1)] }, /same id/],
    ['more than one vote', { inputs: createInputs(1), votes: 3 }, /^votes: must be 1 with `batch`/],
    ['keeping', { inputs: createInputs(1), cache_seconds: 60 }, /^cache_seconds: /],
    ['an id that no item can have', { inputs: [{ id: 'a b', input: 'x' }] }, /^inputs\.0\.id: /],
    ['what is no text', { inputs: [...createInputs(1), { id: 'b', input: 5 }] }, /^inputs\.1\.input: /],
    ['an empty text', { inputs: [...createInputs(1), { id: 'b', input: ' ' }] }, /^inputs\.1\.input: /],
    ['a receiver that is not allowed', { inputs: createInputs(1), deliver_url: 'https://a.test/' }, /deliver_url/],
  ])('with %s is rejected before anything is sent upstream', async (_, body, said) => {
    const edge = createJobEdge();
    const response = await edge.app.post(
      '/classify',
      { batch: true, labels: LABELS, ...body },
      await credential('ada'),
    );
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toMatch(said);
    expect(edge.app.sent).toEqual([]);
  });
});
