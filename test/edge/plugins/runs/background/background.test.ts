import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import type { RpcText } from '#edge/conversations/object/contract.ts';
import { turnEnded, turnReport } from '#edge/conversations/object/conversations-answers.schema.ts';
import { readRpcText } from '#edge/conversations/object/rpc-response.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { verifyStandard } from '#edge/kit/delivery/standard-webhooks.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import {
  bindings,
  createTimeAdvancer,
  fetchTurn,
  installSimulator,
  listMessages,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_URL,
  type ToolServerCall,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { buildTurnRequest, createBody, sendTurnRequest, type TurnRequestOptions } from '#test/support/turns.ts';
import { createErrorResponse } from '#test/support/wire.ts';

// At midnight a budget begins anew.
setClockToNoon();

const HOOK = 'https://hooks.example.com/turns';
const SECRET = `whsec_${btoa('the secret of the deliveries 123')}`;
const VARS = { DELIVERY_SIGNING_SECRET: SECRET, TURN_DELIVER_URL: HOOK };
const HOUR_MS = 3_600_000;

/** Begins a turn that nobody waits for. */
async function begin(
  body: object,
  asked: TurnRequestOptions & { deliverUrl?: string; retry?: boolean } = {},
): Promise<JsonObject> {
  const { deliverUrl, retry, ...others } = asked;
  const answer = await sendTurnRequest({
    ...buildTurnRequest(body, others),
    edgeOptions: { background: true, deliver_url: deliverUrl, retry },
  });
  if (answer.kind !== 'response') throw new Error(JSON.stringify(answer));
  expect(answer.status).toBe(202);
  expect(answer.headers.location).toBe(`/conversations/${asked.id ?? 'c1'}/turns/${answer.turn}`);
  return JSON.parse(answer.body) as JsonObject;
}

/** @returns the events that a receiver got, of all that came in */
const told = (came: readonly ToolServerCall[]) => came.filter(({ url }) => url !== TOOL_URL);

describe('a background turn', () => {
  test('completes by itself, and sends the message in a signed webhook event', async () => {
    answerByScript(() => textAnswer('It is done.'), { vars: VARS });
    const came = answerTools(() => new Response(null, { status: 204 }));
    const turn = await begin(createBody('Do it.'));
    expect(turnReport.parse(turn)).toMatchObject({ type: 'turn', conversation: 'c1', error: null });
    await eventually(() => expect(told(came)).toHaveLength(1));

    const [{ url, headers, text, body } = {} as ToolServerCall] = came;
    const verdict = await verifyStandard.verify({ headers, bytes: new TextEncoder().encode(text), now: Date.now() }, [
      SECRET,
    ]);
    expect([url, verdict]).toEqual([HOOK, 'valid']);
    expect(headers.get('webhook-id')).toBe(body.event_id);
    expect(turnEnded.parse(body)).toMatchObject({
      account: 'alice',
      conversation: 'c1',
      turn: { id: turn.id, status: 'complete', error: null },
      message: { role: 'assistant', content: [{ type: 'text', text: 'It is done.' }], stop_reason: 'end_turn' },
    });
    expect((await listMessages()).map(({ role, status }) => [role, status])).toEqual([
      ['user', 'complete'],
      ['assistant', 'complete'],
    ]);
    await waitUntilAtRest();
  });

  test('can be followed live, and read again from its first event after its end', async () => {
    const answered = Promise.withResolvers<void>();
    answerByScript(() => textAnswer('Here.'), { vars: VARS, after: () => answered.promise });
    answerTools(() => new Response());
    const { id } = await begin(createBody('Where?'));
    expect(await fetchTurn(id)).toMatchObject({ status: 'running', ended_at: null });
    const live = await stubOf().resumeTurnStream(undefined);
    answered.resolve();
    if (live.kind !== 'stream') throw new Error(live.kind);
    const text = await new Response(live.body as ReadableStream).text();
    expect(text).toContain('message_stop');
    const again = await stubOf().resumeTurnStream(`${id}-0`);
    if (again.kind !== 'stream') throw new Error(again.kind);
    expect(await new Response(again.body as ReadableStream).text()).toBe(text);
  });

  test('is the same turn for each request with the same key, also after its end', async () => {
    const bodies = answerByScript(() => textAnswer('Once.'), { vars: VARS });
    const came = answerTools(() => new Response());
    const asked = { key: 'k1', hash: 'h' };
    const [one, other] = await Promise.all([begin(createBody('Do it.'), asked), begin(createBody('Do it.'), asked)]);
    await eventually(() => expect(told(came)).toHaveLength(1));
    const later = await begin(createBody('Do it.'), asked);
    expect([other.id, later.id, later.status]).toEqual([one.id, one.id, 'complete']);
    expect(bodies).toHaveLength(1);
  });

  test('reports the API’s error in its webhook event, and stays readable although no conversation was created', async () => {
    const error = { type: 'error', error: { type: 'invalid_request_error', message: 'no such thing' } };
    answerByScript(() => Response.json(error, { status: 400 }), { vars: VARS });
    const came = answerTools(() => new Response());
    const { id } = await begin(createBody('Do it.'));
    await eventually(() => expect(told(came)).toHaveLength(1));
    const failed = { status: 'failed', error: { type: 'invalid_request_error', message: 'no such thing' } };
    expect(came[0]?.body).toMatchObject({ type: 'turn.ended', turn: { id, ...failed }, message: null });
    expect(await fetchTurn(id)).toMatchObject(failed);
  });

  test('is rejected without a webhook event when the budget does not cover it', async () => {
    const bodies = answerByScript(() => textAnswer('never'), { vars: VARS });
    const came = answerTools(() => new Response());
    await getAccountStub(bindings, {}, 'alice').setLimits({ usd_per_day: 0.000001 });
    for (const more of [{}, { tools: [weatherTool()] }]) {
      const answer = await sendTurnRequest({
        ...buildTurnRequest(createBody('Do it.', more)),
        edgeOptions: { background: true },
      });
      expect(answer).toMatchObject({ kind: 'error', error: { status: 429, type: 'billing_error' } });
    }
    await runDurableObjectAlarm(stubOf());
    expect([bodies.length, told(came)]).toEqual([0, []]);
  });

  test.each([
    ['is refused', 'interrupted'],
    ['dies, and is stopped', 'stopped'],
  ])(
    'that %s before it is sent, and was requested again, sends its event and keeps its question',
    async (what, status) => {
      answerByScript(() => textAnswer('never'), { vars: VARS });
      const came = answerTools(() => new Response());
      await getAccountStub(bindings, {}, 'alice').setLimits({ usd_per_day: 0.000001 });
      const refused = Promise.withResolvers<void>();
      let reached = 0;
      const { admitJson } = Account.prototype;
      vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...one) {
        reached += 1;
        // The first one is lost with the object.
        if (reached > 1 || what === 'is refused') await refused.promise;
        else await new Promise(() => {});
        return await admitJson.apply(this, one);
      });
      const [body, asked] = [createBody('Do it.', { tools: [weatherTool()] }), { key: 'k1', hash: 'h' }];
      // Its caller hears nothing more where it dies.
      sendTurnRequest({ ...buildTurnRequest(body, asked), edgeOptions: { background: true } }).catch(() => {});
      await eventually(() => expect(reached).toBe(1));
      if (what !== 'is refused') await abortAllDurableObjects();
      const turn = await begin(body, asked);
      const cancelled = what === 'is refused' ? undefined : stubOf().cancelTurn(String(turn.id));
      refused.resolve();
      await cancelled;
      await eventually(() => expect(told(came)).toHaveLength(1));
      expect(came[0]?.body).toMatchObject({ type: 'turn.ended', turn: { id: turn.id, status } });
      expect((await listMessages())[0]).toMatchObject({ role: 'user', content: 'Do it.' });
    },
  );

  test('begins again by itself when its object dies before the request is sent', async () => {
    for (const [at, more] of [{}, { system: 'Be brief.', temperature: 0.5 }].entries()) {
      const id = `c${at}`;
      const bodies = answerByScript(() => textAnswer('Done.'), { vars: VARS });
      const came = answerTools(() => new Response());
      let reached = 0;
      const { admitJson } = Account.prototype;
      const spy = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...one) {
        reached += 1;
        // The first hold is placed, and the object dies before it knows.
        const answer = await admitJson.apply(this, one);
        return reached === 1 ? await new Promise<never>(() => {}) : answer;
      });
      sendTurnRequest({
        ...buildTurnRequest(createBody('Do it.', more), { id }),
        edgeOptions: { background: true },
      }).catch(() => {});
      await eventually(() => expect(reached).toBe(1));
      await abortAllDurableObjects();
      await eventually(async () => {
        await runDurableObjectAlarm(stubOf(id));
        expect(told(came)).toHaveLength(1);
      });
      spy.mockRestore();
      expect(came[0]?.body).toMatchObject({ turn: { status: 'complete' } });
      expect(bodies).toMatchObject([{ ...more, messages: [{ role: 'user', content: 'Do it.' }] }]);
      expect((await listMessages(id)).map(({ role, status }) => [role, status])).toEqual([
        ['user', 'complete'],
        ['assistant', 'complete'],
      ]);
      await eventually(async () => {
        const { day, running_requests } = await getAccountStub(bindings, {}, 'alice').getQuotaReport();
        expect([day.held_usd, running_requests]).toEqual([0, 0]);
      });
    }
  });

  test.each([
    ['only where its request says so', false, 'interrupted', 1],
    ['and both tries are in the ledger', true, 'complete', 2],
  ])('that may have been sent when its object dies is sent again: %s', async (_, retry, status, tries) => {
    const bodies = answerByScript(() => textAnswer('Done.'), {
      vars: VARS,
      after: () => (bodies.length === 1 ? new Promise(() => {}) : Promise.resolve()),
    });
    const came = answerTools(() => new Response());
    const turn = await begin(createBody('Do it.'), { retry });
    await eventually(() => expect(bodies).toHaveLength(1));
    await abortAllDurableObjects();
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf());
      expect(told(came)).toHaveLength(1);
    });
    expect(came[0]?.body).toMatchObject({ turn: { id: turn.id, status } });
    expect(bodies.map(({ messages }) => messages)).toEqual(Array(tries).fill([{ role: 'user', content: 'Do it.' }]));
    expect((await listMessages())[0]).toMatchObject({ content: 'Do it.' });
    await waitUntilAtRest();
    await eventually(async () => {
      const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({});
      expect(data.map((row) => row.estimated)).toEqual(retry ? [false, true] : [true]);
      expect((await getAccountStub(bindings, {}, 'alice').getQuotaReport()).day.held_usd).toBe(0);
    });
  });

  test('that is sent again and cut before the first event keeps its question, and is interrupted', async () => {
    const bodies = answerByScript(
      () => ({
        ...textAnswer('Done.'),
        change: () => new ReadableStream({ type: 'bytes', start: (c) => c.error(new Error('cut')) }),
      }),
      {
        vars: VARS,
        after: () => (bodies.length === 1 ? new Promise(() => {}) : Promise.resolve()),
      },
    );
    const came = answerTools(() => new Response());
    await begin(createBody('Do it.'), { retry: true });
    await eventually(() => expect(bodies).toHaveLength(1));
    await abortAllDurableObjects();
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf());
      expect(told(came)).toHaveLength(1);
    });
    expect((await listMessages()).map(({ role, content, status }) => [role, content, status])).toEqual([
      ['user', 'Do it.', 'interrupted'],
      ['assistant', [], 'interrupted'],
    ]);
    await waitUntilAtRest();
  });

  test('that is repeated and dies again without output fails, and its question is stored only once', async () => {
    answerByScript(() => textAnswer('Done.'), { vars: VARS, after: () => new Promise(() => {}) });
    const came = answerTools(() => new Response());
    const turns: JsonObject[] = [];
    for (const nth of [1, 2]) {
      turns.push(await begin(createBody('Do it.'), { key: 'one' }));
      await abortAllDurableObjects();
      await eventually(async () => {
        await runDurableObjectAlarm(stubOf());
        expect(told(came)).toHaveLength(nth);
      });
    }
    const [first, second] = turns;
    expect(told(came).map(({ body }) => body)).toMatchObject([
      { turn: { id: first?.id, status: 'interrupted' } },
      { turn: { id: second?.id, status: 'failed' } },
    ]);
    expect((await listMessages()).map(({ turn, role, content }) => [turn, role, content])).toEqual([
      [first?.id, 'user', 'Do it.'],
      [first?.id, 'assistant', []],
    ]);
    await waitUntilAtRest();
  });

  test('keeps its partial response when it is cancelled, and a second cancellation changes nothing', async () => {
    installSimulator({ ...VARS, SIMULATOR_TOKENS_PER_SECOND: '20' });
    const came = answerTools(() => new Response());
    const { id } = await begin(createBody('Tell me a long story.', { max_tokens: 2_000 }));
    const live = await stubOf().resumeTurnStream(undefined);
    if (live.kind !== 'stream') throw new Error(live.kind);
    const reader = (live.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while (!text.includes('text_delta')) text += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();

    const cancelled = await stubOf().cancelTurn(String(id));
    const again = await stubOf().cancelTurn(String(id));
    if (!cancelled.ok || !again.ok) throw new Error('not cancelled');
    const [first, second] = [await readRpcText(cancelled.value as RpcText), await readRpcText(again.value as RpcText)];
    expect(JSON.parse(first)).toMatchObject({ id, status: 'stopped' });
    expect(second).toBe(first);
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(came[0]?.body).toMatchObject({ turn: { id, status: 'stopped' } });
    expect(await stubOf().cancelTurn('turn_unknown')).toMatchObject({ ok: false, error: { status: 404 } });
  });

  test('retries a failed delivery later, with the same id and body', async () => {
    answerByScript(() => textAnswer('Done.'), { vars: VARS });
    const pass = createTimeAdvancer();
    const came = answerTools((_, number) => new Response(null, { status: number < 3 ? 500 : 200 }));
    const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
    await begin(createBody('Do it.'), { deliverUrl: 'https://hooks.example.com/own' });
    await eventually(() => expect(told(came)).toHaveLength(1));
    for (const times of [2, 3]) {
      await waitUntilAtRest();
      pass(HOUR_MS);
      await eventually(async () => {
        await runDurableObjectAlarm(stubOf());
        expect(told(came)).toHaveLength(times);
      });
    }
    pass(HOUR_MS);
    await runDurableObjectAlarm(stubOf());
    expect(came.map(({ url }) => url)).toEqual(Array(3).fill('https://hooks.example.com/own'));
    expect(new Set(came.map(({ text }) => text)).size).toBe(1);
    expect(new Set(came.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1);
    const lines = logging.mock.calls.map(([line]) => JSON.parse(String(line)) as Record<string, unknown>);
    expect(lines.filter(({ task }) => task === 'delivery')).toMatchObject([
      { error: 'DeliveryFailedError 500', attempt: 1 },
      { error: 'DeliveryFailedError 500', attempt: 2 },
    ]);
  });
});

describe('a background run whose next step', () => {
  const busy = () => createErrorResponse(529, 'overloaded_error');
  /** Begins a run whose tool is called, and then the upstream is as `sky` says. */
  async function waitingRun(more: object = {}) {
    const sky = { isDown: true };
    const pass = createTimeAdvancer();
    const bodies = answerByScript(
      ({ messages }) =>
        messages.length === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : sky.isDown ? busy() : textAnswer('Sun.'),
      { vars: VARS },
    );
    const came = answerTools(() => new Response('sun'));
    const turn = await begin(createBody('How is it?', { tools: [weatherTool()], ...more }));
    await eventually(async () => expect(await fetchTurn(turn.id)).toMatchObject(WAITS));
    /** Lets time pass, and has the alarm wake the object. */
    const wakeAfter = async (ms: number) => {
      pass(ms);
      await runDurableObjectAlarm(stubOf());
    };
    return { turn, sky, bodies, came, wakeAfter };
  }
  const WAITS = { status: 'running', paused: 'upstream', ended_at: null };
  const toolCalls = (came: readonly ToolServerCall[]) => came.filter(({ url }) => url === TOOL_URL).length;

  test('meets a busy upstream waits and continues as the same turn, and its tool is not called again', async () => {
    const { turn, sky, bodies, came, wakeAfter } = await waitingRun();
    // The upstream is still busy: it waits longer.
    await wakeAfter(HOUR_MS);
    await eventually(async () => {
      expect(bodies).toHaveLength(3);
      expect(await fetchTurn(turn.id)).toMatchObject(WAITS);
    });
    expect(told(came)).toEqual([]);
    sky.isDown = false;
    await wakeAfter(HOUR_MS);
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(turnEnded.parse(came.at(-1)?.body)).toMatchObject({
      turn: { id: turn.id, status: 'complete', paused: null },
      message: { stop_reason: 'end_turn' },
    });
    expect(toolCalls(came)).toBe(1);
    await waitUntilAtRest();
  });

  test('waits is not retried early, and holds no budget meanwhile', async () => {
    const { turn, bodies, wakeAfter } = await waitingRun();
    await wakeAfter(1_000);
    expect(await fetchTurn(turn.id)).toMatchObject(WAITS);
    expect(bodies).toHaveLength(2);
    const { day } = await getAccountStub(bindings, {}, 'alice').getQuotaReport();
    expect(day.held_usd).toBe(0);
    await stubOf().cancelTurn(String(turn.id));
  });

  test('waits survives fifteen crashes of its object, and only the alarm wakes it', async () => {
    const { turn, sky, came, wakeAfter } = await waitingRun();
    for (let deaths = 0; deaths < 15; deaths += 1) {
      await abortAllDurableObjects();
      await wakeAfter(0);
      expect(await fetchTurn(turn.id)).toMatchObject(WAITS);
      if (deaths % 3 !== 0) continue;
      await wakeAfter(HOUR_MS);
      await eventually(async () => expect(await fetchTurn(turn.id)).toMatchObject(WAITS));
    }
    sky.isDown = false;
    await abortAllDurableObjects();
    await wakeAfter(HOUR_MS);
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(came.at(-1)?.body).toMatchObject({ turn: { id: turn.id, status: 'complete', paused: null } });
    expect(toolCalls(came)).toBe(1);
    await waitUntilAtRest();
  });

  test('does not fit into its budget waits until the budget is renewed', async () => {
    const pass = createTimeAdvancer();
    const usage = { input_tokens: 100, output_tokens: 200 };
    answerByScript(
      ({ messages }) =>
        messages.length === 1 ? { ...callsAnswer(weatherCall('toolu_1', 'Bern')), usage } : textAnswer('Sun.'),
      { vars: VARS },
    );
    // A stub belongs to the object that has made it: the conversation, or the test.
    const account = () => getAccountStub(bindings, {}, 'alice');
    const came = answerTools(async ({ url }) => {
      // The next step reserves 0.0086: less than the limit, and more than the first step has left of it.
      if (url === TOOL_URL) await account().setLimits({ usd_per_day: 0.01 });
      return new Response('sun');
    });
    const { id } = await begin(createBody('How is it?', { tools: [weatherTool()] }));
    await eventually(async () => expect(await fetchTurn(id)).toMatchObject({ status: 'running', paused: 'budget' }));
    await account().setLimits({ usd_per_day: 5 });
    pass(24 * HOUR_MS);
    await runDurableObjectAlarm(stubOf());
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(came.at(-1)?.body).toMatchObject({ turn: { id, status: 'complete', paused: null } });
    await waitUntilAtRest();
  });

  test('waits for more than a day pauses, and the next message continues it', async () => {
    const { turn, sky, came, wakeAfter } = await waitingRun();
    await wakeAfter(25 * HOUR_MS);
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(came.at(-1)?.body).toMatchObject({ turn: { id: turn.id, status: 'complete', paused: 'upstream' } });
    await waitUntilAtRest();
    sky.isDown = false;
    await begin(createBody('Go on.', { tools: [weatherTool()] }));
    await eventually(() => expect(told(came)).toHaveLength(2));
    expect(came.at(-1)?.body).toMatchObject({ turn: { status: 'complete', paused: null } });
    expect(toolCalls(came)).toBe(1);
  });

  test.each([
    ['is cancelled', async (turn: unknown) => void (await stubOf().cancelTurn(String(turn))), { status: 'stopped' }],
    ['would wait beyond its max_seconds', undefined, { status: 'complete', paused: 'upstream' }],
  ])('waits and %s ends at once', async (_, end, ended) => {
    const { turn, came, wakeAfter } = await waitingRun(end ? {} : { max_seconds: 3_600 });
    if (end) await end(turn.id);
    else await wakeAfter(HOUR_MS - 60_000);
    await eventually(() => expect(told(came)).toHaveLength(1));
    expect(came.at(-1)?.body).toMatchObject({ turn: { id: turn.id, ...ended } });
    await waitUntilAtRest();
  });
});

const KILLED = caseCount(100);

test(`${KILLED} background turns and runs end and deliver under one event id whenever the object dies`, async () => {
  let isReached = false;
  // An object that is killed waits for ever; the next one does not.
  const waits = async () => {
    isReached = true;
    await new Promise(() => {});
  };
  answerByScript(
    (body) =>
      Array.isArray(body.tools) && !JSON.stringify(body.messages).includes('tool_result')
        ? callsAnswer({ type: 'text', text: 'I look. ' }, weatherCall('toolu_1', 'Bern'))
        : textAnswer('Sun.'),
    { vars: VARS, before: () => (point === 'before the answer' ? waits() : Promise.resolve()) },
  );
  let point = '';
  const came = answerTools(async ({ url }) => {
    if (url === TOOL_URL && point === 'in a call') await waits();
    if (url === HOOK && point === 'in the delivery') await waits();
    return new Response('sun');
  });
  const places = ['at once', 'before the answer', 'in a call', 'in the delivery'];
  const points = fc.constantFrom(...places);
  const counts: Record<string, number> = {};
  let number = 0;
  await tryAsyncCases(
    // Chance alone leaves one of the places out once in eighty times.
    { numRuns: KILLED, examples: places.map((place) => [place, true]) },
    points,
    fc.boolean(),
    async (where, isRun) => {
      number += 1;
      const id = `k${number}`;
      counts[where] = (counts[where] ?? 0) + 1;
      point = where;
      isReached = false;
      const turn = await begin(createBody('How is it?', isRun ? { tools: [weatherTool()] } : {}), { id });
      // An object cannot be aborted from inside: what it says is looked at from out here.
      const isMet = where !== 'at once' && (where !== 'in a call' || isRun);
      if (isMet) await waitForCondition(() => isReached);
      point = '';
      await abortAllDurableObjects();
      // Nobody asks: only its alarm wakes it.
      await eventually(async () => {
        await runDurableObjectAlarm(stubOf(id));
        const own = told(came).filter(({ body }) => body.conversation === id);
        expect(own.length).toBeGreaterThan(0);
      });
      const own = told(came).filter(({ body }) => body.conversation === id);
      expect(new Set(own.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1);
      const ended = own.at(-1)?.body.turn as JsonObject;
      expect(ended.id).toBe(turn.id);
      expect(ended.status).not.toBe('running');
      expect(await fetchTurn(turn.id, id)).toMatchObject({ status: ended.status });
      expect((await listMessages(id))[0]).toMatchObject({ role: 'user', content: 'How is it?' });
    },
  );
  expect(Object.keys(counts)).toHaveLength(4);
  // biome-ignore lint/suspicious/noConsole: the table of the kills.
  console.log(`turns in the background, killed: ${JSON.stringify(counts)}`);
});

describe('POST /messages', () => {
  test('begins a background turn that DELETE cancels, and rejects invalid parameters with 400', async () => {
    answerByScript(() => textAnswer('Done.'), { vars: VARS });
    answerTools(() => new Response());
    const app = createTestApp(() => Response.json({}));
    const response = await app.post('/v1/messages', { ...createBody('Do it.'), conversation: 'c1', background: true });
    expect(response.status).toBe(202);
    const turn = turnReport.parse(await response.json());
    expect(response.headers.get('location')).toBe(`/conversations/c1/turns/${turn.id}`);
    expect(response.headers.get('sluice-turn')).toBe(turn.id);
    const cancelled = await app.fetch(`/conversations/c1/turns/${turn.id}`, { method: 'DELETE' });
    expect(cancelled.status).toBe(200);
    expect(await cancelled.json()).toMatchObject({ id: turn.id, conversation: 'c1' });

    for (const [body, said] of [
      [{ ...createBody('Do it.'), background: true }, /background: requires a conversation/],
      [
        { ...createBody('Do it.'), conversation: 'c2', background: 'yes' },
        /background: Input should be a valid boolean/,
      ],
      [{ ...createBody('Do it.'), conversation: 'c2', retry: true }, /retry: supported only with `background`/],
      [
        { ...createBody('Do it.'), conversation: 'c2', deliver_url: 'https://a.test/' },
        /deliver_url: the operator must add its host/,
      ],
    ] as const) {
      const refused = await app.post('/messages', body);
      expect(refused.status).toBe(400);
      expect((await readError(refused)).message).toMatch(said);
    }
    await app.waitUntilSettled();
  });
});
