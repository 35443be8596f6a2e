import { reset } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MessageBatch } from '../../src/batches/batches-answers.schema.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import { accountStub } from '../../src/durable/stubs.ts';
import { cost, toUsd } from '../../src/pricing/cost.ts';
import { parseSettings } from '../../src/settings/settings.ts';
import { errorOf, type Sent, type TestApp, testApp } from '../support/app.ts';
import { type FakeBatchApi, fakeBatchApi } from '../support/batch-api.ts';
import { batchesReach, wakeBatch } from '../support/batch-objects.ts';

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';

let api: FakeBatchApi;
let app: TestApp;
/** What the upstream says in place of the stand-in, if anything. */
let instead: ((sent: Sent) => Response | undefined | Promise<Response | undefined>) | undefined;

function start(vars: Record<string, string> = {}): void {
  const answer = async (sent: Sent) =>
    (await instead?.(sent)) ?? api.handle(sent.method, sent.url.pathname + sent.url.search, sent.text);
  app = testApp(answer, { ...vars });
  batchesReach(async (url, { method = '', headers, body, signal }) => {
    const text = await new Response(body ?? '').text();
    const bytes = new TextEncoder().encode(text);
    const sent = { method, url: new URL(url), headers: new Headers(headers), body: bytes, text };
    return await answer({ ...sent, signal: signal ?? undefined });
  }, vars);
}

beforeEach(() => {
  api = fakeBatchApi();
  instead = undefined;
});
afterEach(() => reset());

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
  await wakeBatch(id);
  return await read(id);
}

const standing = () => accountStub(bindings, {}, 'dev').standing();
const ledger = async () => (await accountStub(bindings, {}, 'dev').requests({})).data;

describe('a batch', () => {
  test('goes up as it came, and has an id of this edge', async () => {
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

  test('is held at half price, and settled at what it cost', async () => {
    start();
    const batch = await make(items('a', 'b', 'err1', 'exp1'));
    const held = (await standing()).day.held_usd;
    expect(held).toBeGreaterThan(0);
    const ended = await finish(batch.id);
    const [made] = [...api.batches.keys()];
    const models = parseSettings({}).models;
    const billed = api
      .usages(made ?? '')
      .reduce((sum, { model, usage }) => sum + cost(usage, models.price(model).row, { batch: true }), 0);
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
    const results = await (await app.fetch(`${PATH}/${batch.id}/results`)).text();
    expect(results.trim().split('\n')).toHaveLength(4);
  });

  test('that does not fit is refused with how many of its items would, and never made', async () => {
    start({ DEFAULT_LIMITS: JSON.stringify({ usd_per_day: 0.003 }) });
    const response = await app.post(PATH, items('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'));
    expect(response.status).toBe(429);
    const { type, message } = await errorOf(response);
    expect(type).toBe('billing_error');
    expect(message).toContain('Of its 8 items the first 3 would fit.');
    expect(api.creates).toBe(0);
    expect((await standing()).day.held_usd).toBe(0);
  });
});
