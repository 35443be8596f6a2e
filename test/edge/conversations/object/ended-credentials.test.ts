import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import type { VerifiedToken } from '#edge/auth/identity/caller.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { verifyToken } from '#edge/auth/verify.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { BodyMemoryShare, bodyMemory } from '#edge/kit/http/body-memory.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import type { Account } from '#edge/money/account/account.ts';
import { createTestApp, createBody as streamOf } from '#test/support/app.ts';
import {
  bindings,
  fetchApprovals,
  fetchTurn,
  installSimulator,
  listMessages,
  sendDecision,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';
import { buildTurnRequest, createBody, readStream, runTurn, sendTurnRequest } from '#test/support/turns.ts';
import { sseResponse } from '#test/support/wire.ts';

const account = () => getAccountStub(bindings, {}, 'alice');
const reasonOf = (text: string) => /: sluice-paused=(\w+)/.exec(text)?.[1];
const NEXT_SECRET = `${SECRET}-next`;

/** @returns a token as it was verified, which expires in so many seconds */
function verified(jti: string, seconds = 3_600): VerifiedToken {
  const now = Math.floor(Date.now() / 1_000);
  const times = { issued_at: now - 60, expires_at: now + seconds };
  return { jti, ...times, scopes: ['messages'], label: undefined, issuer: 'edge' };
}

async function runWith(token: VerifiedToken, body: object, id = 'c1') {
  const request = buildTurnRequest(body, { id });
  const answer = await sendTurnRequest({ ...request, caller: { ...request.caller, token } });
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
  return { turn: answer.turn, listening: readStream(answer.body) };
}

/** Waits until every conversation has been told. */
async function told(): Promise<void> {
  await eventually(async () => {
    const left = await runInDurableObject(account(), (_, { storage }) =>
      storage.sql.exec("select value from meta where key = 'untold'").toArray(),
    );
    expect(left).toEqual([]);
  });
}

/** An upstream that says a word, and then nothing until somebody leaves. */
function speaking(): void {
  const text = createMessageEventStream({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-opus-5-5',
    stop_reason: 'end_turn',
    content: [{ type: 'text', text: 'Once upon' }],
    usage: { input_tokens: 10, output_tokens: 10 },
  });
  const said = text.slice(0, text.indexOf('event: content_block_stop'));
  answerByScript(() => sseResponse(streamOf([said], 'silence')));
}

/** What ends the token `lost`, and leaves that of others as it is. */
const ENDS: [string, () => Promise<unknown>][] = [
  ['it is revoked', async () => await account().revokeToken('lost')],
  ['all tokens of its account are revoked', async () => await account().revokeAllTokens()],
];

const pay = () => ({ ...weatherTool({ approval: 'always' }, 'pay') });
const payment = () => callsAnswer({ type: 'tool_use', id: 'toolu_1', name: 'pay', input: { city: 'Bern' } });

async function approve(id = 'c1'): Promise<string> {
  const [approval] = await fetchApprovals(id);
  const decision = { decision: 'approve', id: String(approval?.id), isAdmin: false, requestId: createRequestId() };
  const result = await sendDecision(stubOf(id), decision);
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value.turn;
}

async function ended(turn: string, id = 'c1') {
  await eventually(async () => expect((await fetchTurn(turn, id)).status).not.toBe('running'));
  return await fetchTurn(turn, id);
}

describe('a running turn', () => {
  test.each(ENDS)('with a token stops once %s, and keeps the partial response', async (_, end) => {
    speaking();
    const { listening, turn } = await runWith(verified('lost'), createBody('Tell me.'));
    await end();
    const { text } = await listening;
    expect(text).toContain(': sluice-stopped\n');
    expect(await fetchTurn(turn)).toMatchObject({ status: 'stopped' });
    expect((await listMessages()).at(-1)).toMatchObject({
      role: 'assistant',
      content: [{ type: 'text', text: 'Once upon' }],
    });
    await waitUntilAtRest();
  });

  test('with another token or none continues after a revocation', async () => {
    speaking();
    const other = await runWith(verified('other'), createBody('Tell me.'));
    const none = await sendTurnRequest(buildTurnRequest(createBody('Tell me.'), { id: 'c2' }));
    if (none.kind !== 'stream') throw new Error(JSON.stringify(none));
    await account().revokeToken('lost');
    for (const id of ['c1', 'c2']) await stubOf(id).stopIfCredentialEnded();
    expect(await fetchTurn(other.turn)).toMatchObject({ status: 'running' });
    expect(await fetchTurn(none.turn, 'c2')).toMatchObject({ status: 'running' });
    for (const id of ['c1', 'c2']) await stubOf(id).stopRunningTurn();
    await Promise.all([other.listening, readStream(none.body)]);
    await waitUntilAtRest();
  });

  test("is stopped by the account's next alarm if its object could not be reached", async () => {
    speaking();
    const { listening } = await runWith(verified('lost'), createBody('Tell me.'));
    let tries = 0;
    const spy = vi.spyOn(Conversation.prototype, 'stopIfCredentialEnded');
    spy.mockImplementationOnce(async () => {
      tries += 1;
      throw new Error('lost on the way');
    });
    await account().revokeToken('lost');
    await eventually(() => expect(tries).toBe(1));
    await runDurableObjectAlarm(account());
    expect((await listening).text).toContain(': sluice-stopped\n');
    await told();
    await waitUntilAtRest();
  });

  test('is stopped and deleted once its account is erased', async () => {
    speaking();
    const { listening, turn } = await runWith(verified('lost'), createBody('Tell me.'));
    await runInDurableObject(account(), (object: Account) => object.erase());
    expect((await listening).text).toContain(': sluice-stopped\n');
    await eventually(async () => expect((await stubOf().readTurnReport(turn)).ok).toBe(false));
  });
});

describe('a run', () => {
  test.each(ENDS)('with a token makes no further call once %s, and reports the reason for its end', async (_, end) => {
    const bodies = answerByScript(() =>
      callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Rome'), weatherCall('toolu_3', 'Oslo')),
    );
    const came = answerTools(async () => {
      await end();
      await told();
      return new Response('sun');
    });
    const { listening, turn } = await runWith(
      verified('lost'),
      createBody('How is it?', { tools: [weatherTool()], parallel_tools: 1 }),
    );
    expect(reasonOf((await listening).text)).toBe('revoked');
    expect(came.map(({ body }) => body.tool_use_id)).toEqual(['toolu_1']);
    expect(bodies).toHaveLength(1);
    expect(await fetchTurn(turn)).toMatchObject({ status: 'complete', paused: 'revoked' });
    // What came is not lost, and the history holds for who may go on.
    await waitUntilAtRest();
    answerByScript((body) => textAnswer(JSON.stringify(body.messages)));
    const { text } = await runTurn(createBody('Go on.', { tools: [weatherTool()] }));
    expect(text).toContain('sun');
    expect(text).toContain('This tool was not called, because the credential');
  });

  test.each(ENDS)('with a token stops waiting for memory once %s', async (_, end) => {
    answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
    const others = [36, 4].map((megabytes) => ({ megabytes, share: new BodyMemoryShare(bodyMemory) }));
    answerTools(() => {
      for (const { megabytes, share } of others) share.reserveBytes(megabytes * 1024 * 1024);
      return new Response('sun');
    });
    const asked = { ...createBody('How is it?', { tools: [weatherTool()] }), system: 'x'.repeat(100_000) };
    const { turn, listening } = await runWith(verified('lost'), asked);
    await eventually(() => expect(bodyMemory.waitingShares.size).toBe(1));
    await end();
    await told();
    await eventually(() => expect(bodyMemory.waitingShares.size).toBe(0)).finally(() => {
      for (const { share } of others) share.releaseMemory();
    });
    expect(reasonOf((await listening).text)).toBe('revoked');
    expect(await fetchTurn(turn)).toMatchObject({ status: 'complete', paused: 'revoked' });
    await waitUntilAtRest();
  });

  test('that waits for an approval makes no tool call once its token is revoked', async () => {
    answerByScript(payment);
    const came = answerTools(() => new Response('paid'));
    await (await runWith(verified('lost'), createBody('Pay.', { tools: [pay()] }))).listening;
    await account().revokeToken('lost');
    const turn = await approve();
    expect(await ended(turn)).toMatchObject({ status: 'complete', paused: 'revoked' });
    expect(came).toEqual([]);
    await waitUntilAtRest();
    answerByScript((body) => textAnswer(JSON.stringify(body.messages)));
    expect((await runTurn(createBody('Go on.', { tools: [pay()] }))).text).toContain(
      'This tool was not called, because the credential',
    );
  });

  test.each(ENDS)(
    'with a token makes no further call once %s, also if an approval resumed the run days later',
    async (_, end) => {
      const input = (city: string) => ({ type: 'tool_use', id: `toolu_${city}`, name: 'pay', input: { city } });
      answerByScript((body) =>
        JSON.stringify(body.messages).includes('tool_result')
          ? textAnswer('Paid.')
          : callsAnswer(input('Bern'), input('Rome')),
      );
      const came = answerTools(async () => {
        await end();
        await told();
        return new Response('paid');
      });
      const asked = createBody('Pay.', { tools: [pay()], parallel_tools: 1 });
      await (await runWith(verified('lost'), asked)).listening;
      await runInDurableObject(account(), (_object, { storage }) => {
        storage.sql.exec('update ledger set at = at - 172800000');
      });
      await approve();
      expect(await ended(await approve())).toMatchObject({ paused: 'revoked' });
      expect(came).toHaveLength(1);
      await waitUntilAtRest();
    },
  );

  test('that waits for approval resumes 40 days after its token expired, but not after 91 days or a revocation', async () => {
    answerByScript((body) => (JSON.stringify(body.messages).includes('tool_result') ? textAnswer('Paid.') : payment()));
    const came = answerTools(() => new Response('paid'));
    const old = -40 * 86_400;
    await (await runWith(verified('short', old), createBody('Pay.', { tools: [pay()] }))).listening;
    await (await runWith(verified('lost', old), createBody('Pay.', { tools: [pay()] }), 'c2')).listening;
    await account().revokeToken('lost');
    await told();
    await runDurableObjectAlarm(account());
    expect(await ended(await approve())).toMatchObject({ status: 'complete', paused: null });
    expect(await ended(await approve('c2'), 'c2')).toMatchObject({ paused: 'revoked' });
    expect(came).toHaveLength(1);
    // Three months later nobody knows any more.
    await (await runWith(verified('forgotten', -91 * 86_400), createBody('Pay.', { tools: [pay()] }), 'c3')).listening;
    expect(await ended(await approve('c3'), 'c3')).toMatchObject({ paused: 'revoked' });
    await waitUntilAtRest();
  });

  test('checks its credential before it resumes after a crash', async () => {
    answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
    const called = Promise.withResolvers<void>();
    const came = answerTools(async () => {
      called.resolve();
      return await new Promise(() => {});
    });
    const { turn, listening } = await runWith(verified('lost'), createBody('How is it?', { tools: [weatherTool()] }));
    await called.promise;
    // Nobody is told: the account dies with it, and its alarm comes later.
    const spy = vi
      .spyOn(Conversation.prototype, 'stopIfCredentialEnded')
      .mockRejectedValue(new Error('lost on the way'));
    await account().revokeToken('lost');
    await abortAllDurableObjects();
    await listening;
    expect(await ended(turn)).toMatchObject({ paused: 'revoked' });
    expect(came).toHaveLength(1);
    spy.mockRestore();
    await runDurableObjectAlarm(account());
    await told();
    await waitUntilAtRest();
  });

  test('resumes after a rotation of the secret as long as the previous secret is accepted', async () => {
    const during = (settings: Record<string, string>) => {
      answerByScript(
        (body) => (JSON.stringify(body.messages).includes('tool_result') ? textAnswer('Paid.') : payment()),
        {
          vars: settings,
        },
      );
    };
    const settings = installSimulator({ ...TOOL_VARS, SIGNING_SECRET: SECRET });
    const { token } = await mintToken(SECRET, { account: 'alice', scopes: ['messages'] });
    const identity = await verifyToken(token, settings);
    const lost = identity.token as VerifiedToken;
    during({ SIGNING_SECRET: SECRET });
    const came = answerTools(() => new Response('paid'));
    for (const id of ['c1', 'c2']) await (await runWith(lost, createBody('Pay.', { tools: [pay()] }), id)).listening;
    during({ SIGNING_SECRET: NEXT_SECRET, SIGNING_SECRET_PREVIOUS: SECRET });
    expect(await ended(await approve())).toMatchObject({ status: 'complete', paused: null });
    during({ SIGNING_SECRET: NEXT_SECRET });
    expect(await ended(await approve('c2'), 'c2')).toMatchObject({ paused: 'revoked' });
    expect(came).toHaveLength(1);
    await waitUntilAtRest();
  });
});

test('a response without a conversation continues to its end after a revocation', async () => {
  const spoken = Promise.withResolvers<void>();
  const text = createMessageEventStream({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-opus-5-5',
    stop_reason: 'end_turn',
    content: [{ type: 'text', text: 'Once upon' }],
    usage: { input_tokens: 10, output_tokens: 10 },
  });
  const app = createTestApp(async () => {
    await spoken.promise;
    return sseResponse(text);
  }, DEPLOYED_VARS);
  const answering = app.post('/messages', createBody('Tell me.'), bearerHeader(await createToken('alice')));
  await eventually(() => expect(app.sent).toHaveLength(1));
  await account().revokeAllTokens();
  spoken.resolve();
  expect(await (await answering).text()).toContain('message_stop');
  await app.waitUntilSettled();
});
