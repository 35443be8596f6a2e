import { env } from 'cloudflare:workers';
import { beforeEach, describe, expect, test } from 'vitest';
import { computeCost, toUsd } from '#edge/claude/pricing/cost.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { createFakeBatchApi, type FakeBatchApi } from '#test/support/batch-api.ts';
import { setBatchUpstream, wakeBatch } from '#test/support/batch-objects.ts';
import { eventually } from '#test/support/eventually.ts';

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';

let api: FakeBatchApi;
let app: TestApp;
/** What the upstream says in place of the stand-in, if anything. */
let instead: ((sent: SentRequest) => Response | undefined | Promise<Response | undefined>) | undefined;

function start(vars: Record<string, string> = {}): void {
  const answer = async (sent: SentRequest) =>
    (await instead?.(sent)) ?? api.handle(sent.method, sent.url.pathname + sent.url.search, sent.text);
  app = createTestApp(answer, { ...vars });
  setBatchUpstream(async (url, { method = '', headers, body, signal }) => {
    const text = await new Response(body ?? '').text();
    const bytes = new TextEncoder().encode(text);
    const sent = { method, url: new URL(url), headers: new Headers(headers), body: bytes, text };
    return await answer({ ...sent, signal: signal ?? undefined });
  }, vars);
}

beforeEach(() => {
  api = createFakeBatchApi();
  instead = undefined;
});
const item = (id: string, more: object = {}) => ({
  custom_id: id,
  params: { model: 'claude-sonnet-5-5', max_tokens: 100, messages: [{ role: 'user', content: `Say ${id}` }], ...more },
});
const items = (...ids: string[]) => ({ requests: ids.map((id) => item(id)) });

async function make(body: unknown, headers: Record<string, string> = {}): Promise<MessageBatch> {
  const response = await app.post(PATH, body, headers);
  expect(response.status, await response.clone().text()).toBe(200);
  return await response.json();
}

const read = async (id: string): Promise<MessageBatch> => await (await app.fetch(`${PATH}/${id}`)).json();

/** Has the upstream end what it has, and the batch see it. */
async function finish(id: string): Promise<MessageBatch> {
  api.end();
  // The runtime may be at its alarm just now.
  await eventually(async () => {
    await wakeBatch(id);
    expect((await read(id)).processing_status).toBe('ended');
  });
  return await read(id);
}

const standing = () => getAccountStub(bindings, {}, 'dev').getQuotaReport();
const ledger = async () => (await getAccountStub(bindings, {}, 'dev').listRequests({})).data;

describe('a batch', () => {
  test('is sent upstream with the same items, and gets an id from Sluice', async () => {
    start();
    const body = JSON.stringify(items('a', 'b'), undefined, 1);
    const batch = await make(body);
    expect(batch).toMatchObject({
      id: expect.stringMatching(/^msgbatch_[0-9a-z]{26}$/),
      type: 'message_batch',
      processing_status: 'in_progress',
      request_counts: { processing: 2, succeeded: 0, errored: 0, canceled: 0, expired: 0 },
      results_url: null,
      ended_at: null,
    });
    expect([...api.batches.values()][0]?.items.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(JSON.parse(app.sent[0]?.text ?? '')).toEqual(items('a', 'b'));
    expect(await read(batch.id)).toEqual(batch);
  });

  test('is settled at the prices of its admission, even if PRICES changes before its end', async () => {
    start();
    const batch = await make(items('a', 'b'));
    const dear = { 'claude-sonnet-5-5': { prices: { input: 1_000, output: 1_000 } } };
    start({ PRICES: JSON.stringify(dear) });
    const ended = await finish(batch.id);
    const [made] = [...api.batches.keys()];
    const models = parseSettings({}).models;
    const billed = api
      .usagesOf(made ?? '')
      .reduce((sum, { model, usage }) => sum + computeCost(usage, models.findPriceRow(model).row, { batch: true }), 0);
    expect(billed).toBeGreaterThan(0);
    expect(ended).toMatchObject({ cost_usd: toUsd(billed) });
    expect((await ledger())[0]).toMatchObject({ cost_usd: toUsd(billed), over_hold: false });
  });

  test('has a hold until it ends, and is settled at its actual cost at batch prices', async () => {
    start();
    const batch = await make(items('a', 'b', 'err1', 'exp1'));
    const held = (await standing()).day.held_usd;
    expect(held).toBeGreaterThan(0);
    const ended = await finish(batch.id);
    const [made] = [...api.batches.keys()];
    const models = parseSettings({}).models;
    const billed = api
      .usagesOf(made ?? '')
      .reduce((sum, { model, usage }) => sum + computeCost(usage, models.findPriceRow(model).row, { batch: true }), 0);
    expect(ended).toMatchObject({
      processing_status: 'ended',
      request_counts: { processing: 0, succeeded: 2, errored: 1, canceled: 0, expired: 1 },
      cost_usd: toUsd(billed),
      results_url: `http://localhost:8787${PATH}/${batch.id}/results`,
    });
    expect((await standing()).day).toMatchObject({ held_usd: 0, settled_usd: toUsd(billed) });
    const [row] = await ledger();
    expect(row).toMatchObject({
      route: 'batches',
      model: 'claude-sonnet-5-5',
      batch: batch.id,
      outcomes: { succeeded: 2, errored: 1, canceled: 0, expired: 1 },
      cost_usd: toUsd(billed),
      over_hold: false,
    });
    const results = await app.fetch(`${PATH}/${batch.id}/results`);
    expect((await results.text()).trim().split('\n')).toHaveLength(4);
    expect(results.headers.get('content-type')).toBe('application/x-jsonl');
  });

  test('that exceeds the budget is rejected with the number of items that fit, and is not created', async () => {
    start({ DEFAULT_LIMITS: JSON.stringify({ usd_per_day: 0.003 }) });
    const response = await app.post(PATH, items('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'));
    expect(response.status).toBe(429);
    const { type, message } = await readError(response);
    expect(type).toBe('billing_error');
    expect(message).toContain('The first 3 of its 8 items fit into the budget.');
    expect(api.createCount).toBe(0);
    expect((await standing()).day.held_usd).toBe(0);
  });

  test.each([
    ['that has none like it', 'refused', 500],
    ['that may have it', 'made', 504],
    ['that may have it, behind a gateway', 'made', 504, new Response('<html>No upstream</html>', { status: 503 })],
  ])(
    'whose creation fails is listed as unknown only if it may exist: an upstream list %s',
    async (_, made, status, said?: Response) => {
      start();
      instead = ({ method, url, text }) => {
        if (method !== 'POST' || !url.pathname.endsWith('/batches')) return undefined;
        if (made === 'made') api.handle(method, url.pathname, text);
        return said ?? Response.json({ type: 'error', error: { type: 'api_error', message: 'Oops' } }, { status: 500 });
      };
      const response = await app.post(PATH, items('a', 'b'));
      expect(response.status).toBe(status);
      const { data } = (await (await app.fetch(PATH)).json()) as { data: MessageBatch[] };
      expect(data.map(({ unknown }) => typeof unknown)).toEqual(made === 'made' ? ['string'] : []);
      if (made !== 'made') expect((await standing()).day.held_usd).toBe(0);
    },
  );

  test('that is sent again with its key or as a retry is the same batch; its key with another body is a 400', async () => {
    start();
    const key = { 'idempotency-key': 'once' };
    const first = await make(items('a'), key);
    expect((await make(items('a'), key)).id).toBe(first.id);
    expect((await make(items('a'), { 'x-stainless-retry-count': '1' })).id).toBe(first.id);
    expect((await app.post(PATH, items('b'), key)).status).toBe(400);
    expect(api.createCount).toBe(1);
    expect((await make(items('a'))).id).not.toBe(first.id);
  });

  test('that the upstream rejects is not created, and the response contains the upstream’s error', async () => {
    start();
    instead = ({ method }) =>
      method === 'POST'
        ? Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'No.' } }, { status: 400 })
        : undefined;
    const response = await app.post(PATH, items('a'));
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toBe('No.');
    expect((await standing()).day.held_usd).toBe(0);
    expect((await (await app.fetch(PATH)).json()) as object).toMatchObject({ data: [] });
  });

  test('returns how many items fit the budget in a dry run, and is not sent', async () => {
    start({ DEFAULT_LIMITS: JSON.stringify({ usd_per_day: 0.003 }) });
    const answer = async (...ids: string[]) => await (await app.post(`${PATH}?dry_run=true`, items(...ids))).json();
    expect(await answer('a', 'b')).toMatchObject({ requests: 2, fits: true, fitting: 2 });
    expect(await answer('a', 'b', 'c', 'd', 'e')).toMatchObject({ requests: 5, fits: false, fitting: 3 });
    expect(app.sent).toEqual([]);
    expect((await standing()).day.held_usd).toBe(0);
  });

  test('is listed newest first, cancelled, and deleted once it has ended', async () => {
    start();
    const [older, newer] = [await make(items('a', 'fast1')), await make(items('b'))];
    const list = (await (await app.fetch(`${PATH}?limit=1`)).json()) as { data: MessageBatch[]; has_more: boolean };
    expect([list.data.map(({ id }) => id), list.has_more]).toEqual([[newer.id], true]);
    expect((await app.fetch(`${PATH}/${older.id}`, { method: 'DELETE' })).status).toBe(400);
    const canceled = (await (await app.post(`${PATH}/${older.id}/cancel`, {})).json()) as MessageBatch;
    expect(canceled.processing_status).toBe('canceling');
    expect((await finish(older.id)).request_counts).toMatchObject({ succeeded: 1, canceled: 1 });
    const gone = await app.fetch(`${PATH}/${older.id}`, { method: 'DELETE' });
    expect(await gone.json()).toEqual({ id: older.id, type: 'message_batch_deleted' });
    expect((await app.fetch(`${PATH}/${older.id}`)).status).toBe(404);
    expect(api.batches.size).toBe(1);
  });

  test.each([
    [{ requests: [item('a'), item('a')] }, 'requests.1.custom_id: a is not unique. Use another id.'],
    [
      { requests: [item('a', { conversation: 'c' })] },
      'requests.0.params.conversation: not supported in batches. Remove it',
    ],
    [
      { requests: [item('a', { background: true })] },
      'requests.0.params.background: not supported in batches. Remove it',
    ],
    [{ requests: [item('a', { messages: [] })] }, 'requests.0.params.messages: at least one message is required'],
    [{ requests: [item('a b')] }, 'requests.0.custom_id: String should match pattern'],
    [{ ...items('a'), deliver_url: 'https://hooks.example.com/x' }, 'deliver_url: '],
  ])('is rejected with the path of the invalid field: %#', async (body, message) => {
    start();
    const response = await app.post(PATH, body);
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toContain(message);
    expect(app.sent).toEqual([]);
  });
});
