import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Upstream } from '#edge/claude/upstream.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { createCopyStream } from '#edge/plugins/transfer/forks.ts';
import {
  bindings,
  countWrittenRows,
  installSimulator,
  listMessages,
  readConversation,
  readStoredLog,
  setConversationUpstream,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import {
  buildTurnRequest,
  createBody,
  parseEvents,
  readStream,
  runTurn,
  sendTurn,
  sendTurnRequest,
  type TurnRequestOptions,
  textOfDeltas,
} from '#test/support/turns.ts';
import { createErrorResponse } from '#test/support/wire.ts';

beforeEach(() => {
  installSimulator();
});
const account = (name = 'alice') => getAccountStub(bindings, {}, name);
const standing = async () => (await account().getQuotaReport()).day;
const follow = async (after?: string, id = 'c1') => {
  const resumed = await stubOf(id).resumeTurnStream(after);
  return resumed.kind === 'stream' ? { ...resumed, ...(await readStream(resumed.body as ReadableStream)) } : resumed;
};
const question = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const TOOLS = [
  {
    name: 'get_weather',
    description: 'Weather of a city',
    input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
];

const message = {
  id: 'msg_whole',
  type: 'message',
  role: 'assistant',
  model: 'claude-opus-5-5',
  content: [
    { type: 'thinking', thinking: 'Hm.', signature: 'c2lnbmVk' },
    { type: 'text', text: 'It is “so”.' },
  ],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 12, output_tokens: 7 },
};

/** Reads a stream until so many events have come, and leaves the rest unread. */
async function readEvents(body: ReadableStream<Uint8Array>, count: number) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  const whole = () => parseEvents(text.slice(0, text.lastIndexOf('\n\n') + 2));
  while (whole().length < count) {
    const { value, done } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return { events: whole(), reader };
}

/**
 * Has the upstream reject the first turn of a conversation while the account checks the credential of a second request.
 *
 * @returns sends the second request, once the first turn runs
 */
function failFirstTurnWhileSecondIsChecked() {
  let isChecking = false;
  let hasFailed = false;
  vi.spyOn(Account.prototype, 'isTokenRevoked').mockImplementation((async () => {
    isChecking = true;
    await waitForCondition(() => hasFailed);
    return false;
  }) as never);
  let calls = 0;
  const upstream: Upstream = {
    baseURL: 'https://api.test',
    apiKey: 'k',
    isSimulated: false,
    fetch: async () => {
      calls += 1;
      if (calls > 1) return Response.json(message);
      await waitForCondition(() => isChecking);
      return createErrorResponse(529, 'overloaded_error');
    },
  };
  vi.spyOn(Conversation.prototype as unknown as { upstream(): Upstream }, 'upstream').mockReturnValue(upstream);
  const token = {
    jti: 'j',
    issued_at: 1,
    expires_at: 9e9,
    scopes: ['messages'],
    label: undefined,
    issuer: 'edge',
  } as const;
  return async (body: object, options: TurnRequestOptions, edgeOptions: TurnRequest['edgeOptions'] = {}) => {
    const first = sendTurn(createBody('Hello'), { key: 'k', hash: 'h' }).then((answer) => {
      hasFailed = true;
      return answer;
    });
    await waitForCondition(() => calls === 1);
    const request = buildTurnRequest(body, options);
    const second = await sendTurnRequest({ ...request, edgeOptions, caller: { ...request.caller, token } });
    expect(await first).toMatchObject({ kind: 'response', status: 529 });
    return second;
  };
}

describe('a turn', () => {
  test('streams events with ids, is stored, and is settled', async () => {
    const {
      events,
      turn,
      isWhole: whole,
      text,
    } = await runTurn(createBody('Hello'), { simulate: 'answer=Good%20morning' });
    expect(whole).toBe(true);
    expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => `${turn}-${index + 1}`));
    expect(events[0]?.event).toBe('message_start');
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(textOfDeltas(events)).toBe('Good morning');
    expect(text).toContain(': sluice-cost-usd=0.');
    const rows = await listMessages();
    expect(rows).toMatchObject([
      { role: 'user', content: 'Hello', status: 'complete', cost_usd: null },
      { role: 'assistant', content: [{ type: 'text', text: 'Good morning' }], status: 'complete' },
    ]);
    expect(rows[1]?.id).toBe((events[0]?.data.message as { id: string } | undefined)?.id);
    const own = await readConversation();
    expect(own).toMatchObject({ turns: 1, messages: 2, model: 'claude-opus-5-5', state: 'idle', turn: null });
    await eventually(async () => {
      expect(await standing()).toMatchObject({ held_usd: 0, settled_usd: own?.cost_usd });
      const list = await account().listConversations({});
      expect(list.data).toMatchObject([{ id: 'c1', turns: 1, messages: 2, cost_usd: own?.cost_usd, state: 'idle' }]);
    });
    const [row] = (await account().listRequests({})).data;
    expect(row).toMatchObject({ conversation: 'c1', status: 'complete', cost_usd: rows[1]?.cost_usd });
  });

  test('returns one message without streaming', async () => {
    const answer = await sendTurn(createBody('Hello'), { stream: false, simulate: 'answer=Hi' });
    expect(answer).toMatchObject({ kind: 'response', status: 200 });
    if (answer.kind !== 'response') return;
    const message = JSON.parse(answer.body);
    expect(message).toMatchObject({
      type: 'message',
      content: [{ type: 'text', text: 'Hi' }],
      stop_reason: 'end_turn',
    });
    expect(message.usage.output_tokens).toBeGreaterThan(0);
  });

  test('takes its model, system and tools from the first turn, and sends the history', async () => {
    await runTurn(createBody('What is the weather in Bern?', { system: 'Be brief.', tools: TOOLS }));
    const rows = await listMessages();
    const call = (rows[1]?.content as { type: string; id: string }[] | undefined)?.find(
      ({ type }) => type === 'tool_use',
    );
    expect(call).toBeDefined();
    const result = { type: 'tool_result', tool_use_id: call?.id, content: 'Sunny, 20 °C' };
    await runTurn(question([result]));
    expect((await listMessages()).map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    expect(await readConversation()).toMatchObject({ system: 'Be brief.', tools: TOOLS, max_tokens: 200, turns: 2 });
  });

  test('writes 8 rows in the conversation and 4 in the account for 500 events that arrive at once', async () => {
    disableAutomaticAlarms();
    const long = encodeURIComponent('word '.repeat(1_500));
    await runTurn(createBody('Hello', { max_tokens: 20_000 }));
    await waitUntilAtRest();
    const counts = [await countWrittenRows(stubOf()), await countWrittenRows(account())];
    const { events } = await runTurn(question('Go on'), { simulate: `answer=${long}` });
    expect(events.length).toBeGreaterThanOrEqual(500);
    await waitUntilAtRest();
    const [own, theirs] = counts.map((count) => count());
    // One of its own is the alarm: the turn before was settled, so nothing watched any more.
    expect({ own, theirs }).toEqual({ own: 8, theirs: 4 });
  });
});

describe('a turn that fails or is stopped', () => {
  test('leaves no trace if the upstream rejects it', async () => {
    expect(await sendTurn(createBody('Hello'), { simulate: 'status=529' })).toMatchObject({
      kind: 'response',
      status: 529,
    });
    expect(await readConversation()).toBeUndefined();
    await eventually(async () => {
      expect(await standing()).toMatchObject({ held_usd: 0, settled_usd: 0 });
      expect((await account().listConversations({})).data).toEqual([]);
    });
    await runTurn(createBody('Hello'));
    expect(await sendTurn(question('again'), { simulate: 'status=500' })).toMatchObject({
      kind: 'response',
      status: 500,
    });
    expect(await listMessages()).toHaveLength(2);
    await runTurn(question('again'));
    expect(await listMessages()).toHaveLength(4);
  });

  test('keeps the partial response if it is cut, and reports an error', async () => {
    const { events } = await runTurn(createBody('Hello'), {
      simulate: 'answer=one%20two%20three%20four%20five%20six;cut-events=5',
    });
    expect(events.at(-1)).toMatchObject({ event: 'error', data: { error: { type: 'api_error' } } });
    const rows = await listMessages();
    expect(rows).toMatchObject([{ status: 'interrupted' }, { role: 'assistant', status: 'interrupted' }]);
    expect(textOfDeltas(events)).toBe((rows[1]?.content as { text: string }[] | undefined)?.[0]?.text);
    await runTurn(question('Go on'));
    expect(await listMessages()).toHaveLength(4);
    const whole = await sendTurn(question('Go on'), {
      simulate: 'answer=one%20two%20three%20four%20five%20six;cut-events=5',
      stream: false,
    });
    expect(whole).toMatchObject({
      kind: 'error',
      error: {
        type: 'api_error',
        status: 500,
        headers: { 'x-should-retry': 'false', 'sluice-turn': expect.any(String) },
      },
    });
  });

  test('is a question without a response if it is cut before any content', async () => {
    const { events } = await runTurn(createBody('Hello'), { simulate: 'cut-events=1' });
    expect(events.map(({ event }) => event)).toEqual(['message_start', 'error']);
    expect(await readConversation()).toMatchObject({ turns: 1, messages: 2 });
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    const again = await runTurn(createBody('Hello'), { retried: true });
    expect(again.events.at(-1)?.event).toBe('message_stop');
    expect((await listMessages()).map(({ role }) => role)).toEqual(['user', 'assistant', 'assistant']);
  });

  test('ends normally with the partial response if it is stopped', async () => {
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), { simulate: 'tps=100;flush' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const { reader } = await readEvents(answer.body, 8);
    await stubOf().stopRunningTurn();
    await reader.cancel();
    const { text, events } = (await follow(`${answer.turn}-0`)) as {
      text: string;
      events: ReturnType<typeof parseEvents>;
    };
    expect(events.slice(-3).map(({ event }) => event)).toEqual(['content_block_stop', 'message_delta', 'message_stop']);
    expect(text).toContain(': sluice-stopped\n');
    const told = await listMessages();
    expect(told[1]).toMatchObject({ status: 'stopped', content: [{ type: 'text', text: textOfDeltas(events) }] });
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    const request = (await account().listRequests({})).data[0];
    expect(request).toMatchObject({ status: 'stopped', estimated: true });
    expect(await stubOf().stopRunningTurn()).toMatchObject({ ok: true });
    // The history says the same as the ledger, and not what the answer's beginning said.
    const output = request?.usage.output_tokens ?? 0;
    expect(output).toBeGreaterThan(5);
    const usage = { output_tokens: output };
    await eventually(async () => expect((await listMessages())[1]).toMatchObject({ model: request?.model, usage }));
    // What came while it was read on, nobody was told.
    const { usage: of } = events.at(-2)?.data ?? {};
    const { output_tokens: shown } = of as { output_tokens: number };
    expect(shown).toBeGreaterThan(5);
    expect(shown).toBeLessThanOrEqual(output);
  });

  test('is stopped only by its own id or key', async () => {
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), {
      simulate: 'tps=20;flush',
      key: 'mine',
      hash: 'h',
    });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const { reader } = await readEvents(answer.body, 5);
    for (const only of [{ turn: 'turn_other' }, { key: 'theirs' }, { turn: answer.turn, key: 'theirs' }]) {
      await stubOf().stopRunningTurn(only);
      expect(await readConversation()).toMatchObject({ state: 'running' });
    }
    await stubOf().stopRunningTurn({ turn: answer.turn });
    await reader.cancel();
    const again = await sendTurn(question('And now?'), { simulate: 'tps=20;flush', key: 'again' });
    if (again.kind !== 'stream') throw new Error('no stream');
    const { reader: other } = await readEvents(again.body, 5);
    await stubOf().stopRunningTurn({ key: 'again' });
    await other.cancel();
    expect((await listMessages()).map(({ status }) => status)).toEqual(Array(4).fill('stopped'));
  });

  test('is ended by the watchdog if the upstream falls silent', async () => {
    installSimulator({ STREAM_IDLE_MS: '200' });
    const { events } = await runTurn(createBody('Hello'), {
      simulate: 'answer=one%20two%20three%20four;silence-after=4',
    });
    expect(events.at(-1)?.event).toBe('error');
    await eventually(async () =>
      expect((await account().listRequests({})).data[0]).toMatchObject({ status: 'interrupted' }),
    );
  });
});

describe('an object that dies', () => {
  test('during a turn keeps the stored events, settles the hold, and sends listeners the rest and an error', async () => {
    const words = encodeURIComponent('many words are said here '.repeat(60));
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), {
      simulate: `tps=100;flush;answer=${words}`,
    });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const { events } = await readEvents(answer.body, 15);
    expect((await standing()).held_usd).toBeGreaterThan(0);
    await eventually(async () => expect(await readStoredLog()).toContain(`id: ${events[14]?.id}\n`));
    await abortAllDurableObjects();
    const resumed = (await follow(events[3]?.id)) as Awaited<ReturnType<typeof readStream>>;
    expect(resumed.isWhole).toBe(true);
    expect(resumed.events.at(-1)?.event).toBe('error');
    const stored = resumed.events.slice(0, -1);
    expect(stored.slice(0, events.length - 4)).toEqual(events.slice(4));
    const rows = await listMessages();
    expect(rows[1]).toMatchObject({ role: 'assistant', status: 'interrupted' });
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    expect((await account().listRequests({})).data[0]).toMatchObject({
      status: 'interrupted',
      estimated: true,
      conversation: 'c1',
    });
    expect((await follow(`${answer.turn}-9999`)) as object).toMatchObject({ events: [{ event: 'error' }] });
    await runTurn(question('Go on'));
    expect(await listMessages()).toHaveLength(4);
  });

  test('has its turn closed by the alarm if no client reconnects', async () => {
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), { simulate: 'tps=100;flush' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    await readEvents(answer.body, 30);
    await abortAllDurableObjects();
    await runDurableObjectAlarm(stubOf());
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    expect((await account().listConversations({})).data).toMatchObject([{ id: 'c1', messages: 2 }]);
  });
});

describe('a retry', () => {
  test('attaches to the turn that it began, running or just ended', async () => {
    const body = createBody('Hello', { max_tokens: 500 });
    const first = runTurn(body, { simulate: 'tps=200', hash: 'h' });
    await eventually(async () => expect(await stubOf().resumeTurnStream(undefined)).toMatchObject({ kind: 'stream' }));
    const second = runTurn(body, { retried: true, hash: 'h' });
    const [one, two] = await Promise.all([first, second]);
    expect(two.text).toBe(one.text);
    expect((await runTurn(body, { retried: true, hash: 'h' })).text).toBe(one.text);
    const whole = await sendTurn(body, { retried: true, hash: 'h', stream: false });
    if (whole.kind !== 'response') throw new Error('not whole');
    expect(JSON.parse(whole.body).content[0].text).toBe(textOfDeltas(one.events));
    expect(await listMessages()).toHaveLength(2);
    expect((await account().listRequests({})).data).toHaveLength(1);
  });

  test('attaches by its key, and is rejected if the same key has another body', async () => {
    const one = await runTurn(createBody('Hello'), { key: 'k', hash: 'h' });
    expect((await runTurn(createBody('Hello'), { key: 'k', hash: 'h' })).text).toBe(one.text);
    expect(await sendTurn(createBody('Other'), { key: 'k', hash: 'o' })).toMatchObject({
      kind: 'error',
      error: { status: 400 },
    });
    await runTurn(question('Other'), { key: 'k2', hash: 'o' });
    expect(await listMessages()).toHaveLength(4);
  });

  test('begins a new turn if the turn to which it attaches fails at that moment', async () => {
    const sendSecond = failFirstTurnWhileSecondIsChecked();
    const second = await sendSecond(createBody('Hello'), { key: 'k', hash: 'h' });
    if (second.kind !== 'stream') throw new Error(JSON.stringify(second));
    expect((await readStream(second.body)).events.at(-1)?.event).toBe('message_stop');
    expect(await listMessages()).toHaveLength(2);
  });

  test('gets a 503 if the conversation disappears before its default agent is read', async () => {
    const sendSecond = failFirstTurnWhileSecondIsChecked();
    const messages = [{ role: 'user', content: 'Hello' }];
    const second = await sendSecond({ messages }, {}, { defaults: { agent: 'support' } });
    expect(second).toMatchObject({ kind: 'error', error: { status: 503, logged: 'conversation_interrupted' } });
    expect(await listMessages()).toEqual([]);
  });

  test('a different turn or a rewind gets a 409 while a turn runs', async () => {
    const answer = await sendTurn(createBody('Hello', { max_tokens: 500 }), { simulate: 'tps=20' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const headers = { 'x-should-retry': 'false', 'sluice-turn': answer.turn, location: '/conversations/c1/stream' };
    const conflict = { status: 409, type: 'conflict_error', headers };
    expect(await sendTurn(question('Other'))).toMatchObject({ kind: 'error', error: conflict });
    expect(await stubOf().rewindConversation('x')).toMatchObject({ ok: false, error: conflict });
    await stubOf().stopRunningTurn();
  });
});

describe('resuming a stream', () => {
  test('returns the same remaining events from any event on', async () => {
    const { events, turn } = await runTurn(createBody('Hello'));
    for (let at = 0; at < events.length; at += 1) {
      const resumed = await follow(`${turn}-${at}`);
      expect('events' in resumed ? resumed.events : resumed).toEqual(events.slice(at));
    }
    expect(await follow(`${turn}-${events.length}`)).toEqual({ kind: 'none' });
    expect(await follow(`${turn}-${events.length + 5}`)).toMatchObject({ events: [events.at(-1)] });
    expect(await follow()).toEqual({ kind: 'none' });
    expect(await follow('turn_unknown-3')).toEqual({ kind: 'gone' });
    expect(await follow('nonsense')).toMatchObject({ kind: 'error', error: { status: 400 } });
    expect(await follow(undefined, 'unknown')).toEqual({ kind: 'unknown' });
  });

  test('sends the same events to a listener that joins late and to one that reads late', async () => {
    const text = encodeURIComponent('many words are said here '.repeat(40));
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), { simulate: `tps=200;answer=${text}` });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const late = eventually(async () => expect(await readStoredLog()).toContain('content_block_delta')).then(() =>
      follow(),
    );
    const slow = await stubOf().resumeTurnStream(undefined);
    const [one, two] = await Promise.all([readStream(answer.body), late]);
    const three = slow.kind === 'stream' ? await readStream(slow.body as ReadableStream) : undefined;
    expect('events' in two && two.text === one.text).toBe(true);
    expect(three?.text === one.text).toBe(true);
  });

  test('breaks off if a rewind removes the turn, which is gone afterwards', async () => {
    // More than a row of its log.
    const words = encodeURIComponent('some words are said '.repeat(8_000));
    const { events, turn } = await runTurn(createBody('Hello', { max_tokens: 60_000 }), {
      simulate: `answer=${words}`,
    });
    const rows = await listMessages();
    const resumed = await stubOf().resumeTurnStream(`${turn}-0`);
    if (resumed.kind !== 'stream') throw new Error('no stream');
    const { reader } = await readEvents(resumed.body as ReadableStream, 1);
    expect(await stubOf().rewindConversation(rows[0]?.id ?? '')).toMatchObject({ ok: true });
    const rest = async () => {
      for (;;) if ((await reader.read()).done) return 'an end';
    };
    await expect(rest()).rejects.toThrow();
    expect(events.length).toBeGreaterThan(50);
    expect(await follow(`${turn}-1`)).toEqual({ kind: 'gone' });
  });

  test('breaks off instead of ending for a live listener that reads on after its turn was removed', async () => {
    // Longer than what is read ahead of a listener, however late it reads.
    const words = encodeURIComponent('some words are said '.repeat(600));
    const answer = await sendTurn(createBody('Hello', { max_tokens: 20_000 }), {
      simulate: `tps=20000;flush;answer=${words}`,
    });
    if (answer.kind !== 'stream') throw new Error('no stream');
    const live = await stubOf().resumeTurnStream(undefined);
    if (live.kind !== 'stream') throw new Error('no stream');
    const { reader } = await readEvents(live.body as ReadableStream, 5);
    await readStream(answer.body);
    const rows = await listMessages();
    expect(await stubOf().rewindConversation(rows[0]?.id ?? '')).toMatchObject({ ok: true });
    const rest = async () => {
      for (;;) if ((await reader.read()).done) return 'an end';
    };
    await expect(rest()).rejects.toThrow();
  });

  test('reports a turn as gone after its log has expired', async () => {
    const { turn } = await runTurn(createBody('Hello'));
    await runInDurableObject(stubOf(), async (conversation: Conversation) => {
      (conversation as unknown as { now: () => number }).now = () => Date.now() + 3_600_000;
      await conversation.alarm();
    });
    expect(await follow(`${turn}-2`)).toEqual({ kind: 'gone' });
    expect(await listMessages()).toHaveLength(2);
  });
});

describe('continuing a history', () => {
  test('stores a history once if the client resends all of it', async () => {
    const messages: unknown[] = [];
    for (const content of ['One', 'Two', 'Three']) {
      messages.push({ role: 'user', content });
      const { events } = await runTurn({ ...createBody(''), messages });
      messages.push({ role: 'assistant', content: [{ type: 'text', text: textOfDeltas(events), citations: null }] });
    }
    const rows = await listMessages();
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user', 'assistant']);
    expect(await sendTurn({ ...createBody(''), messages })).toMatchObject({ kind: 'error', error: { status: 400 } });
  });

  test('records the model that wrote each response', async () => {
    await runTurn(createBody('One'));
    await runTurn(createBody('Two', { model: 'claude-haiku-5-5' }));
    const models = (await listMessages()).map(({ model }) => model);
    expect(models).toEqual([null, 'claude-opus-5-5', null, 'claude-haiku-5-5']);
  });

  test('returns a 400 for an invalid continuation, and changes nothing', async () => {
    await runTurn(createBody('What is the weather in Bern?', { tools: TOOLS }));
    const before = await listMessages();
    const call = (before[1]?.content as { type: string; id: string }[] | undefined)?.find(
      ({ type }) => type === 'tool_use',
    );
    const bad = [
      question('No result'),
      question([{ type: 'tool_result', tool_use_id: 'toolu_other', content: 'x' }]),
      question([
        { type: 'tool_result', tool_use_id: call?.id, content: 'x' },
        { type: 'tool_result', tool_use_id: call?.id, content: 'y' },
      ]),
      { messages: [{ role: 'assistant', content: 'Two in a row' }] },
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'assistant', content: 'y' },
        ],
      },
    ];
    for (const body of bad) expect(await sendTurn(body)).toMatchObject({ kind: 'error', error: { status: 400 } });
    expect(await listMessages()).toEqual(before);
    expect((await account().listRequests({})).data).toHaveLength(1);
  });

  test('accepts a history in the first turn', async () => {
    const messages = [
      { role: 'user', content: 'A' },
      { role: 'assistant', content: 'B' },
      { role: 'user', content: 'C' },
    ];
    await runTurn({ ...createBody(''), messages });
    const rows = await listMessages();
    expect(rows.map(({ content }) => content).slice(0, 3)).toEqual(['A', 'B', 'C']);
    expect(rows).toHaveLength(4);
  });

  test('stores a refused turn as refused, and accepts the next question', async () => {
    await runTurn(createBody('Hello'));
    await runTurn(question('Bad'), { simulate: 'stop-reason=refusal' });
    await runTurn(question('Good'));
    expect((await listMessages()).map(({ status }) => status)).toEqual([
      'complete',
      'complete',
      'refused',
      'refused',
      'complete',
      'complete',
    ]);
  });

  test('continues a paused response', async () => {
    const tools = [{ type: 'web_search_20250305', name: 'web_search' }];
    const body = createBody('Search the web for sluices', { tools, max_tokens: 1_000 });
    await runTurn(body, { simulate: 'stop-reason=pause_turn' });
    const [, answer] = await listMessages();
    await runTurn({ messages: [{ role: 'assistant', content: answer?.content }] });
    const rows = await listMessages();
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'assistant']);
    await runTurn(question('Thanks'));
    expect(await listMessages()).toHaveLength(5);
  });

  test('accepts a new question after a continued paused response was cut before its results', async () => {
    const tools = [{ type: 'web_search_20250305', name: 'web_search' }];
    const body = createBody('Search the web for sluices', { tools, max_tokens: 1_000 });
    await runTurn(body, { simulate: 'stop-reason=pause_turn' });
    const [, answer] = await listMessages();
    const rest = { messages: [{ role: 'assistant', content: answer?.content }] };
    await runTurn(rest, { simulate: 'answer=one%20two%20three%20four%20five%20six;cut-events=5' });
    const rows = await listMessages();
    expect(await readConversation()).toMatchObject({ messages: rows.length });
    await runTurn(question('Thanks'));
    expect(await listMessages()).toHaveLength(rows.length + 2);
  });
});

describe('a conversation', () => {
  test('can be rewound, and accepts another question', async () => {
    await runTurn(createBody('One'));
    await runTurn(question('Two'));
    await runTurn(question('Three'));
    const rows = await listMessages();
    expect(await stubOf().rewindConversation(rows[3]?.id ?? '')).toMatchObject({ ok: true });
    expect(await listMessages()).toEqual(rows.slice(0, 2));
    expect(await readConversation()).toMatchObject({ turns: 1, messages: 2 });
    await runTurn(question('Zwei'));
    expect(await listMessages()).toHaveLength(4);
    expect(await stubOf().rewindConversation('msg_unknown')).toMatchObject({ ok: false, error: { status: 404 } });
    await eventually(async () =>
      expect((await account().listConversations({})).data[0]).toMatchObject({ messages: 4 }),
    );
  });

  test('can be forked, whole or up to a message', async () => {
    await runTurn(createBody('One', { system: 'Be brief.' }));
    await runTurn(question('Two'));
    const rows = await listMessages();
    expect(await stubOf().forkConversation('c2', undefined)).toMatchObject({ ok: true });
    expect(await listMessages('c2')).toEqual(rows);
    expect(await stubOf().forkConversation('c3', rows[1]?.id)).toMatchObject({ ok: true });
    expect(await listMessages('c3')).toEqual(rows.slice(0, 2));
    expect(await readConversation('c3')).toMatchObject({ system: 'Be brief.', turns: 1, messages: 2, cost_usd: 0 });
    await runTurn(question('Zwei'), { id: 'c3' });
    expect(await listMessages('c3')).toHaveLength(4);
    expect(await listMessages()).toEqual(rows);
    expect(await stubOf().forkConversation('c2', undefined)).toMatchObject({ ok: false, error: { status: 409 } });
    await eventually(async () => expect((await account().listConversations({})).data).toHaveLength(3));
  });

  test('frees the id of a copy whose object died halfway', async () => {
    // Each ends a stretch, and what comes before it is written.
    const long = 'word '.repeat(14_000);
    await runTurn(createBody(`One ${long}`));
    await runTurn(question(`Two ${long}`));
    const text = await runInDurableObject(stubOf(), async (_, { storage }) => {
      const transcript = new Transcript(storage);
      const profile = transcript.storedProfile;
      const lines = profile && createCopyStream(transcript, profile, undefined);
      return await new Response(lines).text();
    });
    // What has come of it when the object dies: all but the end.
    const part = text.slice(0, text.lastIndexOf('["end"'));
    const cut = async (id: string) => {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(new TextEncoder().encode(part)),
      });
      const adopting = stubOf(id)
        .storeCopiedHistory({ account: 'alice', id }, body)
        .catch(() => undefined);
      await eventually(async () => {
        const copied = await runInDurableObject(
          stubOf(id),
          (_, { storage }) => new Transcript(storage).listTurns().length,
        );
        expect(copied).toBe(2);
      });
      // Nothing of it is seen meanwhile.
      expect(await stubOf(id).read()).toMatchObject({ ok: false, error: { status: 404 } });
      expect(await stubOf(id).readMessagePage({ limit: 20 })).toMatchObject({ ok: false, error: { status: 404 } });
      await abortAllDurableObjects();
      await adopting;
    };
    await cut('c2');
    await runInDurableObject(stubOf('c2'), (conversation: Conversation) => {
      Object.assign(conversation, { now: () => Date.now() + 3_600_000 });
    });
    await runDurableObjectAlarm(stubOf('c2'));
    await runInDurableObject(stubOf('c2'), async (_, { storage }) => {
      expect(storage.sql.databaseSize).toBeLessThan(20_000);
      expect(await storage.getAlarm()).toBeNull();
    });
    for (const again of ['created', 'copied', 'begun']) {
      await cut(again);
      const place = { account: 'alice', id: again };
      if (again === 'created')
        await stubOf(again).createConversation(place, { model: 'claude-opus-5-5', max_tokens: 50 }, {});
      const body = again === 'begun' ? createBody('Hello') : question('Hello');
      if (again === 'copied') expect(await stubOf().forkConversation(again, undefined)).toMatchObject({ ok: true });
      // The simulator says how many turns were sent up, where there was more than one.
      const { events } = await runTurn(body, { id: again });
      expect(/contains (\d) messages from you/.exec(textOfDeltas(events))?.[1]).toBe(
        again === 'copied' ? '3' : undefined,
      );
      expect(await listMessages(again)).toHaveLength(again === 'copied' ? 6 : 2);
    }
    expect(await listMessages()).toHaveLength(4);
  });

  test('can be copied over a first turn that has failed', async () => {
    await runTurn(createBody('One'));
    await sendTurn(createBody('Hello'), { id: 'c2', simulate: 'status=529' });
    expect(await stubOf().forkConversation('c2', undefined)).toMatchObject({ ok: true });
    await runTurn(question('Two'), { id: 'c2' });
    expect(await listMessages('c2')).toHaveLength(4);
  });

  test('is exported as lines of JSON with an end line', async () => {
    await runTurn(createBody('One'));
    const result = await stubOf().exportConversation();
    if (!result.ok) throw new Error('no export');
    const text = await new Response(result.value as ReadableStream).text();
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string });
    expect(lines.map(({ type }) => type)).toEqual(['conversation', 'message', 'message', 'end']);
  });

  test('can be created before its first turn, changed and deleted', async () => {
    const place = { account: 'alice', id: 'c1' };
    const fields = { title: 'A title', model: 'claude-opus-5-5', max_tokens: 100 };
    expect(await stubOf().createConversation(place, fields, { system: '"Be brief."' })).toMatchObject({ ok: true });
    expect(await stubOf().createConversation(place, fields, {})).toMatchObject({ ok: false, error: { status: 409 } });
    await runTurn(question('Hello'));
    expect(await listMessages()).toHaveLength(2);
    await stubOf().patchConversation({ title: 'Another', metadata: { a: 1 } });
    expect(await readConversation()).toMatchObject({
      title: 'Another',
      metadata: { a: 1 },
      system: 'Be brief.',
      turns: 1,
    });
    // What is not settled yet is deleted a little later.
    await waitUntilAtRest();
    await eventually(async () => expect((await account().listConversations({})).data[0]?.title).toBe('Another'));
    expect(await stubOf().erase()).toBe(true);
    expect(await readConversation()).toBeUndefined();
    expect(await stubOf().erase()).toBe(false);
    expect((await account().listConversations({})).data).toEqual([]);
    await runInDurableObject(stubOf(), async (_, state) => {
      expect(state.storage.sql.databaseSize).toBeLessThan(20_000);
      expect(await state.storage.getAlarm()).toBeNull();
    });
    await runTurn(createBody('Hello again'));
    expect(await listMessages()).toHaveLength(2);
  });

  test('can be deleted during a turn, which is then settled', async () => {
    const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), { simulate: 'tps=20' });
    if (answer.kind !== 'stream') throw new Error('no stream');
    await readEvents(answer.body, 5);
    expect(await stubOf().erase()).toBe(true);
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    expect((await account().listConversations({})).data).toEqual([]);
    expect(await readConversation()).toBeUndefined();
  });

  test('is deleted with its account', async () => {
    for (let i = 0; i < 7; i += 1) await runTurn(createBody('Hello'), { id: `c${i}` });
    await eventually(async () => expect((await standing()).held_usd).toBe(0));
    expect(await account().erase()).toMatchObject({ done: false });
    for (let i = 0; i < 3; i += 1) await runDurableObjectAlarm(account());
    expect(await account().erase()).toEqual({ done: true, remaining: 0 });
    for (let i = 0; i < 7; i += 1) expect(await readConversation(`c${i}`)).toBeUndefined();
  });

  test('omits its oldest whole turns from the request when truncating', async () => {
    const place = { account: 'alice', id: 'c1' };
    const fields = {
      model: 'claude-opus-5-5',
      max_tokens: 60,
      history: { max_tokens: 300, strategy: 'truncate' as const },
    };
    await stubOf().createConversation(place, fields, {});
    for (let i = 0; i < 12; i += 1) await runTurn(question(`Question number ${i}, which is not a short one`));
    const rows = await listMessages();
    expect(rows).toHaveLength(24);
    const usages = rows.filter(({ usage }) => usage !== null).map(({ usage }) => usage as Record<string, number>);
    for (const { input_tokens = 0, cache_read_input_tokens = 0, cache_creation_input_tokens = 0 } of usages) {
      expect(input_tokens + cache_read_input_tokens + cache_creation_input_tokens).toBeLessThan(350);
    }
    await stubOf().patchConversation({ history: { max_tokens: 100, strategy: 'error' } });
    expect(await sendTurn(question('More'))).toMatchObject({ kind: 'error', error: { status: 400 } });
  });
});

test('a request body that is a stream begins a turn like any other body', async () => {
  const request = buildTurnRequest(createBody('Hello'));
  const answer = await sendTurnRequest({ ...request, body: new Response(request.body).body as ReadableStream });
  expect(answer.kind).toBe('stream');
  if (answer.kind === 'stream') await readStream(answer.body as ReadableStream);
  expect(await listMessages()).toHaveLength(2);
});

test('a non-streaming upstream response to a streaming request is streamed and stored like any other', async () => {
  setConversationUpstream(async () => Response.json(message));
  const { events } = await runTurn(createBody('Hello'));
  expect(events.at(-1)?.event).toBe('message_stop');
  expect(textOfDeltas(events)).toBe('It is “so”.');
  expect((await listMessages())[1]).toMatchObject({
    content: message.content,
    status: 'complete',
    usage: message.usage,
  });
  await eventually(async () => expect((await standing()).held_usd).toBe(0));
  expect((await account().listRequests({})).data[0]).toMatchObject({
    status: 'complete',
    estimated: false,
    usage: { input_tokens: 12, output_tokens: 7 },
  });
});
