import { abortAllDurableObjects } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import {
  conversationReport,
  conversationRow,
  messageRow,
  turnReport,
} from '#edge/conversations/object/conversations-answers.schema.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator, readStoredLog } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { answerByScript, textAnswer } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { parseEvents, textOfDeltas } from '#test/support/turns.ts';

let app: TestApp;
beforeEach(() => {
  installSimulator();
  app = createTestApp(() => Response.json({}));
});
const MODEL = 'claude-opus-5-5';
const ask = (content: unknown, more: object = {}) => ({
  model: MODEL,
  max_tokens: 100,
  messages: [{ role: 'user', content }],
  ...more,
});
const json = async (response: Response) =>
  (await response.json()) as Record<string, unknown> & { data: Record<string, unknown>[] };

async function say(id: string, content: unknown, headers: Record<string, string> = {}): Promise<string> {
  const response = await app.post('/messages', ask(content, { conversation: id }), headers);
  expect(response.status).toBe(200);
  return await response.text();
}

test.each([
  ['tools that nest 3,000 levels deep', `{"tools":[${'['.repeat(3_000)}${']'.repeat(3_000)}],"id":"big"}`, 413],
  [
    'a tool whose schema nests 400 levels deep',
    `{"tools":[{"name":"x","input_schema":${'{"a":'.repeat(400)}1${'}'.repeat(400)}}],"id":"big"}`,
    201,
  ],
  [
    'one that nests 100,000 levels deep',
    `{"tools":[{"name":"x","input_schema":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}],"id":"big"}`,
    413,
  ],
  ['a system prompt of 30 MB', `{"system":"${'x'.repeat(30_000_000)}","id":"big"}`, 201],
  ['one in characters of three bytes', `{"system":"${'€'.repeat(10_000_000)}","id":"big"}`, 201],
])(
  '%s: creating a conversation causes no server error, and reading it returns the same text',
  async (_, body, status) => {
    const created = await app.post('/conversations', body);
    expect(created.status).toBe(status);
    if (status !== 201) return;
    const read = await (await app.fetch('/conversations/big')).text();
    const [member] = /"(system|tools)":.*(?=,"id":"big")/s.exec(body) ?? [];
    expect(read.includes(member ?? 'none')).toBe(true);
  },
);

describe('POST /messages with a conversation', () => {
  test('streams by default with the headers of a stream, and logs the cost', async () => {
    const response = await app.post('/messages', ask('Hi', { conversation: 'c1' }), {
      'sluice-simulate': 'answer=Hello',
    });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'sluice-upstream': 'simulator',
    });
    const turn = response.headers.get('sluice-turn');
    const events = parseEvents(await response.text());
    expect(events[0]?.id).toBe(`${turn}-1`);
    expect(textOfDeltas(events)).toBe('Hello');
    await app.waitUntilSettled();
    expect(app.log.at(-1)).toMatchObject({ conversation: 'c1', account: 'dev', status: 200, model: MODEL });
    expect(app.log.at(-1)).toHaveProperty('cost_usd');
    expect(JSON.stringify(app.log)).not.toContain('Hello');
  });

  test('returns one message by default on /v1/messages, and takes the conversation from a header', async () => {
    const response = await app.post('/v1/messages', ask('Hi'), { 'sluice-conversation': 'c1' });
    expect(await json(response)).toMatchObject({ type: 'message', role: 'assistant' });
    expect(Number(response.headers.get('sluice-cost-usd'))).toBeGreaterThan(0);
    expect(response.headers.get('content-type')).toBe('application/json');
    const next = await app.post('/v1/messages', { conversation: 'c1', messages: [{ role: 'user', content: 'More' }] });
    expect(next.status).toBe(200);
  });

  test.each([
    ['an id that is none', { conversation: 'a b' }, {}],
    ['an id that is no string', { conversation: 7 }, {}],
    ['a header that differs', { conversation: 'c1' }, { 'sluice-conversation': 'c2' }],
    ['no model anywhere', { conversation: 'c1', model: undefined }, {}],
    ['no max_tokens anywhere', { conversation: 'c1', max_tokens: undefined }, {}],
    ['no messages', { conversation: 'c1', messages: [] }, {}],
  ])('returns a 400 and creates no conversation for %s', async (_, more, headers) => {
    const response = await app.post('/messages', ask('Hi', more), headers as Record<string, string>);
    expect(response.status).toBe(400);
    expect(await readError(response)).toMatchObject({ type: 'invalid_request_error' });
    expect((await json(await app.fetch('/conversations'))).data).toEqual([]);
  });

  test("returns the upstream's error unchanged", async () => {
    const response = await app.post('/messages', ask('', { conversation: 'c1' }));
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toContain('non-empty content');
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
  });

  test("passes no credential of the caller to the conversation's object", async () => {
    const seen = vi.fn();
    const { Conversation } = await import('#edge/conversations/object/conversation.ts');
    const turn = Conversation.prototype.handleTurn;
    const spy = vi.spyOn(Conversation.prototype, 'handleTurn').mockImplementation(function (this: never, call, body) {
      seen(call);
      return turn.call(this, call, body);
    });
    await say('c1', 'Hi', { 'x-api-key': 'sk-ant-of-somebody', cookie: 'a=b' });
    spy.mockRestore();
    expect(seen.mock.calls[0]?.[0]).not.toMatch(/sk-ant|cookie|x-api-key/);
  });
});

describe('a rejected or limited request', () => {
  const limited = async (limits: object) => {
    await getAccountStub(bindings, {}, 'dev').setLimits(limits);
  };

  test('leaves no conversation if the account rejects it, and can be retried', async () => {
    await limited({ usd_per_day: 0.000001 });
    const body = ask('Hi', { conversation: 'c1' });
    const response = await app.post('/messages', body);
    expect(response.status).toBe(429);
    const headers = Object.fromEntries(response.headers);
    expect(headers).toMatchObject({ 'sluice-limited-by': 'account', 'x-should-retry': 'false' });
    // No time lets it through: it is larger than the whole limit.
    expect(headers).not.toHaveProperty('retry-after');
    expect(await readError(response)).toMatchObject({
      type: 'billing_error',
      message: expect.stringContaining('more than your daily limit'),
    });
    expect((await json(await app.fetch('/conversations'))).data).toEqual([]);
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
    await limited({});
    const again = await app.post('/messages', body, { 'x-stainless-retry-count': '1' });
    expect(parseEvents(await again.text()).at(-1)?.event).toBe('message_stop');
  });

  test('reports a lowered max_tokens in a header', async () => {
    await limited({ usd_per_day: 0.03, min_output_tokens: 10 });
    const response = await app.post('/v1/messages', ask('Hi', { conversation: 'c1', max_tokens: 100_000 }));
    expect(response.status).toBe(200);
    const lowered = Number(response.headers.get('sluice-max-tokens'));
    expect(lowered).toBeGreaterThan(10);
    expect(lowered).toBeLessThan(100_000);
  });

  test('that searches the web without max_uses is rejected with the number that fits', async () => {
    await limited({ usd_total: 20 });
    const tools = [{ type: 'web_search_20260209', name: 'web_search' }];
    const refused = await app.post('/v1/messages', ask('Hi', { conversation: 'c1', tools }));
    expect(refused.status).toBe(429);
    expect((await readError(refused)).message).toMatch(/To reduce the cost of web_search, set max_uses to \d or less/);
  });

  describe('a lowered max_tokens', () => {
    const asked = async (more: object, restarts = false) => {
      const response = await app.post('/messages', ask('Hi', { conversation: 'c1', ...more }));
      expect(response.status).toBe(200);
      await response.text();
      await app.waitUntilSettled();
      if (restarts) await abortAllDurableObjects();
      const { data } = await json(await app.fetch('/conversations/c1/messages'));
      const turn = response.headers.get('sluice-turn');
      const { steps } = turnReport.parse(await json(await app.fetch(`/conversations/c1/turns/${turn}`)));
      const [message, step] = [messageRow.parse(data.at(-1)), steps.at(-1)];
      return { said: response.headers.get('sluice-lowered-by'), message, step };
    };
    const lowered_by = { by: 'account', limit: 'usd_total', resets_at: null };

    test.each([
      [true, false],
      [false, false],
      [true, true],
      [false, true],
    ])('is stored with the response that it cut (stream: %s; restarted: %s)', async (stream, restarts) => {
      await limited({ usd_total: 0.001, min_output_tokens: 10 });
      const { said, message, step } = await asked({ stream, max_tokens: 100_000 }, restarts);
      expect(said).toBe('account; limit=usd_total');
      expect(app.log.findLast(({ lowered_by: by }) => by !== undefined)).toMatchObject({
        status: 200,
        lowered_by: said,
      });
      expect(message).toMatchObject({ stop_reason: 'max_tokens', lowered_by });
      expect(step).toMatchObject({ stop_reason: 'max_tokens', lowered_by });
    });

    test("is not in the message if the response ended by itself or at the caller's own max_tokens", async () => {
      await limited({ usd_total: 0.1 });
      const ended = await asked({ max_tokens: 100_000 });
      expect(ended.said).toBe('account; limit=usd_total');
      expect(ended.message).toMatchObject({ stop_reason: 'end_turn' });
      expect(ended.message).not.toHaveProperty('lowered_by');
      expect(ended.step).toMatchObject({ lowered_by });
      await limited({});
      const cut = await asked({ max_tokens: 10 });
      expect(cut.said).toBeNull();
      expect(cut.message).toMatchObject({ stop_reason: 'max_tokens' });
      for (const one of [cut.message, cut.step]) expect(one).not.toHaveProperty('lowered_by');
    });
  });

  test.each([
    ['an upstream that refuses the key', 'status=401', 500],
    ['an upstream that cannot be reached', 'network', 500],
    ['an upstream that is overloaded', 'status=529', 529],
  ])('returns an error and leaves no hold for %s', async (_, fault, status) => {
    await say('c1', 'Hi');
    const body = { conversation: 'c1', messages: [{ role: 'user', content: 'More' }] };
    for (const path of ['/messages', '/v1/messages']) {
      const response = await app.post(path, body, { 'sluice-simulate': fault });
      expect(response.status).toBe(status);
      await readError(response);
    }
    expect((await json(await app.fetch('/conversations/c1/messages'))).data).toHaveLength(2);
    await eventually(async () => {
      const { running_requests, day } = await getAccountStub(bindings, {}, 'dev').getQuotaReport();
      expect({ running_requests, held: day.held_usd }).toEqual({ running_requests: 0, held: 0 });
    });
  });

  test('causes no server error for any messages, and the conversation continues', async () => {
    await say('c1', 'Hi');
    // The second one cannot become a string by itself.
    const member = fc.oneof(fc.jsonValue(), fc.constant({ toString: 7 }));
    const block = fc.oneof(
      fc.jsonValue(),
      fc.record({
        type: fc.constantFrom('text', 'tool_result', 'tool_use', 'thinking', 'image', 'x'),
        text: fc.string(),
        tool_use_id: member,
        id: member,
        content: member,
        cache_control: fc.jsonValue(),
      }),
    );
    const message = fc.record({
      role: fc.constantFrom('user', 'assistant', 'system', 'x'),
      content: fc.oneof(fc.string(), fc.array(block, { maxLength: 3 })),
    });
    await tryAsyncCases(
      caseCount(300),
      fc.array(message, { minLength: 1, maxLength: 4 }),
      fc.dictionary(
        fc.constantFrom('system', 'tools', 'model', 'max_tokens', 'stream', 'thinking', 'conversation'),
        fc.jsonValue(),
      ),
      async (messages, more) => {
        const response = await app.post('/v1/messages', { conversation: 'c1', messages, ...more });
        expect(response.status, await response.clone().text()).toBeLessThan(500);
        await response.text();
      },
    );
    expect(
      (await app.post('/v1/messages', { conversation: 'c1', messages: [{ role: 'user', content: 'Still there?' }] }))
        .status,
    ).toBe(200);
  });
});

describe('an object that dies during a response', () => {
  const slow = { 'sluice-simulate': 'tps=20' };
  const dying = ask('Hi', { conversation: 'c1', max_tokens: 900 });

  test('ends the stream with an error event, not with a clean end', async () => {
    const response = await app.post('/messages', dying, slow);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const decoder = new TextDecoder();
    let text = '';
    while (parseEvents(text).length < 5) text += decoder.decode((await reader.read()).value, { stream: true });
    await abortAllDurableObjects();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    const events = parseEvents(text);
    expect(events.at(-1)).toMatchObject({ id: undefined, event: 'error', data: { error: { type: 'api_error' } } });
    // By the remark a client knows that the turn itself may have ended otherwise.
    expect(text).toMatch(/: sluice-cut\nevent: error\n[^\n]+\n\n$/);
    const rest = await app.fetch(`/conversations/c1/stream?after=${events.at(-2)?.id}`);
    expect(parseEvents(await rest.text()).at(-1)).toMatchObject({ event: 'error' });
    await app.waitUntilSettled();
    expect(app.log.find(({ conversation, status }) => conversation === 'c1' && status === 200)).toMatchObject({
      error_type: 'upstream_cut',
    });
  });

  test('is woken by the Worker that relays its stream, so that its turn is settled', async () => {
    disableAutomaticAlarms();
    const response = await app.post('/messages', dying, slow);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await abortAllDurableObjects();
    while (!(await reader.read()).done);
    const account = getAccountStub(bindings, {}, 'dev');
    await eventually(async () => {
      const { data } = await account.listRequests({});
      expect(data.map(({ status, estimated }) => ({ status, estimated }))).toEqual([
        { status: 'interrupted', estimated: true },
      ]);
    });
  });

  test('causes a 500 that is not to be retried for a non-streaming request', async () => {
    const answer = app.post('/v1/messages', dying, slow);
    await eventually(async () => expect(await readStoredLog('c1', 'dev')).toContain('content_block_delta'));
    await abortAllDurableObjects();
    const response = await answer;
    expect(response.status).toBe(500);
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect(response.headers.get('sluice-turn')).toMatch(/^turn_/);
    expect(await readError(response)).toMatchObject({ type: 'api_error' });
    const { data } = await json(await app.fetch('/conversations/c1/messages'));
    expect(data.map(({ status }) => status)).toEqual(['interrupted', 'interrupted']);
  });
});

describe('a conversation', () => {
  test('is created, listed, read, changed, deleted', async () => {
    const created = await app.post('/conversations', { title: 'A', system: 'Be brief.', model: MODEL, max_tokens: 50 });
    expect(created.status).toBe(201);
    const own = await json(created);
    expect(conversationReport.parse(own)).toEqual(own);
    const id = String(own.id);
    expect(id).toMatch(/^conv_\w{32}$/);
    await say('other', 'Hi');
    await app
      .post(`/messages`, { conversation: id, messages: [{ role: 'user', content: 'Hi' }] })
      .then((r) => r.text());
    await eventually(async () => {
      const list = await json(await app.fetch('/conversations'));
      expect(list).toMatchObject({ has_more: false, first_id: 'other', last_id: id });
      for (const row of list.data) expect(conversationRow.parse(row)).toEqual(row);
      expect(list.data.map(({ messages }) => messages)).toEqual([2, 2]);
    });
    const page = await json(await app.fetch('/conversations?limit=1'));
    expect(page).toMatchObject({ has_more: true, data: [{ id: 'other' }] });
    expect(await json(await app.fetch('/conversations?limit=1&after_id=other'))).toMatchObject({ data: [{ id }] });
    expect(await json(await app.fetch(`/conversations?before_id=${id}`))).toMatchObject({ data: [{ id: 'other' }] });
    const patched = await app.fetch(`/conversations/${id}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: '{"title":"B","metadata":{"k":"v"}}',
    });
    expect(await json(patched)).toMatchObject({ title: 'B', metadata: { k: 'v' }, system: 'Be brief.', turns: 1 });
    expect((await app.fetch(`/conversations/${id}`, { method: 'DELETE' })).status).toBe(200);
    expect((await app.fetch(`/conversations/${id}`, { method: 'DELETE' })).status).toBe(404);
    expect((await app.fetch(`/conversations/${id}`)).status).toBe(404);
    expect((await json(await app.fetch('/conversations'))).data).toHaveLength(1);
  });

  test('returns its messages in pages, oldest first', async () => {
    for (const content of ['1', '2', '3']) await say('c1', content);
    const all = await json(await app.fetch('/conversations/c1/messages'));
    expect(all.data).toHaveLength(6);
    const ids = all.data.map(({ id }) => String(id));
    const page = async (query: string) => await json(await app.fetch(`/conversations/c1/messages?${query}`));
    expect(await page('limit=2')).toMatchObject({ has_more: true, first_id: ids[0], last_id: ids[1] });
    expect((await page(`limit=3&after_id=${ids[1]}`)).data).toEqual(all.data.slice(2, 5));
    expect((await page(`limit=2&before_id=${ids[3]}`)).data).toEqual(all.data.slice(1, 3));
    expect((await app.fetch('/conversations/c1/messages?after_id=msg_unknown')).status).toBe(404);
    expect((await app.fetch('/conversations/c1/messages?limit=0')).status).toBe(400);
  });

  test('can be resumed, and returns a 410 for an unknown turn', async () => {
    const text = await say('c1', 'Hi');
    const ids = parseEvents(text).map(({ id }) => id ?? '');
    const rest = await app.fetch(`/conversations/c1/stream?after=${ids[2]}`);
    expect(rest.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(text.endsWith(await rest.text())).toBe(true);
    expect((await app.fetch('/conversations/c1/stream')).status).toBe(204);
    const gone = await app.fetch('/conversations/c1/stream', { headers: { 'last-event-id': 'turn_gone-3' } });
    expect(gone.status).toBe(410);
    expect(gone.headers.get('location')).toBe('/conversations/c1/messages');
    expect(await readError(gone)).toMatchObject({ type: 'not_found_error' });
    expect((await app.fetch('/conversations/c1/stream?after=x')).status).toBe(400);
  });

  test('is forked, rewound, exported and stopped', async () => {
    await say('c1', 'One');
    await say('c1', 'Two');
    const { data } = await json(await app.fetch('/conversations/c1/messages'));
    const fork = await app.post('/conversations/c1/fork', { id: 'c2', at: data[1]?.id });
    expect(fork.status).toBe(201);
    expect(await json(fork)).toMatchObject({ id: 'c2', messages: 2 });
    expect((await app.post('/conversations/c1/fork', { id: 'c2' })).status).toBe(409);
    expect((await app.post('/conversations/c1/fork', { id: 'c1' })).status).toBe(400);
    expect(await json(await app.post('/conversations/c1/rewind', { before: data[2]?.id }))).toMatchObject({
      messages: 2,
    });
    expect((await app.post('/conversations/c1/rewind', { before: 'x' })).status).toBe(404);
    expect((await app.post('/conversations/c1/rewind', {})).status).toBe(400);
    const lines = (await (await app.fetch('/conversations/c1/export')).text()).trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual([
      'conversation',
      'message',
      'message',
      'end',
    ]);
    expect(await json(await app.fetch('/conversations/c1/stop', { method: 'POST' }))).toMatchObject({
      id: 'c1',
      state: 'idle',
    });
  });

  test('returns a 409 to other turns while a turn runs, and can be stopped', async () => {
    const running = await app.post('/messages', ask('Hi', { conversation: 'c1', max_tokens: 900 }), {
      'sluice-simulate': 'tps=10',
    });
    const conflict = await app.post('/messages', ask('Other', { conversation: 'c1' }));
    expect(conflict.status).toBe(409);
    expect(Object.fromEntries(conflict.headers)).toMatchObject({
      'x-should-retry': 'false',
      'sluice-turn': running.headers.get('sluice-turn'),
      location: '/conversations/c1/stream',
    });
    expect((await json(await app.fetch('/conversations'))).data).toMatchObject([{ id: 'c1', state: 'running' }]);
    expect(await json(await app.fetch('/conversations/c1'))).toMatchObject({ state: 'running' });
    // What was asked is no part of the history yet, and shown to who asks for it.
    const messages = async (query = '') => (await json(await app.fetch(`/conversations/c1/messages${query}`))).data;
    expect(await messages()).toEqual([]);
    const pending = await messages('?pending=true');
    expect(pending.map((row) => messageRow.parse(row))).toMatchObject([
      { role: 'user', content: 'Hi', status: 'running' },
    ]);
    expect((await app.fetch('/conversations/c1/messages?pending=yes')).status).toBe(400);
    const [shown, whole] = (running.body as ReadableStream<Uint8Array>).tee();
    for await (const piece of shown) if (new TextDecoder().decode(piece).includes('text_delta')) break;
    expect(await json(await app.fetch('/conversations/c1/stop', { method: 'POST' }))).toMatchObject({ state: 'idle' });
    expect(await new Response(whole).text()).toContain(': sluice-stopped');
  });

  test('cannot be copied or backed up during its first turn', async () => {
    const { promise: until, resolve: end } = Promise.withResolvers<void>();
    answerByScript(() => textAnswer('Here.'), { before: () => until });
    const whole = app.post('/v1/messages', ask('Hi', { conversation: 'c1' }));
    await expect.poll(async () => (await app.fetch('/conversations/c1')).status).toBe(200);
    const fork = await app.post('/conversations/c1/fork', { id: 'c2' });
    expect([fork.status, fork.headers.get('location')]).toEqual([409, '/conversations/c1/stream']);
    const backup = () => app.fetch('/accounts/dev/conversations/c1/backup');
    expect((await backup()).status).toBe(404);
    end();
    expect((await whole).status).toBe(200);
    expect(await (await backup()).text()).toContain('["end",null]');
    expect((await app.post('/conversations/c1/fork', { id: 'c2' })).status).toBe(201);
  });

  test('can begin again right after its deletion, even if its account missed the deletion', async () => {
    await say('c1', 'Hi');
    const settle = vi.spyOn(Account.prototype, 'noteConversation').mockImplementation(() => {
      throw new Error('lost');
    });
    expect((await app.fetch('/conversations/c1', { method: 'DELETE' })).status).toBe(200);
    settle.mockRestore();
    await say('c1', 'Hello again');
    expect(await json(await app.fetch('/conversations/c1'))).toMatchObject({ turns: 1, messages: 2 });
  });

  test('whose turn is stopped before its first event returns a 410 that must not be retried; the stop succeeds', async () => {
    await say('known', 'Hi');
    const { promise: until, resolve: end } = Promise.withResolvers<void>();
    answerByScript(() => textAnswer('Too late'), { before: () => until });
    for (const id of ['new', 'known']) {
      const whole = app.post('/v1/messages', ask('Slow', { conversation: id }));
      const read = async () => await json(await app.fetch(`/conversations/${id}`));
      await expect.poll(read).toMatchObject({ state: 'running' });
      const stopped = await app.fetch(`/conversations/${id}/stop`, { method: 'POST' });
      expect(await json(stopped)).toMatchObject({ id, state: 'idle', turns: id === 'new' ? 0 : 1 });
      const answer = await whole;
      expect([answer.status, answer.headers.get('x-should-retry')]).toEqual([410, 'false']);
      expect(await readError(answer)).toMatchObject({
        type: 'not_found_error',
        message: expect.stringMatching(/stopped/),
      });
    }
    end();
    // It has left no conversation.
    expect((await app.fetch('/conversations/new')).status).toBe(404);
    expect((await app.fetch('/conversations/new/stop', { method: 'POST' })).status).toBe(404);
  });
});

describe('credentials', () => {
  test('return a 403 without the required scope, and a 401 once revoked', async () => {
    app = createTestApp(() => Response.json({}), DEPLOYED_VARS);
    const none = await app.fetch('/conversations', { headers: bearerHeader(await createToken('alice', ['classify'])) });
    expect(none.status).toBe(403);
    const token = await createToken('alice');
    await app.post('/messages', ask('Hi', { conversation: 'c1' }), bearerHeader(token)).then((r) => r.text());
    expect((await app.fetch('/conversations/c1', { headers: bearerHeader(token) })).status).toBe(200);
    await getAccountStub(bindings, {}, 'alice').revokeAllTokens();
    const paths = ['', '/messages', '/stream', '/export'];
    for (const path of paths) {
      expect((await app.fetch(`/conversations/c1${path}`, { headers: bearerHeader(token) })).status).toBe(401);
    }
    const again = ask('Hi', { conversation: 'c1' });
    for (const headers of [{}, { 'x-stainless-retry-count': '1' }] as Record<string, string>[]) {
      expect((await app.post('/messages', again, { ...bearerHeader(token), ...headers })).status).toBe(401);
    }
    const wrong = { conversation: 'c1', messages: [{ role: 'assistant', content: 'x' }] };
    expect((await app.post('/messages', wrong, bearerHeader(token))).status).toBe(401);
  });
});
