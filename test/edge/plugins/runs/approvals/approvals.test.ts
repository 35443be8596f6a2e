import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import { approvalRequested, approvalRow, turnReport } from '#edge/conversations/object/conversations-answers.schema.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import { parseMemberTexts } from '#edge/kit/json/edit.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { parseJsonRememberingText } from '#edge/kit/json/remembered-text.ts';
import * as agents from '#test/support/agents.ts';
import { createTestApp, readError, waitForAllApps } from '#test/support/app.ts';
import {
  bindings,
  createTimeAdvancer,
  fetchApprovals,
  fetchTurn,
  listApprovals,
  listMessages,
  parseResult,
  readConversation,
  sendDecision,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { waitForObject } from '#test/support/pending-work.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_URL,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, type StreamEvent, sendTurn, textOfDeltas } from '#test/support/turns.ts';

const HOOK = 'https://hooks.example.com/turns';
const VARS = { DELIVERY_SIGNING_SECRET: `whsec_${btoa('the secret of the deliveries 123')}`, TURN_DELIVER_URL: HOOK };
const DAY_MS = 86_400_000;

const blocksOf = (events: readonly StreamEvent[]) =>
  events.filter(({ event }) => event === 'content_block_start').map(({ data }) => data.content_block as JsonObject);

/** A tool that pays, for which a person must say yes. */
const pay = (run: object = {}) => ({ ...weatherTool({ approval: 'always', ...run }, 'pay') });
const payment = (id: string, amount: unknown = 500) => ({ type: 'tool_use', id, name: 'pay', input: { amount } });
const asked = (more: object = {}) => createBody('Pay the bill.', { tools: [pay(), weatherTool()], ...more });

async function decide(
  approval: JsonObject | undefined,
  { input, ...decision }: JsonObject,
  { id = 'c1', isAdmin = false } = {},
) {
  const called = {
    ...decision,
    input: input && JSON.stringify(input),
    id: String(approval?.id),
    isAdmin,
    requestId: createRequestId(),
  };
  const result = await sendDecision(stubOf(id), called);
  if (!result.ok) return { status: result.error.status, error: result.error, body: {} as JsonObject };
  return { status: result.value.status as number, error: undefined, body: JSON.parse(result.value.body) as JsonObject };
}

const approve = (approval: JsonObject | undefined, more: object = {}) =>
  decide(approval, { decision: 'approve', ...more });

async function ended(turn: unknown, id = 'c1'): Promise<JsonObject> {
  await eventually(async () => expect((await fetchTurn(turn, id)).status).not.toBe('running'));
  return await fetchTurn(turn, id);
}

/** All events of a turn. */
async function eventsOfTurn(turn: unknown, id = 'c1'): Promise<StreamEvent[]> {
  const resumed = await stubOf(id).resumeTurnStream(`${turn}-0`);
  if (resumed.kind !== 'stream') throw new Error(resumed.kind);
  return (await readStream(resumed.body as ReadableStream<Uint8Array>)).events;
}

/** An API that pays first, and then says that it has. */
const paying = (first: readonly JsonObject[] = [payment('toolu_1')]) =>
  answerByScript(
    (body) =>
      JSON.stringify(body.messages).includes('tool_result')
        ? textAnswer('It is paid.')
        : callsAnswer({ type: 'text', text: 'I pay. ' }, ...first),
    { vars: VARS },
  );

const serving = (answer = 'paid') =>
  answerTools(({ url }) => (url === TOOL_URL ? new Response(answer) : new Response(null, { status: 204 })));

describe('a call that needs an approval', () => {
  test('pauses the run; after the approval, the run continues by itself and streams the call again', async () => {
    const bodies = paying([payment('toolu_1'), weatherCall('toolu_2', 'Bern')]);
    const came = serving();
    const first = await runTurn(asked());
    const uses = [
      { type: 'mcp_tool_use', id: 'toolu_1', name: 'pay', input: { amount: 500 }, server_name: 'edge' },
      { type: 'mcp_tool_use', id: 'toolu_2', name: 'get_weather', input: { city: 'Bern' }, server_name: 'edge' },
    ];
    const resultOf = (tool_use_id: string) => ({
      type: 'mcp_tool_result',
      tool_use_id,
      is_error: false,
      content: [{ type: 'text', text: 'paid' }],
    });
    // What needs no approval is called at once.
    expect(blocksOf(first.events)).toEqual([{ type: 'text', text: '' }, ...uses, resultOf('toolu_2')]);
    expect(first.events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'pause_turn' },
    });
    expect(first.text).toContain(': sluice-paused=approval\n');
    expect(came.filter(({ url }) => url === TOOL_URL).map(({ body }) => body.tool_use_id)).toEqual(['toolu_2']);

    const [approval, ...others] = await fetchApprovals();
    expect(others).toEqual([]);
    expect(approvalRow.parse(approval)).toMatchObject({
      tool_use_id: 'toolu_1',
      name: 'pay',
      input: { amount: 500 },
      turn: first.turn,
      decision: null,
    });
    const { status, body: turn } = await approve(approval);
    expect(status).toBe(202);
    expect(turnReport.parse(turn)).toMatchObject({ type: 'turn', continues: first.turn, status: 'running' });
    expect(await ended(turn.id)).toMatchObject({ status: 'complete', paused: null, continues: first.turn });
    const events = await eventsOfTurn(turn.id);
    expect(events.map(({ event }) => event).filter((name) => name.startsWith('message'))).toEqual([
      'message_start',
      'message_delta',
      'message_stop',
    ]);
    expect(blocksOf(events)).toEqual([uses[0], resultOf('toolu_1'), { type: 'text', text: '' }]);
    expect(textOfDeltas(events)).toBe('It is paid.');
    expect(came.filter(({ url }) => url === TOOL_URL).map(({ body }) => [body.tool_use_id, body.input])).toEqual([
      ['toolu_2', { city: 'Bern' }],
      ['toolu_1', { amount: 500 }],
    ]);
    expect(bodies[1]?.messages.at(-1)).toMatchObject({
      role: 'user',
      content: [
        { type: 'tool_result', tool_use_id: 'toolu_1', content: 'paid' },
        { type: 'tool_result', tool_use_id: 'toolu_2', content: 'paid' },
      ],
    });
    expect(await fetchApprovals()).toEqual([]);
    // The conversation is free.
    expect(textOfDeltas((await runTurn({ messages: [{ role: 'user', content: 'Thanks.' }] })).events)).toBe(
      'It is paid.',
    );
    expect(await readConversation()).toMatchObject({ turns: 3, state: 'idle' });
    await waitUntilAtRest();
  });

  test('is not made after a denial, and the model receives the reason', async () => {
    const bodies = paying();
    const came = serving();
    const { turn } = await runTurn(asked());
    const [approval] = await fetchApprovals();
    const { body } = await decide(approval, { decision: 'deny', reason: 'It was paid in May.' });
    const told = await ended(body.id);
    expect(told).toMatchObject({ status: 'complete', continues: turn });
    expect(came.filter(({ url }) => url === TOOL_URL)).toEqual([]);
    const { content: results } = bodies[1]?.messages.at(-1) ?? { content: [] };
    const [result] = results as JsonObject[];
    expect(result).toMatchObject({ type: 'tool_result', tool_use_id: 'toolu_1', is_error: true });
    expect(result?.content).toContain('It was paid in May.');
    const [, shown] = blocksOf(await eventsOfTurn(body.id));
    expect(shown).toMatchObject({ type: 'mcp_tool_result', tool_use_id: 'toolu_1', is_error: true });
    expect((await fetchTurn(turn)).steps).toMatchObject([
      { calls: [{ id: 'toolu_1', approval: { decision: 'deny', reason: 'It was paid in May.' } }] },
    ]);
  });

  test('is made with the approved input, and the result reports the change of the model’s input', async () => {
    const bodies = paying();
    const came = serving();
    await runTurn(asked());
    const [approval] = await fetchApprovals();
    const { body } = await approve(approval, { input: { amount: 5 } });
    await ended(body.id);
    expect(came.filter(({ url }) => url === TOOL_URL).map((one) => one.body.input)).toEqual([{ amount: 5 }]);
    const [, answer, { content: results } = { content: [] }] = bodies[1]?.messages ?? [];
    expect(answer?.content).toMatchObject([{ type: 'text' }, { type: 'tool_use', input: { amount: 500 } }]);
    expect((results as JsonObject[])[0]?.content).toMatch(/^\[.*\{"amount":5\}.*\]\npaid$/);
  });

  test.each([
    [500, true],
    [100, false],
    ['500', true],
    [undefined, true],
    [null, true],
    [{ amount: 1 }, true],
  ])('with approval over 100: an amount of %j waits for approval: %s', async (amount, waits) => {
    paying([payment('toolu_1', amount)]);
    serving();
    const tools = [pay({ approval: { over: { field: 'amount', above: 100 } } })];
    const { text } = await runTurn(asked({ tools }));
    expect(text.includes('sluice-paused=approval')).toBe(waits);
    expect(await fetchApprovals()).toHaveLength(waits ? 1 : 0);
  });

  test('blocks new messages until all calls are decided, and repeating a decision changes nothing', async () => {
    paying([payment('toolu_1'), payment('toolu_2', 7)]);
    const came = serving();
    const { turn } = await runTurn(asked());
    const refused = await sendTurn({ messages: [{ role: 'user', content: 'And now?' }] });
    expect(refused).toMatchObject({
      kind: 'error',
      error: {
        type: 'conflict_error',
        status: 423,
        headers: {
          'x-should-retry': 'false',
          'sluice-paused': 'approval',
          'sluice-turn': turn,
          location: '/conversations/c1/approvals',
        },
      },
    });
    const [one, other] = await fetchApprovals();
    expect(await decide(one, { decision: 'deny' })).toMatchObject({ status: 200, body: { type: 'approval' } });
    expect(await decide(one, { decision: 'deny' })).toMatchObject({ status: 200, body: { decision: 'deny' } });
    expect((await approve(one)).status).toBe(409);
    expect((await decide(one, { decision: 'deny', reason: 'No.' })).status).toBe(409);
    expect(await fetchApprovals()).toHaveLength(1);
    expect((await sendTurn({ messages: [{ role: 'user', content: 'And now?' }] })).kind).toBe('error');
    const begun = await approve(other);
    expect(begun.status).toBe(202);
    const again = await approve(other);
    expect([again.status, again.body.id]).toEqual([200, begun.body.id]);
    await ended(begun.body.id);
    expect((await decide(one, { decision: 'deny' })).body.id).toBe(begun.body.id);
    expect(came.filter(({ url }) => url === TOOL_URL)).toHaveLength(1);
    expect((await decide({ id: 'appr_none' }, { decision: 'deny' })).status).toBe(404);
  });

  test('rejects a changed input when all changed inputs together exceed the size limit', async () => {
    paying(Array.from({ length: 6 }, (_, n) => payment(`toolu_${n}`)));
    serving();
    await runTurn(asked());
    const rows = await fetchApprovals();
    const input = { amount: 5, note: 'a'.repeat(260_000) };
    for (const row of rows.slice(0, 4)) expect((await approve(row, { input })).status).toBe(200);
    expect(await approve(rows[4], { input })).toMatchObject({
      status: 400,
      error: { type: 'invalid_request_error', message: expect.stringContaining('1048576 characters in total') },
    });
    expect(await fetchApprovals()).toHaveLength(2);
    expect((await approve(rows[4])).status).toBe(200);
    const begun = await approve(rows[5], { input: { amount: 5 } });
    expect(begun.status).toBe(202);
    await ended(begun.body.id);
  });

  test('is announced in one webhook event, and so is the end of the continued turn', async () => {
    paying();
    const came = serving();
    const { turn } = await runTurn(asked());
    await eventually(() => expect(came).toHaveLength(1));
    const [{ url, headers, body } = { url: '', headers: new Headers(), body: {} as JsonObject }] = came;
    expect([url, headers.get('webhook-id')]).toEqual([HOOK, body.event_id]);
    expect(approvalRequested.parse(body)).toMatchObject({
      account: 'alice',
      conversation: 'c1',
      turn,
      approvals: [{ tool_use_id: 'toolu_1', input: { amount: 500 } }],
    });
    const { body: next } = await approve((await fetchApprovals())[0]);
    await ended(next.id);
    await eventually(() => expect(came.filter((one) => one.url === HOOK)).toHaveLength(2));
    expect(came.at(-1)?.body).toMatchObject({ type: 'turn.ended', turn: { id: next.id, continues: turn } });
  });

  test('holds no budget while it waits, and the continued turn has the remainder of the run’s limits', async () => {
    // The first step costs all of it.
    const usage = { input_tokens: 100, output_tokens: 980 };
    const bodies = answerByScript(
      (_, number) => (number === 1 ? { ...callsAnswer(payment('toolu_1')), usage } : textAnswer('It is paid.')),
      { vars: VARS },
    );
    serving();
    const account = () => getAccountStub(bindings, {}, 'alice');
    const { turn } = await runTurn(asked({ max_usd: 0.02 }));
    await waitUntilAtRest();
    expect(await account().getQuotaReport()).toMatchObject({ running_requests: 0 });
    const { body } = await approve((await fetchApprovals())[0]);
    expect(await ended(body.id)).toMatchObject({ status: 'complete', paused: 'max_usd', continues: turn });
    expect(bodies).toHaveLength(1);
    // Its result is part of the history all the same.
    expect(textOfDeltas((await runTurn({ messages: [{ role: 'user', content: 'Well?' }] })).events)).toBe(
      'It is paid.',
    );
    expect(JSON.stringify(bodies[1]?.messages)).toContain('"content":"paid"');
  });

  test('stores none of the caller’s custom headers while it waits, and keeps the API’s headers', async () => {
    paying();
    serving();
    const headers = { 'x-company-key': 's3cret-of-the-caller', 'anthropic-beta': 'a-beta' };
    await runTurn(asked(), { headers });
    const stored = await runInDurableObject(stubOf(), (_, { storage }) =>
      JSON.stringify(storage.sql.exec('select text from pieces').toArray()),
    );
    expect(stored).not.toContain('s3cret-of-the-caller');
    expect(stored).toContain('a-beta');
    const { body } = await approve((await fetchApprovals())[0]);
    expect(await ended(body.id)).toMatchObject({ status: 'complete' });
  });

  test('counts the steps before its pause towards the run’s max_turns', async () => {
    const bodies = answerByScript((_, number) => callsAnswer(payment(`toolu_${number}`)), { vars: VARS });
    serving();
    await runTurn(asked({ max_turns: 2 }));
    const second = await approve((await fetchApprovals())[0]);
    expect(await ended(second.body.id)).toMatchObject({ paused: 'approval' });
    const third = await approve((await fetchApprovals())[0]);
    expect(await ended(third.body.id)).toMatchObject({ paused: 'max_turns' });
    expect(bodies).toHaveLength(2);
  });

  test('waits three days and through a crash without waking its object, and outlives the conversation’s retention', async () => {
    paying();
    const came = serving();
    const pass = createTimeAdvancer();
    await stubOf().createConversation({ account: 'alice', id: 'c1' }, { retention_seconds: 3_600 }, {});
    await runTurn(asked());
    await eventually(() => expect(came).toHaveLength(1));
    await waitUntilAtRest();
    await abortAllDurableObjects();
    pass(15 * 60_000);
    await runDurableObjectAlarm(stubOf());
    // What was due is done: the next alarm is the end of all waiting.
    const next = await runInDurableObject(stubOf(), (_, { storage }) => storage.getAlarm());
    expect((next ?? 0) - Date.now()).toBeGreaterThan(29 * DAY_MS);
    pass(3 * DAY_MS);
    await runDurableObjectAlarm(stubOf());
    const [approval] = await fetchApprovals();
    const { status, body } = await approve(approval);
    expect(status).toBe(202);
    expect(await ended(body.id)).toMatchObject({ status: 'complete' });
    expect(came.filter(({ url }) => url === TOOL_URL)).toHaveLength(1);
    // Nobody decides for thirty days: then it goes with its conversation.
    await runTurn(asked({ conversation: 'c2' }), { id: 'c2' });
    pass(31 * DAY_MS);
    await runDurableObjectAlarm(stubOf('c2'));
    expect((await listApprovals(stubOf('c2'))).ok).toBe(false);
  });

  test('is not copied by a fork, and is closed by a rewind or the cancellation of its turn', async () => {
    const bodies = paying();
    const came = serving();
    const { turn } = await runTurn(asked());
    expect((await stubOf().forkConversation('copy', undefined)).ok).toBe(true);
    expect(await fetchApprovals('copy')).toEqual([]);
    expect(
      textOfDeltas((await runTurn({ messages: [{ role: 'user', content: 'And?' }] }, { id: 'copy' })).events),
    ).toBe('It is paid.');
    expect(JSON.stringify(bodies.at(-1)?.messages)).toContain('waited for approval. It was not made here.');

    expect(await parseResult(await stubOf().cancelTurn(turn))).toMatchObject({
      status: 'stopped',
      paused: null,
    });
    expect(await fetchApprovals()).toEqual([]);
    expect(textOfDeltas((await runTurn({ messages: [{ role: 'user', content: 'And?' }] })).events)).toBe('It is paid.');
    expect(JSON.stringify(bodies.at(-1)?.messages)).toContain('its turn was cancelled');

    await runTurn(asked(), { id: 'c3' });
    const [approval] = await fetchApprovals('c3');
    const [question] = await listMessages('c3');
    expect((await stubOf('c3').rewindConversation(question?.id ?? '')).ok).toBe(true);
    expect(await fetchApprovals('c3')).toEqual([]);
    expect((await decide(approval, { decision: 'approve' }, { id: 'c3' })).status).toBe(404);
    expect((await runTurn(asked(), { id: 'c3' })).text).toContain('sluice-paused=approval');
    expect(came.filter(({ url }) => url === TOOL_URL)).toEqual([]);
  });

  test('keeps waiting if the conversation’s profile cannot be stored with its cancellation', async () => {
    paying();
    serving();
    const { turn } = await runTurn(asked());
    vi.spyOn(Transcript.prototype, 'saveProfile').mockImplementationOnce(() => {
      throw new Error('the write failed');
    });
    await runInDurableObject(stubOf(), async (conversation: Conversation) => {
      await expect(conversation.cancelTurn(String(turn))).rejects.toThrow('the write failed');
    });
    expect(await fetchApprovals()).toHaveLength(1);
    expect(await readConversation()).toMatchObject({ paused: 'approval' });
    expect(await sendTurn(createBody('And now?'))).toMatchObject({ kind: 'error', error: { status: 423 } });
    await stubOf().cancelTurn(String(turn));
    expect(await readConversation()).toMatchObject({ paused: null });
  });

  test('is not made if the conversation’s profile cannot be stored with its approval', async () => {
    paying();
    const came = serving();
    const { turn } = await runTurn(asked());
    const [approval] = await fetchApprovals();
    vi.spyOn(Transcript.prototype, 'saveProfile').mockImplementationOnce(() => {
      throw new Error('the write failed');
    });
    expect(await approve(approval)).toMatchObject({ status: 500 });
    await waitForObject(stubOf());
    expect(came.filter(({ url }) => url === TOOL_URL)).toEqual([]);
    expect(await fetchApprovals()).toEqual([approval]);
    const { status, body } = await approve(approval);
    expect(status).toBe(202);
    expect(await ended(body.id)).toMatchObject({ status: 'complete', continues: turn });
    expect(came.filter(({ url }) => url === TOOL_URL)).toHaveLength(1);
  });

  test('is reported by the conversation and in the account’s list of conversations while it waits', async () => {
    paying([payment('toolu_1'), payment('toolu_2')]);
    serving();
    const listed = async (paused: 'approval' | null, id = 'c1') => {
      expect(await readConversation(id)).toMatchObject({ paused });
      await eventually(async () => {
        const { data } = await getAccountStub(bindings, {}, 'alice').listConversations({ limit: 10 });
        expect(data.find((row) => row.id === id)).toMatchObject({ paused });
      });
    };
    await runTurn(asked());
    await listed('approval');
    const [first, second] = await fetchApprovals();
    await decide(first, { decision: 'deny' });
    await listed('approval');
    await stubOf().forkConversation('c2', undefined);
    await listed(null, 'c2');
    const { body } = await decide(second, { decision: 'deny' });
    await ended(body.id);
    await listed(null);

    const { turn } = await runTurn(asked(), { id: 'c3' });
    await listed('approval', 'c3');
    await stubOf('c3').cancelTurn(turn);
    await listed(null, 'c3');

    await runTurn(asked(), { id: 'c4' });
    await listed('approval', 'c4');
    await stubOf('c4').rewindConversation(String((await listMessages('c4'))[0]?.id));
    await listed(null, 'c4');
  });

  test('leaves client tool calls of the same step to the client once it is decided', async () => {
    const own = { name: 'ask_user', input_schema: { type: 'object' } };
    const input = '{"order":2512292042121000001, "sure":1.0}';
    const question = { type: 'tool_use', id: 'toolu_9', name: 'ask_user', input: parseJsonRememberingText(input) };
    paying([payment('toolu_1'), question]);
    serving();
    await runTurn(asked({ tools: [pay(), own] }));
    const { body } = await approve((await fetchApprovals())[0]);
    expect(await ended(body.id)).toMatchObject({ status: 'complete', paused: null });
    const events = await eventsOfTurn(body.id);
    expect(blocksOf(events).map(({ type, id, tool_use_id }) => [type, id ?? tool_use_id])).toEqual([
      ['mcp_tool_use', 'toolu_1'],
      ['mcp_tool_result', 'toolu_1'],
      ['tool_use', 'toolu_9'],
    ]);
    expect(events.find(({ event }) => event === 'content_block_delta')?.data.delta).toMatchObject({
      partial_json: input,
    });
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'tool_use' },
    });
    const result = { type: 'tool_result', tool_use_id: 'toolu_9', content: 'Yes.' };
    expect(textOfDeltas((await runTurn({ messages: [{ role: 'user', content: [result] }] })).events)).toBe(
      'It is paid.',
    );
  });
});

describe('a crash of the turn after an approval', () => {
  test.each([
    ['in the call', false, 2],
    ['in the call, which is made once at most,', true, 1],
    ['in its next step', true, 1],
  ])('%s loses no data, and makes the payment as often as `once` allows', async (place, once, times) => {
    const input = '{"order":2512292042121000001, "amount":500.0}';
    const paid = callsAnswer({ ...payment('toolu_1'), input: parseJsonRememberingText(input) });
    let isMet = false;
    let isHeld = true;
    const hold = async () => {
      isMet = true;
      if (isHeld) await new Promise(() => {});
    };
    const bodies = answerByScript(
      (body) => (JSON.stringify(body.messages).includes('tool_result') ? textAnswer('It is paid.') : paid),
      {
        vars: VARS,
        before: async () => (place === 'in its next step' && bodies.length === 1 ? await hold() : undefined),
      },
    );
    const came = answerTools(async ({ url }) => {
      if (url === TOOL_URL && place !== 'in its next step') await hold();
      return new Response('paid');
    });
    await runTurn(asked({ tools: [pay({ once })], max_usd: 1 }));
    const { body } = await approve((await fetchApprovals())[0]);
    // An object cannot be aborted from inside: what it does is looked at from out here.
    await waitForCondition(() => isMet);
    isHeld = false;
    await abortAllDurableObjects();
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf());
      expect(await fetchTurn(body.id)).toMatchObject({ status: 'complete', paused: null });
    });
    const made = came.filter(({ url }) => url === TOOL_URL);
    expect(made.map(({ text }) => parseMemberTexts(text).get('input'))).toEqual(Array(times).fill(input));
    expect(new Set(made.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1);
    const events = await eventsOfTurn(body.id);
    expect(blocksOf(events).map(({ type }) => type)).toEqual(['mcp_tool_use', 'mcp_tool_result', 'text']);
    expect(JSON.stringify(bodies.at(-1)?.messages)).toContain(
      once && place !== 'in its next step' ? 'It is unknown whether this call was made' : '"content":"paid"',
    );
    await eventually(() => {
      const ends = came.filter(({ url, body: event }) => url === HOOK && event.type === 'turn.ended');
      expect(new Set(ends.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1);
    });
  });
});

test('a call of an agent whose approvers are admins can be decided only by an admin', async () => {
  const tools = [weatherTool({ approval: 'always' })];
  const { app, root, bob } = await agents.createSkyEdge({ ...agents.SKY, tools, approvers: 'admin' });
  const came = answerTools(() => new Response('sun'));
  const { body: answer } = await agents.runWholeTurn(app, bob, { agent: 'sky' });
  expect(answer.stop_reason).toBe('pause_turn');
  const path = '/conversations/c1/approvals';
  const { body: list } = await agents.requestEdge(app, 'GET', path, bob);
  const [row] = list.data as JsonObject[];
  expect(row).toMatchObject({ name: 'get_weather', approvers: 'admin' });
  const decision = { decision: 'approve' };
  for (const place of ['', '?account=root']) {
    expect((await agents.requestEdge(app, 'POST', `${path}/${row?.id}${place}`, bob, decision)).status).toBe(403);
  }
  const { status, body } = await agents.requestEdge(app, 'POST', `${path}/${row?.id}?account=bob`, root, decision);
  expect([status, body.continues]).toEqual([202, row?.turn]);
  await eventually(async () => {
    const turn = await agents.requestEdge(app, 'GET', `/conversations/c1/turns/${body.id}`, bob);
    expect(turn.body).toMatchObject({ status: 'complete' });
  });
  expect(came).toHaveLength(1);
  await waitForAllApps();
});

describe('the approval routes', () => {
  test('list the waiting calls, accept a decision and reject a malformed one', async () => {
    paying();
    serving();
    const app = createTestApp(() => Response.json({}));
    await runTurn(asked(), { account: 'dev' });
    const list = (await (await app.fetch('/conversations/c1/approvals')).json()) as JsonObject;
    const [row] = list.data as JsonObject[];
    expect(list).toMatchObject({ has_more: false, first_id: row?.id, last_id: row?.id });
    for (const [body, said] of [
      [{ decision: 'maybe' }, /decision: Input should be approve or deny/],
      [{ decision: 'approve', input: 'all' }, /input: Input should be an object/],
      [{ decision: 'deny', input: {} }, /input: supported only with/],
      [{ decision: 'deny', input_text: '{}' }, /input: supported only with/],
      [{ decision: 'approve', input_text: '[1]' }, /input_text: Input should be the JSON text of an object/],
      [{ decision: 'approve', input_text: '{}', input: {} }, /input_text: send it or/],
      [{}, /decision/],
    ] as const) {
      const refused = await app.post(`/conversations/c1/approvals/${row?.id}`, body);
      expect(refused.status).toBe(400);
      expect((await readError(refused)).message).toMatch(said);
    }
    expect((await app.fetch('/conversations/c1/approvals?account=bob')).status).toBe(404);
    const begun = await app.post(`/conversations/c1/approvals/${row?.id}`, { decision: 'approve' });
    expect(begun.status).toBe(202);
    const turn = (await begun.json()) as JsonObject;
    expect(begun.headers.get('location')).toBe(`/conversations/c1/turns/${turn.id}`);
    await app.waitUntilSettled();
    await eventually(async () => {
      expect(await (await app.fetch(`/conversations/c1/turns/${turn.id}`)).json()).toMatchObject({
        status: 'complete',
      });
    });
  });
});
