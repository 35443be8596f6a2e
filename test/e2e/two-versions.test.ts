/** Two releases at once, as while one is deployed: the Worker of either beside the objects of the other. */

import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { startBeside } from '../support/edge.ts';
import { keptRelease } from '../support/kept-release.ts';
import {
  type Asking,
  asking,
  beginPaying,
  denyPaying,
  ENDLESS,
  MODEL,
  message,
  type Page,
  readBegun,
  sendEvent,
  startApi,
  statesOf,
  varsOf,
} from '../support/releases.ts';
import { bearer } from '../support/tokens.ts';
import type { FakeUpstream } from '../support/upstream.ts';

// The edge whose objects are another release's does most; the other one goes on with it, and reads the same.

const EACH = [
  ['kept', 'present'],
  ['present', 'kept'],
] as const;
/** The conversations that come of it. */
const MADE = ['c', 'd', 'e', 'endless', 'endless-too', 'f', 'g', 'pays', 'pays-too'];
let upstream: FakeUpstream;
let stop: (() => Promise<void>) | undefined;

beforeEach(async () => {
  upstream = await startApi();
});
afterEach(async () => {
  await stop?.();
  await upstream.stop();
});

/** Starts two edges. @returns the one whose objects are the other's, and the one that has them */
async function openBoth(edge: 'kept' | 'present', objects: 'kept' | 'present') {
  const releases = { kept: await keptRelease(), present: { code: inject('deployed').code } };
  const both = await startBeside(releases[objects], releases[edge], varsOf(upstream));
  stop = both.stop;
  return { here: await asking(both.beside), there: await asking(both.own) };
}

test.each(EACH)(
  'the %s Worker beside %s objects: each way answers, and either edge reads the same',
  async (edge, objects) => {
    const { here, there } = await openBoth(edge, objects);
    const both = [here, there];

    for (const { ask, told } of both) {
      expect(await ask('alice', 'POST', '/v1/messages', message('Relayed'))).toMatchObject({ role: 'assistant' });
      expect(await told('alice', 'POST', '/messages', message('Streamed'))).toContain('event: message_stop');
    }

    await nameThings(here);
    await converse(here, there);
    await followAndStop('endless', here, there);
    await followAndStop('endless-too', there, here);
    await beginPaying(here, 'pays');
    await denyPaying(there, 'pays');
    await beginPaying(there, 'pays-too');
    await denyPaying(here, 'pays-too');
    await batch(here, there);

    for (const { ask } of both) {
      expect(await ask('alice', 'POST', '/classify', { classifier: 'k', input: 'a bug' })).toMatchObject({
        label: 'bug',
      });
    }
    await sendEvent(here, 1);
    await sendEvent(there, 2);
    for (const one of both) await expect.poll(() => statesOf(one)).toEqual(['classified', 'classified']);

    const { token, jti } = await here.ask<{ token: string; jti: string }>('root', 'POST', '/tokens', {
      account: 'alice',
      scopes: ['messages'],
    });
    await there.ask('root', 'DELETE', `/accounts/alice/tokens/${jti}`);
    for (const { url } of both) {
      const refused = await fetch(`${url}/v1/messages`, {
        method: 'POST',
        headers: { ...bearer(token), 'content-type': 'application/json' },
        body: JSON.stringify(message('Hello')),
      });
      expect([refused.status, (await refused.text()).includes('authentication_error')]).toEqual([401, true]);
    }

    const standing = () => here.ask('root', 'GET', '/accounts/alice');
    await expect.poll(standing).toMatchObject({ running_requests: 0 });
    await readTheSame(both);
  },
);

/** Stores by one edge what both use. */
async function nameThings({ ask }: Asking): Promise<void> {
  await ask('root', 'PUT', '/accounts/alice/limits', { usd_per_day: 5, requests_per_minute: 1_000 });
  await ask('alice', 'PUT', '/prefixes/p', { system: 'You keep a store.', model: MODEL, max_tokens: 40 });
  await ask('alice', 'PUT', '/classifiers/k', { labels: ['bug', 'wish'], model: MODEL });
  await ask('root', 'PUT', '/agents/clerk', { model: MODEL, max_tokens: 40, system: 'You are a clerk.' });
}

/** Turns of both edges: the first one and others, streamed and whole, with all that a turn can name. */
async function converse(here: Asking, there: Asking): Promise<void> {
  const turns = [
    [here, '/messages', { conversation: 'c', prefix: 'p' }],
    [there, '/v1/messages', { conversation: 'c' }],
    [here, '/v1/messages', { conversation: 'c' }],
    [there, '/messages', { conversation: 'd', agent: 'clerk' }],
    [here, '/v1/messages', { conversation: 'd', agent: 'clerk' }],
  ] as const;
  for (const [{ told }, path, names] of turns) {
    const hasOwn = 'prefix' in names || 'agent' in names;
    const { model, max_tokens, messages } = message('Good day.');
    const body = hasOwn ? { messages, ...names } : { model, max_tokens, messages, ...names };
    expect(await told('alice', 'POST', path, body)).toMatch(/event: message_stop|"stop_reason":"\w+"/);
  }
  for (const { ask } of [here, there]) {
    const counted = await ask<{ input_tokens: number }>('alice', 'POST', '/v1/messages/count_tokens', {
      ...{ conversation: 'c', messages: [{ role: 'user', content: 'And?' }] },
    });
    expect(counted.input_tokens).toBeGreaterThan(30);
    await ask('alice', 'PATCH', '/conversations/c', { title: 'A talk' });
  }
  await here.ask('alice', 'POST', '/conversations', { id: 'e', agent: 'clerk', title: 'Made' });
  await here.ask('alice', 'POST', '/conversations/c/fork', { id: 'f' });
  const lines = await here.told('root', 'GET', '/accounts/alice/conversations/c/backup');
  const restored = await fetch(`${there.url}/accounts/alice/conversations/g/backup`, {
    method: 'PUT',
    headers: { ...(await here.headersOf('root')), 'content-type': 'application/jsonl' },
    body: lines,
  });
  expect(restored.status, await restored.text()).toBe(201);
}

/** A turn that one edge begins is followed by the other, and stopped by it; the first one hears of its end. */
async function followAndStop(id: string, here: Asking, there: Asking): Promise<void> {
  const { reader } = await readBegun(
    await here.send('alice', 'POST', '/messages', message(ENDLESS, { conversation: id })),
  );
  const followed = await readBegun(await there.send('alice', 'GET', `/conversations/${id}/stream`));
  await there.ask('alice', 'POST', `/conversations/${id}/stop`, {});
  for (const one of [reader, followed.reader]) {
    let rest = '';
    for (let piece = await one?.read(); piece && !piece.done; piece = await one?.read()) {
      rest += new TextDecoder().decode(piece.value);
    }
    expect(rest).toContain('event: message_stop');
  }
}

/** A batch that one edge makes, and the other one reads and cancels. */
async function batch(here: Asking, there: Asking): Promise<void> {
  const requests = ['a', 'b'].map((custom_id) => ({ custom_id, params: message(custom_id) }));
  const made = await here.ask<{ id: string }>('alice', 'POST', '/v1/messages/batches', { requests });
  for (const { ask } of [there, here]) {
    expect(await ask('alice', 'GET', `/v1/messages/batches/${made.id}`)).toMatchObject({ id: made.id });
    const { data } = await ask<Page<{ id: string }>>('alice', 'GET', '/v1/messages/batches');
    expect(data.map(({ id }) => id)).toEqual([made.id]);
  }
  await there.ask('alice', 'POST', `/v1/messages/batches/${made.id}/cancel`);
}

/** Holds what both edges say against each other. */
async function readTheSame(both: readonly Asking[]): Promise<void> {
  const { data } = await (both[0] as Asking).ask<Page<{ id: string }>>('alice', 'GET', '/conversations?limit=100');
  expect(data.map(({ id }) => id).sort()).toEqual(MADE);
  const paths = [
    '/usage?group_by=model',
    '/conversations?limit=100',
    ...data.map(({ id }) => `/conversations/${id}/messages?limit=100`),
  ];
  for (const path of paths) {
    const [one, other] = await Promise.all(both.map(({ ask }) => ask('alice', 'GET', path)));
    expect(one, path).toEqual(other);
  }
}
