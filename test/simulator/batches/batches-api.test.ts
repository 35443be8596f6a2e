import Anthropic, { BadRequestError, NotFoundError } from '@anthropic-ai/sdk';
import AnthropicZero from 'anthropic-sdk-0';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryStore } from '#simulator/store/store.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { clientOf, model, models, simulated, start } from '../api.ts';
import { inPieces } from '../in-pieces.ts';

const SECOND = 1000;
const DAY = 86_400 * SECOND;

function ask(text: string, changes: Record<string, unknown> = {}) {
  return { model, max_tokens: 50, messages: [{ role: 'user' as const, content: text }], ...changes };
}

function itemsOf(texts: readonly string[]) {
  return texts.map((text, index) => ({ custom_id: `item-${index}`, params: ask(text) }));
}

/** A simulator whose clock the test moves, and its client. */
function clocked(options: Parameters<typeof simulated>[0] = {}) {
  const clock = { now: start };
  const simulator = simulated({ now: () => clock.now, batchMs: 10 * SECOND, faults: true, ...options });
  return { clock, simulator, client: clientOf(simulator) };
}

async function resultsOf(client: Anthropic, id: string) {
  const results = new Map<string, Anthropic.Messages.MessageBatchResult>();
  for await (const { custom_id, result } of await client.messages.batches.results(id)) results.set(custom_id, result);
  return results;
}

test('a batch takes its configured time, and its counts change only at its end', async () => {
  const { client, clock } = clocked();
  const created = await client.messages.batches.create({ requests: itemsOf(['one', 'two', 'three']) });
  expect(created).toMatchObject({
    type: 'message_batch',
    processing_status: 'in_progress',
    request_counts: { processing: 3, succeeded: 0, errored: 0, canceled: 0, expired: 0 },
    ended_at: null,
    results_url: null,
    expires_at: new Date(start + DAY).toISOString(),
  });
  clock.now += 10 * SECOND - 1;
  expect(await client.messages.batches.retrieve(created.id)).toEqual(created);
  clock.now += 1;
  expect(await client.messages.batches.retrieve(created.id)).toEqual({
    ...created,
    processing_status: 'ended',
    request_counts: { processing: 0, succeeded: 3, errored: 0, canceled: 0, expired: 0 },
    ended_at: new Date(start + 10 * SECOND).toISOString(),
    results_url: `https://api.anthropic.com/v1/messages/batches/${created.id}/results`,
  });
});

test('a result equals the message of a single request, with the service tier batch', async () => {
  const { client, clock } = clocked();
  const { id } = await client.messages.batches.create({ requests: itemsOf(['What is a sluice?']) });
  clock.now += 10 * SECOND;
  const result = (await resultsOf(client, id)).get('item-0');
  const { id: _, usage, ...alone } = await client.messages.create(ask('What is a sluice?'));
  expect(result).toMatchObject({
    type: 'succeeded',
    message: { ...alone, usage: { ...usage, service_tier: 'batch' } },
  });
  expect(await resultsOf(client, id)).toEqual(await resultsOf(client, id));
});

test.each([
  ['errored', { type: 'errored', error: { type: 'error', error: { type: 'api_error' } } }],
  ['canceled', { type: 'canceled' }],
  ['expired', { type: 'expired' }],
])('an item ends as %s if its text requests it', async (outcome, expected) => {
  const { client, clock } = clocked();
  const { id } = await client.messages.batches.create({
    requests: itemsOf(['fine', `sluice-simulate: ${outcome}`]),
  });
  clock.now += 10 * SECOND;
  const { request_counts: counts } = await client.messages.batches.retrieve(id);
  expect(counts).toEqual({ processing: 0, errored: 0, canceled: 0, expired: 0, succeeded: 1, [outcome]: 1 });
  expect((await resultsOf(client, id)).get('item-1')).toMatchObject(expected);
});

test.each([
  ['a model that there is not', { model: 'claude-none' }, 'not_found_error', 'model: claude-none'],
  ['a bad field', { max_tokens: -1 }, 'invalid_request_error', 'max_tokens: Input should be greater than'],
  [
    'a prompt that is too long',
    { model: 'claude-test-1', max_tokens: 5, messages: [{ role: 'user', content: 'many words '.repeat(2_000) }] },
    'invalid_request_error',
    'prompt is too long',
  ],
  ['a stream', { stream: true }, 'invalid_request_error', 'stream: streaming is not supported'],
])('an item with %s fails, and the other items succeed', async (_, changes, type, message) => {
  const { client, clock } = clocked();
  const requests = [...itemsOf(['fine']), { custom_id: 'bad', params: ask('Hi', changes) as never }];
  const { id } = await client.messages.batches.create({ requests });
  clock.now += 10 * SECOND;
  expect((await client.messages.batches.retrieve(id)).request_counts).toMatchObject({ succeeded: 1, errored: 1 });
  const results = await resultsOf(client, id);
  expect(results.get('bad')).toMatchObject({
    type: 'errored',
    error: { type: 'error', error: { type, message: expect.stringContaining(message) } },
  });
  expect(results.get('item-0')).toMatchObject({ type: 'succeeded' });
});

test('a canceled batch keeps its finished items, and ends within a second', async () => {
  const { client, clock } = clocked();
  const { id } = await client.messages.batches.create({ requests: itemsOf(['a', 'b', 'c', 'd']) });
  clock.now += 5 * SECOND;
  const canceled = await client.messages.batches.cancel(id);
  expect(canceled).toMatchObject({ processing_status: 'canceling', request_counts: { processing: 4 } });
  expect(await client.messages.batches.cancel(id)).toEqual(canceled);
  clock.now += SECOND;
  expect(await client.messages.batches.retrieve(id)).toMatchObject({
    processing_status: 'ended',
    request_counts: { processing: 0, succeeded: 2, canceled: 2 },
  });
  const kinds = [...(await resultsOf(client, id))].map(([name, { type }]) => `${name} ${type}`);
  expect(kinds.toSorted()).toEqual(['item-0 succeeded', 'item-1 succeeded', 'item-2 canceled', 'item-3 canceled']);
  await expect(client.messages.batches.cancel(id)).rejects.toThrow(BadRequestError);
});

test('items that are unfinished after a day expire', async () => {
  const { client, clock } = clocked({ batchMs: 2 * DAY });
  const { id } = await client.messages.batches.create({ requests: itemsOf(['a', 'b']) });
  clock.now += DAY;
  expect(await client.messages.batches.retrieve(id)).toMatchObject({
    processing_status: 'ended',
    ended_at: new Date(start + DAY).toISOString(),
    request_counts: { processing: 0, succeeded: 1, expired: 1 },
  });
});

test('results are available from the end of the batch until 29 days after its creation', async () => {
  const { client, clock } = clocked();
  const { id } = await client.messages.batches.create({ requests: itemsOf(['a']) });
  const results = () => client.get(`/v1/messages/batches/${id}/results`);
  await expect(results()).rejects.toThrow(NotFoundError);
  clock.now = start + 29 * DAY - 1;
  await results();
  clock.now += 1;
  expect(await client.messages.batches.retrieve(id)).toMatchObject({
    results_url: null,
    archived_at: new Date(clock.now).toISOString(),
  });
  await expect(results()).rejects.toThrow(NotFoundError);
});

test('a batch can be deleted only after it has ended', async () => {
  const { client, clock } = clocked();
  const { id } = await client.messages.batches.create({ requests: itemsOf(['a']) });
  await expect(client.messages.batches.delete(id)).rejects.toThrow(BadRequestError);
  clock.now += 10 * SECOND;
  expect(await client.messages.batches.delete(id)).toEqual({ id, type: 'message_batch_deleted' });
  await expect(client.messages.batches.delete(id)).rejects.toThrow(NotFoundError);
  expect((await client.messages.batches.list()).data).toEqual([]);
});

test('lists batches newest first, in pages, and only for their owner', async () => {
  const { client, clock, simulator } = clocked();
  const made: string[] = [];
  for (let count = 0; count < 5; count++) {
    clock.now += SECOND;
    made.unshift((await client.messages.batches.create({ requests: itemsOf(['a']) })).id);
  }
  const listed: string[] = [];
  for await (const { id } of client.messages.batches.list({ limit: 2 })) listed.push(id);
  expect(listed).toEqual(made);
  const stranger = new Anthropic({
    apiKey: 'other',
    maxRetries: 0,
    fetch: (url, init) => simulator(new Request(url, init)),
  });
  expect((await stranger.messages.batches.list()).data).toEqual([]);
  for (const id of made) await expect(stranger.messages.batches.retrieve(id)).rejects.toThrow(NotFoundError);
});

test('batches survive a restart of the simulator if their store does', async () => {
  const store = new MemoryStore();
  const { id } = await clocked({ store }).client.messages.batches.create({ requests: itemsOf(['a']) });
  const { client, clock } = clocked({ store });
  clock.now += 10 * SECOND;
  expect((await client.messages.batches.retrieve(id)).processing_status).toBe('ended');
  expect([...(await resultsOf(client, id)).keys()]).toEqual(['item-0']);
});

test('the older SDK creates a batch and reads its results through its beta API', async () => {
  const { simulator, clock } = clocked();
  const client = new AnthropicZero({ apiKey: 'key', fetch: (url, init) => simulator(new Request(url, init)) });
  const { id } = await client.beta.messages.batches.create({ requests: itemsOf(['a', 'b']) });
  clock.now += 10 * SECOND;
  const ids: string[] = [];
  for await (const { custom_id } of await client.beta.messages.batches.results(id)) ids.push(custom_id);
  expect(ids.toSorted()).toEqual(['item-0', 'item-1']);
});

test.each([
  ['no list', { requests: 1 }, 'requests: Input should be a valid list'],
  ['nothing', {}, 'requests: Field required'],
  ['no items', { requests: [] }, 'requests: List should have at least 1 item'],
  ['an item that is no object', { requests: [1] }, 'requests.0: Input should be a valid dictionary'],
  ['an item without an id', { requests: [{ params: ask('a') }] }, 'requests.0.custom_id: Field required'],
  [
    'an id with a space',
    { requests: [{ custom_id: 'a b', params: ask('a') }] },
    'requests.0.custom_id: String should match',
  ],
  ['an item without params', { requests: [{ custom_id: 'a' }] }, 'requests.0.params: Field required'],
  ['one id twice', { requests: [...itemsOf(['a']), ...itemsOf(['b'])] }, 'custom_id must be unique'],
  ['another field', { requests: itemsOf(['a']), more: 1 }, 'more: Extra inputs are not permitted'],
  ['another field of an item', { requests: [{ ...itemsOf(['a'])[0], x: 1 }] }, 'requests.0.x: Extra inputs'],
])('rejects %s, and stores nothing', async (_, body, message) => {
  const store = new MemoryStore();
  const { client } = clocked({ store });
  await expect(client.post('/v1/messages/batches', { body })).rejects.toThrow(message);
  expect(await store.listKeys('')).toEqual([]);
});

test('accepts a body in pieces of any size, with any strings', async () => {
  const texts = fc.array(
    fc.string({ unit: 'binary', minLength: 1 }).filter((text) => text.trim() !== ''),
    {
      minLength: 1,
      maxLength: 12,
    },
  );
  const property = fc.asyncProperty(
    texts,
    fc.array(fc.nat(60), { minLength: 1 }),
    fc.boolean(),
    async (all, cuts, spaced) => {
      const { simulator, client, clock } = clocked();
      const requests = itemsOf(all);
      const bytes = new TextEncoder().encode(JSON.stringify({ requests }, null, spaced ? 2 : undefined));
      const body = inPieces(bytes, cuts);
      const headers = {
        'x-api-key': 'test-key',
        'anthropic-version': '2023-06-01',
        'content-type': 'application/json',
      };
      const init = { method: 'POST', headers, body, duplex: 'half' } as RequestInit;
      const response = await simulator(new Request('https://api.anthropic.com/v1/messages/batches', init));
      expect(response.status).toBe(200);
      const { id } = (await response.json()) as { id: string };
      clock.now += 10 * SECOND;
      const results = await resultsOf(client, id);
      expect([...results.keys()].toSorted()).toEqual(requests.map(({ custom_id }) => custom_id).toSorted());
    },
  );
  await fc.assert(property, { numRuns: caseCount(100) });
});

test('accepts and returns 20,000 items without blocking other work', async () => {
  const { client, clock } = clocked({ models });
  const requests = Array.from({ length: 20_000 }, (_, at) => ({
    custom_id: `n${at}`,
    params: ask('a', { max_tokens: 1 }),
  }));
  let turns = 0;
  const beat = setInterval(() => turns++, 0);
  const { id } = await client.messages.batches.create({ requests });
  expect(turns).toBeGreaterThan(50);
  clock.now += 10 * SECOND;
  turns = 0;
  let count = 0;
  for await (const _ of await client.messages.batches.results(id)) count++;
  clearInterval(beat);
  expect(count).toBe(20_000);
  expect(turns).toBeGreaterThan(50);
});
