import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import * as z from 'zod/mini';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import { conversationReport, messageRow } from '#edge/conversations/object/conversations-answers.schema.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator, listMessages as shownRows, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { withHalfCharacters } from '#test/support/half-characters.ts';
import { holdStep } from '#test/support/hold-step.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { sendTurn } from '#test/support/turns.ts';

let app: TestApp;
beforeEach(() => {
  installSimulator();
  app = createTestApp(() => Response.json({ input_tokens: 1 }));
});
const MODEL = 'claude-haiku-5-5';
const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: unknown) => ({ role: 'assistant', content });
const CALL = { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Bern' } };
const RESULT = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'Sunny' };

const create = async (messages: unknown, more: object = {}) =>
  await app.post('/conversations', { id: 'c1', model: MODEL, max_tokens: 50, messages, ...more });

async function rowsOf(id = 'c1') {
  const response = await app.fetch(`/conversations/${id}/messages?limit=1000`);
  const { data } = (await response.json()) as { data: unknown[] };
  return data.map((row) => z.strictObject(messageRow.shape).parse(row));
}

/** Holds an import at one of its steps. @param step how many go before */
function stopAtStep(step: number) {
  let steps = 0;
  return holdStep(() => {
    steps += 1;
    return steps > step;
  });
}

const real = Transcript.prototype.insertRows;

/** The text of a history that is stored in steps. */
const LONG_HISTORY = JSON.stringify(Array.from({ length: 1_200 }, (_, n) => (n % 2 ? assistant('y') : user(`x ${n}`))));

/** The conversation of the caller without a credential. */
const c1 = () => stubOf('c1', 'dev');

/** Begins to import a long history, and stops when a part of it is stored. */
async function importHalf() {
  const add = vi.spyOn(Transcript.prototype, 'addMessages');
  const gate = holdStep(() => add.mock.calls.length > 0);
  const creating = c1().createConversation({ account: 'dev', id: 'c1' }, { model: MODEL }, { messages: LONG_HISTORY });
  await eventually(() => expect(gate.isReached).toBe(true));
  await runInDurableObject(c1(), (_, { storage }) => {
    expect(new Transcript(storage).listTurns().length).toBeGreaterThan(1);
  });
  return { gate, creating };
}

const say = async (content: unknown) =>
  await app.post('/messages', { conversation: 'c1', stream: false, messages: [user(content)] });

describe('a conversation that is created with messages', () => {
  test('rejects half a character in any string or key with its path in the request', async () => {
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'aW1n' } };
    const messages = [
      user('How is the weather?'),
      // It is left out, so that the positions of what is stored are others.
      assistant([{ type: 'thinking', thinking: 'Hm.', signature: 'sig' }]),
      assistant([{ type: 'text', text: 'I will look.' }, CALL]),
      user([
        { ...RESULT, content: [{ type: 'text', text: 'Sunny' }, image] },
        { type: 'text', text: 'So?' },
      ]),
      assistant('Sun.'),
    ];
    const tools = [{ name: 'weather', description: 'Tells it.', input_schema: { type: 'object', title: 'City' } }];
    const system = [{ type: 'text', text: 'Be brief.' }];
    for (const { changed, path } of withHalfCharacters({ messages, tools, system })) {
      if (path === '' || path.endsWith('.role')) continue;
      const response = await app.post('/conversations', {
        id: 'c1',
        model: MODEL,
        max_tokens: 50,
        ...(changed as object),
      });
      const { message } = await readError(response);
      if (path.startsWith('system.0.type')) expect(message).toMatch(/^system/);
      else expect(message).toContain(`${path}: contains half of a character`);
      expect(response.status).toBe(400);
    }
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
    expect(
      (await app.post('/conversations', { id: 'c1', model: MODEL, max_tokens: 50, messages, tools, system })).status,
    ).toBe(201);
  });

  test('may have a compaction block and a configuration message, and continues with or without a resent history', async () => {
    const compaction = { type: 'compaction', content: 'We spoke of rivers.', encrypted_content: null };
    const effort = { role: 'system', output_config: { effort: 'low' } };
    const history = [assistant([compaction]), user('And then?'), effort, assistant('Home.')];
    expect((await create(history)).status).toBe(201);
    const betas = { 'anthropic-beta': 'compact-2026-01-12,mid-conversation-output-config-2026-07-01' };
    const ask = async (path: string, messages: unknown[], conversation: string) =>
      await app.post(path, { conversation, model: MODEL, max_tokens: 50, stream: false, messages }, betas);
    const counted = await ask('/count-tokens', [...history, user('Why?')], 'c1');
    expect([counted.status, await counted.json()]).toMatchObject([200, { fits: true }]);
    expect((await ask('/messages', [...history, user('Why?')], 'c1')).status).toBe(200);
    expect((await ask('/messages', [user('Where?')], 'c1')).status).toBe(200);
    expect((await rowsOf()).map(({ role }) => role).join()).toBe(
      'assistant,user,system,assistant,user,assistant,user,assistant',
    );
    // The same history may come with the first turn.
    expect((await ask('/messages', [...history, user('Why?')], 'c2')).status).toBe(200);
    expect((await rowsOf('c2')).length).toBe(6);
  });

  test('stores the messages without a model or a cost, and accepts the next question', async () => {
    const history = [
      user('Where to?'),
      assistant('To Bern.'),
      user('And then?'),
      assistant([{ type: 'text', text: 'Home.' }]),
    ];
    const created = await create(history, { title: 'A trip', system: 'You plan.' });
    expect(created.status).toBe(201);
    const report = z.strictObject(conversationReport.shape).parse(await created.json());
    expect(report).toMatchObject({ turns: 2, messages: 4, cost_usd: 0, usage: { input_tokens: 0, output_tokens: 0 } });
    await app.waitUntilSettled();
    expect(app.sent).toEqual([]);
    const rows = await rowsOf();
    expect(rows.map(({ role, content }) => ({ role, content }))).toEqual(history);
    for (const row of rows) {
      expect(row).toMatchObject({ status: 'complete', model: null, usage: null, cost_usd: null, origin: 'import' });
    }
    const answered = await say('Thanks');
    expect(answered.status).toBe(200);
    expect(await rowsOf()).toHaveLength(6);
    await app.waitUntilSettled();
    // What came in is no part of what was spent: there is one request.
    const ledger = (await (await app.fetch('/usage/requests')).json()) as { data: unknown[] };
    expect(ledger.data).toMatchObject([{ conversation: 'c1', status: 'complete' }]);
    const listed = (await (await app.fetch('/conversations')).json()) as { data: unknown[] };
    expect(listed.data).toMatchObject([{ id: 'c1', title: 'A trip', turns: 3, messages: 6 }]);
  });

  test('behaves like a conversation whose turns ran in Sluice', async () => {
    await create([user('Weather?'), assistant([CALL])]);
    // The call still needs its result, as one of an answer of here would.
    expect(await readError(await say('Well?'))).toMatchObject({
      message: expect.stringContaining('toolu_1') as string,
    });
    expect((await say([RESULT])).status).toBe(200);
    const [first, , result] = await rowsOf();
    const rewound = await app.post('/conversations/c1/rewind', { before: result?.id });
    expect(await rewound.json()).toMatchObject({ messages: 2 });
    expect((await app.post('/conversations/c1/fork', { id: 'c2', at: first?.id })).status).toBe(201);
    expect((await rowsOf('c2')).map(({ origin }) => origin)).toEqual(['import', 'import']);
  });

  test('omits and reports blank texts, for which the API would reject each later turn', async () => {
    const text = (said: string, more: object = {}) => ({ type: 'text', text: said, ...more });
    const result = (content: unknown) => ({ ...RESULT, content });
    const thought = { type: 'thinking', thinking: 'Hm.', signature: 's' };
    const created = await create([
      user([text(' \n\t\u00a0'), text(' Weather? ')]),
      assistant([text(''), CALL, text('\\')]),
      user([result([text('', { cache_control: { type: 'ephemeral' } }), text('Sunny')]), text('And "then"?')]),
      assistant([thought, text('\n\n')]),
      user('"'),
    ]);
    expect([created.status, await created.json()]).toMatchObject([
      201,
      { messages: 4, dropped: { thinking: 1, messages: 0, calls: 0, blank: 4 } },
    ]);
    expect((await rowsOf()).map(({ content }) => content)).toEqual([
      [text(' Weather? ')],
      [CALL, text('\\')],
      [result([text('Sunny')]), text('And "then"?')],
      '"',
    ]);
    expect((await say('Thanks')).status).toBe(200);
  });

  test.each([
    ['a text of white space', ' \r\n'],
    [
      'a list of them',
      [
        { type: 'text', text: '' },
        { text: '\n', type: 'text' },
      ],
    ],
  ])('returns a 400 that names the message that contains only %s', async (_, content) => {
    const refused = await create([user('Hello'), assistant('Hi'), user(content), assistant('What?')]);
    expect([refused.status, await readError(refused)]).toMatchObject([
      400,
      { type: 'invalid_request_error', message: expect.stringMatching(/^messages\.2: .*blank/) as string },
    ]);
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
  });

  test('recognizes its history when a client resends all of it', async () => {
    const history = [user('One'), assistant('1')];
    await create(history);
    const body = { conversation: 'c1', stream: false, messages: [...history, user('Two')] };
    expect((await app.post('/messages', body)).status).toBe(200);
    expect(await rowsOf()).toHaveLength(4);
  });

  test('keeps any valid messages unchanged and in order', async () => {
    const text = fc.oneof(
      fc.string({ minLength: 1, unit: 'grapheme' }).filter((one) => one.trim() !== ''),
      fc.constant('\u2028</script>\\"'),
    );
    const content = fc.oneof(
      text,
      fc.array(fc.record({ type: fc.constant('text'), text, extra: fc.option(fc.jsonValue()) }), { minLength: 1 }),
    );
    const exchange = fc.tuple(fc.array(content, { minLength: 1, maxLength: 3 }), fc.option(content));
    let number = 0;
    await tryAsyncCases(25, fc.array(exchange, { minLength: 1, maxLength: 6 }), async (exchanges) => {
      const messages = exchanges.flatMap(([asked, answered]) => [
        ...asked.map(user),
        ...(answered === null ? [] : [assistant(answered)]),
      ]);
      number += 1;
      const created = await create(messages, { id: `p${number}` });
      expect(created.status).toBe(201);
      const rows = await rowsOf(`p${number}`);
      expect(rows.map(({ role, content }) => ({ role, content }))).toEqual(JSON.parse(JSON.stringify(messages)));
    });
  });

  test.each([
    ['none', []],
    ['no list', 'Hi'],
    ['an answer first', [assistant('Hi')]],
    ['two answers in a row', [user('Hi'), assistant('A'), assistant('B')]],
    ['a result of no call', [user([RESULT])]],
    ['a call that stays without its result', [user('Hi'), assistant([CALL]), user('And?')]],
    ['a message without a role', [{ content: 'Hi' }]],
    ['a content that is none', [user(7)]],
  ])('is rejected for invalid messages, and stores nothing: %s', async (_, messages) => {
    const response = await create(messages);
    expect(response.status).toBe(400);
    expect(await readError(response)).toMatchObject({
      type: 'invalid_request_error',
      message: expect.stringContaining('messages') as string,
    });
    await app.waitUntilSettled();
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
    expect((await create([user('Hi')])).status).toBe(201);
  });

  const OPENAI_CALL = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } };
  const OPENAI_RESULT = { role: 'tool', tool_call_id: 'call_1', content: 'Sunny' };

  test.each<[product: string, messages: unknown[], fault?: RegExp]>([
    [
      'OpenAI, with a system message',
      [{ role: 'system', content: 'Be brief.' }, user('Hi'), assistant('Hello')],
      /^messages\.0: a system message cannot be the first one\. .*`system` of the conversation/,
    ],
    [
      'OpenAI, with a system message after an answer',
      [user('Hi'), assistant('Hello'), { role: 'system', content: 'Be brief.' }, user('How?')],
      /^messages\.2: a system message must follow a user message/,
    ],
    [
      'OpenAI, with a developer message',
      [{ role: 'developer', content: 'Be brief.' }, user('Hi')],
      /^messages\.0\.role: `developer` is not a role\. .*`system` of the conversation/,
    ],
    [
      'OpenAI, with a call',
      [user('Hi'), { role: 'assistant', content: null, tool_calls: [OPENAI_CALL] }, OPENAI_RESULT],
      /^messages\.1\.tool_calls: .*`tool_use` block/,
    ],
    [
      'OpenAI, with a text and a call',
      [user('Hi'), { role: 'assistant', content: 'Let me see.', tool_calls: [OPENAI_CALL] }, OPENAI_RESULT],
      /^messages\.1\.tool_calls: .*`tool_use` block/,
    ],
    [
      'OpenAI, with a result only',
      [user('Hi'), assistant('Let me see.'), OPENAI_RESULT],
      /^messages\.2\.role: `tool` is not a role\. .*`tool_result` block/,
    ],
    [
      'OpenAI, with a function message',
      [user('Hi'), { role: 'function', name: 'weather', content: 'Sunny' }],
      /^messages\.1\.role: `function` is not a role\. Send one of the roles/,
    ],
    ['OpenAI, with text parts', [user([{ type: 'text', text: 'Hi' }]), assistant([{ type: 'text', text: 'Hello' }])]],
    [
      'OpenAI, with the name of the user',
      [
        { ...user('Hi'), name: 'Ann' },
        { ...assistant('Hello'), refusal: null },
      ],
    ],
    [
      'Gemini',
      [
        { role: 'user', parts: [{ text: 'Hi' }] },
        { role: 'model', parts: [{ text: 'Hello' }] },
      ],
      /^messages\.0\.content: Field required/,
    ],
    [
      'the AI SDK',
      [user('Hi'), { role: 'tool', content: [{ type: 'tool-result', toolCallId: 'call_1', result: 'Sunny' }] }],
      /^messages\.1\.role: `tool` is not a role/,
    ],
    ['LangChain', [{ type: 'human', content: 'Hi' }], /^messages\.0\.role: Field required/],
    [
      'a Markdown chat, with its lines as a list',
      [user(['Hi', 'there']), assistant('Hello')],
      /^messages\.0\.content\.0: Input should be a content block/,
    ],
    [
      'Bedrock, with blocks without a type',
      [user([{ text: 'Hi' }]), assistant([{ text: 'Hello' }])],
      /^messages\.0\.content\.0\.type: Input should be the type/,
    ],
    [
      'another gateway, with null in a result',
      [user('Hi'), assistant([CALL]), user([{ ...RESULT, content: [null] }])],
      /^messages\.2\.content\.0\.content\.0: Input should be a content block/,
    ],
    [
      'Claude Code, with a system message after a question',
      [user('Hi'), { role: 'system', content: 'Be brief.' }, assistant('Hello')],
    ],
    ['a copy of Claude’s own messages', [user('Hi'), assistant([CALL]), user([RESULT]), assistant('Sun.')]],
  ])('is usable in the next message, or rejected with its position: the history of %s', async (_, messages, fault) => {
    const created = await create(messages);
    if (fault) {
      expect([created.status, (await readError(created)).message]).toEqual([400, expect.stringMatching(fault)]);
      expect((await app.fetch('/conversations/c1')).status).toBe(404);
    } else {
      expect([created.status, (await say('Thanks')).status]).toEqual([201, 200]);
    }
  });

  test('does not replace an existing conversation', async () => {
    await create([user('First'), assistant('1')]);
    expect((await create([user('Second')])).status).toBe(409);
    expect((await rowsOf())[0]?.content).toBe('First');
  });

  test('leaves nothing if it is deleted while its messages are being stored, and can be created again', async () => {
    const { gate, creating } = await importHalf();
    await app.fetch('/conversations/c1', { method: 'DELETE' });
    gate.open();
    expect(await creating).toMatchObject({ ok: false, error: { status: 500 } });
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
    // Its alarm is due at once, and comes by itself.
    await eventually(async () => {
      await runInDurableObject(c1(), async (_, { storage }) => {
        expect([...storage.sql.exec("select name from sqlite_master where name = 'turns'")]).toEqual([]);
        expect(await storage.getAlarm()).toBeNull();
      });
    });
    await app.waitUntilSettled();
    expect(await (await app.fetch('/conversations')).json()).toMatchObject({ data: [] });
    expect((await create([user('Again'), assistant('Yes')])).status).toBe(201);
    expect(await rowsOf()).toHaveLength(2);
    await app.waitUntilSettled();
    expect(await (await app.fetch('/conversations')).json()).toMatchObject({ data: [{ id: 'c1', messages: 2 }] });
  });

  test('is not removed by the alarm while its messages are being stored, and is listed once it is complete', async () => {
    const { gate, creating } = await importHalf();
    await runInDurableObject(c1(), (conversation: Conversation) => {
      Object.assign(conversation, { now: () => Date.now() + 3_600_000 });
    });
    await runDurableObjectAlarm(c1());
    expect(await (await app.fetch('/conversations')).json()).toMatchObject({ data: [] });
    gate.open();
    expect(await creating).toMatchObject({ ok: true });
    await app.waitUntilSettled();
    await eventually(async () => {
      const listed = await (await app.fetch('/conversations')).json();
      expect(listed).toMatchObject({ data: [{ id: 'c1', turns: 600, messages: 1_200 }] });
    });
  });

  test.each([
    ['many turns', 130, 'x'],
    ['long turns', 6, 'x'.repeat(50_000)],
  ])('of %s is not visible before it is complete, and a crash at any step leaves nothing', async (_, length, text) => {
    const history = JSON.stringify(Array.from({ length }, (_, n) => (n % 2 ? assistant('y') : user(`${n} ${text}`))));
    const begin = (id: string) =>
      stubOf(id)
        .createConversation({ account: 'alice', id }, { model: MODEL, max_tokens: 50 }, { messages: history })
        .catch(() => undefined);
    let [hasEnded, stops] = [false, 0];
    for (let step = 0; !hasEnded; step += 1) {
      for (const dies of [true, false]) {
        const id = `${dies ? 'dies' : 'goes'}-${step}`;
        const gate = stopAtStep(step);
        const creating = begin(id).finally(() => {
          hasEnded ||= !gate.isReached;
        });
        await eventually(() => expect(gate.isReached || hasEnded).toBe(true));
        if (hasEnded) break;
        const hasStored = await runInDurableObject(
          stubOf(id),
          (_, { storage }) => new Transcript(storage).listTurns().length > 0,
        );
        stops += Number(hasStored);
        if (!hasStored) {
          // It is only read so far, so another one may be faster.
          gate.open();
          await creating;
          continue;
        }
        expect(await begin(id)).toMatchObject({ ok: false, error: { status: 409 } });
        expect(await stubOf(id).read()).toMatchObject({ ok: false, error: { status: 404 } });
        expect(await sendTurn({ messages: [user('Hi')] }, { id })).toMatchObject({
          kind: 'error',
          error: { status: 409 },
        });
        if (!dies) {
          gate.open();
          expect(await creating).toMatchObject({ ok: true });
          expect((await shownRows(id)).length).toBe(Math.min(length, 1_000));
          continue;
        }
        await abortAllDurableObjects();
        gate.open();
        await creating;
        expect(await stubOf(id).read()).toMatchObject({ ok: false, error: { status: 404 } });
        await runInDurableObject(stubOf(id), (conversation: Conversation) => {
          Object.assign(conversation, { now: () => Date.now() + 3_600_000 });
        });
        await runDurableObjectAlarm(stubOf(id));
        await runInDurableObject(stubOf(id), async (_, { storage }) => {
          expect(new Transcript(storage).listTurns()).toEqual([]);
          expect(await storage.getAlarm()).toBeNull();
        });
        expect(await begin(id)).toMatchObject({ ok: true });
      }
    }
    expect(stops).toBeGreaterThan(1);
  });

  test('is stored in batches of 100 messages, with pauses in between', async () => {
    const stored: number[] = [];
    vi.spyOn(Transcript.prototype, 'insertRows').mockImplementation(function counting(this: Transcript, ...of) {
      if (of[0] === 'messages') stored.push(of[1].length);
      return real.apply(this, of);
    });
    const breaks = vi.spyOn(globalThis, 'setTimeout');
    const creating = c1().createConversation(
      { account: 'dev', id: 'c1' },
      { model: MODEL },
      { messages: LONG_HISTORY },
    );
    expect(await creating).toMatchObject({ ok: true });
    expect(stored).toEqual(Array.from({ length: 12 }, () => 100));
    // Kept, looked through, checked and stored: each in 12 stretches.
    expect(breaks.mock.calls.length).toBeGreaterThan(4 * 10);
  });

  test('is rejected with an error that names the file if it refers to a file of another account', async () => {
    const file = [{ id: 'file_1', kind: 'file' as const, upstream: '' }];
    const history = [
      user([
        { type: 'document', source: { type: 'file', file_id: 'file_1' } },
        { type: 'text', text: 'Read it.' },
      ]),
      assistant('I have.'),
    ];
    await getAccountStub(bindings, {}, 'alice').recordCreatedResources(file);
    const refused = await create(history);
    expect(refused.status).toBe(400);
    expect(await readError(refused)).toMatchObject({
      type: 'invalid_request_error',
      message:
        'This account does not have file file_1. Remove the blocks that refer to them, or upload the files again and use the new ids.',
    });
    await app.waitUntilSettled();
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
    // A row that does not go up names nothing.
    const refusedRows = history.map((message) => ({ ...message, status: 'refused' }));
    expect((await create([...refusedRows, user('Hi')], { id: 'c3' })).status).toBe(201);
    await getAccountStub(bindings, {}, 'dev').recordCreatedResources(file);
    expect((await create(history)).status).toBe(201);
  });

  test('counts towards the limit of stored bytes', async () => {
    await app.fetch('/accounts/dev/limits', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ stored_bytes: 100_000 }),
    });
    const response = await create([user('x'.repeat(200_000))]);
    expect(response.status).toBe(400);
    expect((await app.fetch('/conversations/c1')).status).toBe(404);
  });
});
