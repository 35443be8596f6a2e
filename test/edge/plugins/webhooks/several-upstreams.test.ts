/** Events of webhooks at an edge that has several upstreams. */

import { expect, test } from 'vitest';
import {
  createEvent,
  createWebhookWorks,
  getInbox,
  getTestAccount,
  type WebhookWorks,
} from '#test/support/webhooks.ts';
import { createErrorResponse } from '#test/support/wire.ts';

let deployments = 0;

/** Two upstreams, whose hosts and breakers no other test has. */
function several(more: object = {}): Record<string, string> {
  deployments += 1;
  const entry = (name: string) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.w${deployments}.test`,
    ...more,
  });
  return {
    ANTHROPIC_API_KEY: '',
    UPSTREAMS: JSON.stringify([entry('east'), entry('west')]),
    UPSTREAM_EAST_KEY: 'key-of-east',
    UPSTREAM_WEST_KEY: 'key-of-west',
  };
}

const isEast = ({ url }: Request) => new URL(url).hostname.startsWith('east.');
const busy = () => createErrorResponse(529, 'overloaded_error', 'Overloaded');

const accept = async (works: WebhookWorks, id: string) => {
  await getInbox('github').acceptEvent(createEvent(id));
  works.queue.ids.push(id);
};
const rowsOf = async () => (await getTestAccount('webhook-github').listRequests({})).data;

test('classifies an event with the second upstream while the first is down, and bills it once', async () => {
  const works = createWebhookWorks({}, several());
  const keys: (string | null)[] = [];
  works.upstream.answer = (request) => {
    keys.push(request.headers.get('x-api-key'));
    return isEast(request) ? busy() : undefined;
  };
  await accept(works, 'github_1');
  expect(await works.consume()).toEqual([]);
  const report = await works.report('github_1');
  expect(report).toMatchObject({ state: 'classified', label: 'bug' });
  expect(keys).toEqual(['key-of-east', 'key-of-west']);
  expect(await rowsOf()).toMatchObject([
    { route: 'webhook', status: 'complete', upstream: 'west', cost_usd: report.result?.cost_usd },
  ]);
});

test('bills a first try that may have run, and sends the next attempt to the other upstream', async () => {
  const works = createWebhookWorks({}, several());
  // A body that ends without a byte: the upstream had the request.
  works.upstream.answer = (request) =>
    isEast(request) ? new Response('', { headers: { 'content-type': 'application/json' } }) : undefined;
  await accept(works, 'github_1');
  await works.consume();
  const { next_attempt_at } = await works.report('github_1');
  await works.wakeAt('github', Date.parse(next_attempt_at ?? '') + 1_000);
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({ state: 'classified', label: 'bug' });
  const [last, first, ...others] = await rowsOf();
  expect([last?.upstream, last?.status, first?.upstream, first?.status, others]).toEqual([
    'west',
    'complete',
    'east',
    'cut',
    [],
  ]);
  expect(first?.cost_usd).toBeGreaterThan(0);
});

test('an event waits at no cost while both upstreams are down, and is classified once one of them is back', async () => {
  const works = createWebhookWorks({}, several());
  works.upstream.answer = busy;
  await accept(works, 'github_1');
  await works.consume();
  const waiting = await works.report('github_1');
  expect(waiting.next_attempt_at).not.toBe(null);
  expect((await rowsOf()).every(({ cost_usd, status }) => cost_usd === 0 && status !== 'held')).toBe(true);
  works.upstream.answer = (request) => (isEast(request) ? busy() : undefined);
  await works.wakeAt('github', Date.parse(waiting.next_attempt_at ?? '') + 1_000);
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({ state: 'classified', label: 'bug' });
  const paid = (await rowsOf()).filter(({ cost_usd }) => cost_usd > 0);
  expect(paid).toMatchObject([{ upstream: 'west', status: 'complete' }]);
});
