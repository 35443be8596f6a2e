import { expect, test } from 'vitest';
import type { ConversationSummary } from '#client/index.ts';
import { answerOf, bytesOf, envelope, fakeEdge, framesOf, PRICE, request, streamed } from './fake-edge.ts';

const lines = [
  { type: 'conversation', id: 'c1' },
  { type: 'message', id: 'm1', content: 'é' },
];
const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');

test('an export yields all lines, or throws if it was cut off', async () => {
  const whole = fakeEdge(() => streamed(bytesOf(`${text}{"type":"end","messages":1}\n`)));
  const got: unknown[] = [];
  for await (const line of whole.client.conversations.export('c1')) got.push(line);
  expect(got).toEqual(lines);
  for (const how of ['end', 'break'] as const) {
    const cut = fakeEdge(() => streamed(bytesOf(text), how));
    const reading = async () => {
      for await (const _ of cut.client.conversations.export('c1'));
    };
    await expect(reading()).rejects.toMatchObject({ type: 'connection_error' });
  }
});

test('the methods of a client send the expected HTTP method, path and body', async () => {
  const { client, sent } = fakeEdge(() => Response.json({}));
  const { agents, conversations, messages, prefixes } = client;
  await conversations.create({ title: 'A' });
  await conversations.list({ limit: 5 });
  await conversations.get('a/b');
  await conversations.update('c1', { title: null });
  await conversations.delete('c1');
  await conversations.messages('c1', { after_id: 'm1', pending: true });
  await conversations.turn('c1', 't/1');
  await conversations.cancel('c1', 't/1');
  await conversations.approvals('c1');
  await conversations.approve('c1', 'a/1', { decision: 'deny', reason: 'No.' }, { account: 'bob' });
  await conversations.stop('c1');
  await conversations.rewind('c1', 'm1');
  await conversations.fork('c1', { id: 'c2' });
  await prefixes.put('p.1', { system: 'x' });
  await prefixes.list();
  await prefixes.get('p.1@0123456789abcdef0123456789abcdef');
  await prefixes.versions('p.1');
  await prefixes.delete('p.1');
  await agents.put('a.1', { model: 'm', max_tokens: 9, tools: [{ name: 'look', run: 'worker' }] });
  await agents.get('a.1');
  await client.classify({ labels: ['a', 'b'], input: 'text' });
  await client.classifiers.put('t', { labels: ['a'] });
  await client.classifiers.evaluate('t', { examples: [] });
  await client.countTokens({ messages: [] });
  await client.usage({ group_by: 'model' });
  await client.requests({ limit: 1 });
  await client.fetch('/models');
  const messagesAsked = [{ role: 'user' as const, content: 'Hi' }];
  await messages.begin({ conversation: 'c1', messages: messagesAsked }, 'k1');
  expect(sent.at(-1)?.headers.get('idempotency-key')).toBe('k1');
  expect(sent.map(({ method, path, body }) => [method, path, body ?? null])).toEqual([
    ['POST', '/conversations', { title: 'A' }],
    ['GET', '/conversations?limit=5', null],
    ['GET', '/conversations/a%2Fb', null],
    ['PATCH', '/conversations/c1', { title: null }],
    ['DELETE', '/conversations/c1', null],
    ['GET', '/conversations/c1/messages?after_id=m1&pending=true', null],
    ['GET', '/conversations/c1/turns/t%2F1', null],
    ['DELETE', '/conversations/c1/turns/t%2F1', null],
    ['GET', '/conversations/c1/approvals', null],
    ['POST', '/conversations/c1/approvals/a%2F1?account=bob', { decision: 'deny', reason: 'No.' }],
    ['POST', '/conversations/c1/stop', null],
    ['POST', '/conversations/c1/rewind', { before: 'm1' }],
    ['POST', '/conversations/c1/fork', { id: 'c2' }],
    ['PUT', '/prefixes/p.1', { system: 'x' }],
    ['GET', '/prefixes', null],
    ['GET', '/prefixes/p.1@0123456789abcdef0123456789abcdef', null],
    ['GET', '/prefixes/p.1/versions', null],
    ['DELETE', '/prefixes/p.1', null],
    ['PUT', '/agents/a.1', { model: 'm', max_tokens: 9, tools: [{ name: 'look', run: 'worker' }] }],
    ['GET', '/agents/a.1', null],
    ['POST', '/classify', { labels: ['a', 'b'], input: 'text' }],
    ['PUT', '/classifiers/t', { labels: ['a'] }],
    ['POST', '/classifiers/t/evaluate', { examples: [] }],
    ['POST', '/count-tokens', { messages: [] }],
    ['GET', '/usage?group_by=model', null],
    ['GET', '/usage/requests?limit=1', null],
    ['GET', '/models', null],
    ['POST', '/messages', { conversation: 'c1', messages: messagesAsked, background: true }],
  ]);
});

test('a conversation contains its summaries, and a stream exposes the sluice-history header', async () => {
  const summary = {
    until: 'm4',
    until_shown: 'm3',
    content: 'Box 1 is red.',
    model: 'm',
    created_at: '2026-11-01T00:00:00.000Z',
    cost_usd: 0.003,
  } satisfies ConversationSummary;
  const { client, until } = fakeEdge(({ method }) =>
    method === 'GET'
      ? Response.json({ type: 'conversation', id: 'c1', summaries: [summary] })
      : new Response(framesOf('turn_a', answerOf('Red.')).join('') + PRICE, {
          headers: { 'sluice-turn': 'turn_a', 'sluice-history': 'truncated' },
        }),
  );
  const { summaries } = await client.conversations.get('c1');
  expect(summaries).toEqual([summary]);
  const stream = client.messages.stream({ ...request, conversation: 'c1' });
  expect(await until(stream.text())).toBe('Red.');
  expect(stream.headers?.get('sluice-history')).toBe('truncated');
});

test('an error contains its type, request id and Retry-After, and an incomplete body is a connection_error', async () => {
  const { client } = fakeEdge(() =>
    Response.json(envelope('rate_limit_error', 'Slow down.'), {
      status: 429,
      headers: { 'retry-after': '12', 'sluice-request-id': 'req_ours' },
    }),
  );
  await expect(client.usage()).rejects.toMatchObject({
    type: 'rate_limit_error',
    message: 'Slow down.',
    status: 429,
    requestId: 'req_ours',
    retryAfter: 12,
  });
  const page = fakeEdge(() => new Response('<html>Bad gateway</html>', { status: 502 }));
  await expect(page.client.usage()).rejects.toMatchObject({ type: 'api_error', status: 502 });
  const half = fakeEdge(() => new Response('{"data": ['));
  await expect(half.client.usage()).rejects.toMatchObject({ type: 'connection_error' });
});
