import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { bindings, listMessages, readConversation, stubOf } from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import {
  createConversationWith,
  createLongText,
  installSimulatorUnless,
  isSummaryRequest,
  questionBody,
  readBooked,
  readSummaries,
  readSummaryRows,
  sendManyTurns,
  type UpstreamBody,
} from '#test/support/summaries.ts';
import { buildTurnRequest, sendTurn, sendTurnRequest, type TurnRequestOptions } from '#test/support/turns.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

/** Has the first summary wait at the upstream until it is let go. (A promise of the test must not wake another object.) */
function held() {
  const state = { isGoing: false, asked: 0 };
  const up = installSimulatorUnless(async (body: UpstreamBody, { signal }) => {
    if (!isSummaryRequest(body)) return undefined;
    state.asked += 1;
    if (state.asked > 1) return undefined;
    await waitForCondition(() => {
      signal?.throwIfAborted();
      return state.isGoing;
    });
    return undefined;
  });
  return {
    ...up,
    go: () => {
      state.isGoing = true;
    },
  };
}

const read = async (asked: TurnRequestOptions = {}, content = createLongText(90)) => {
  const answer = await sendTurn(questionBody(content), asked);
  if (answer.kind === 'stream') await new Response(answer.body).text();
  return answer;
};

/** Talks until a turn waits for a summary. `talking` is that talk to its end */
async function untilAsked(up: ReturnType<typeof held>): Promise<{ talking: Promise<unknown> }> {
  await createConversationWith();
  const talking = sendManyTurns(11).catch((thrown: unknown) => thrown);
  await eventually(() => expect(up.sent.some(isSummaryRequest)).toBe(true));
  return { talking };
}

test('stopping a turn that waits for a summary also stops the summary, and the turn is not sent', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  let isOver = false;
  void talking.then(() => {
    isOver = true;
  });
  await eventually(async () => {
    // While none runs, only one that waits can be meant.
    if ((await readConversation())?.state === 'idle') await stubOf().stopRunningTurn();
    expect(isOver).toBe(true);
  });
  expect(await talking).toMatchObject({ message: expect.stringContaining('stopped before the response began') });
  const said = up.sent.filter((body) => !isSummaryRequest(body)).length;
  expect(await listMessages()).toHaveLength(2 * said);
  expect(await readSummaryRows()).toMatchObject([{ status: 'failed' }]);
  up.go();
  expect(await read()).toMatchObject({ kind: 'stream' });
  await readBooked();
});

test('twenty concurrent turns share one summary, and return 409 while another turn runs', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  const all = Array.from({ length: 20 }, () => read());
  await eventually(() => expect(up.sent.filter(isSummaryRequest)).toHaveLength(1));
  up.go();
  const kinds = (await Promise.all(all)).map((answer) => (answer.kind === 'error' ? answer.error.status : answer.kind));
  await talking;
  await readBooked();
  expect(new Set(kinds.filter((kind) => kind !== 'stream'))).toEqual(new Set([409]));
});

test('a request that is repeated while it waits for a summary is one turn', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  const request = buildTurnRequest(questionBody('Once only'), { key: 'k1' });
  const both = [
    sendTurnRequest({ ...request }),
    sendTurnRequest({ ...request, call: { ...request.call, isClientRetry: true } }),
  ];
  up.go();
  const answers = await Promise.all(both);
  await talking;
  for (const answer of answers) if (answer.kind === 'stream') await new Response(answer.body).text();
  await readBooked();
  expect((await listMessages()).filter(({ content }) => content === 'Once only').length).toBeLessThanOrEqual(1);
});

test.each([
  { name: 'a rewind', act: async () => await stubOf().rewindConversation(String((await listMessages())[0]?.id)) },
  { name: 'a patch to no limit', act: () => stubOf().patchConversation({ history: null }) },
  {
    name: 'a patch to truncate',
    act: () => stubOf().patchConversation({ history: { max_tokens: 1_000, strategy: 'truncate' } }),
  },
  {
    name: 'a patch to a lower limit',
    act: () => stubOf().patchConversation({ history: { max_tokens: 900, strategy: 'summarize' } }),
  },
  { name: 'a fork', act: () => stubOf().forkConversation('c2', undefined) },
])('$name during a summary leaves the ledger correct, and the next turn completes', async ({ act }) => {
  const up = held();
  const { talking } = await untilAsked(up);
  await act();
  up.go();
  await talking;
  expect((await read()).kind).toBe('stream');
  expect((await read({}, 'And then?')).kind).toBe('stream');
  await readBooked();
  for (const { status } of await readSummaryRows()) expect(status).not.toBe('running');
});

test('deleting a conversation during a summary ends the summary, settles it, and leaves no data', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  await stubOf().erase();
  expect(await readConversation()).toBeUndefined();
  const account = getAccountStub(bindings, {}, 'alice');
  await eventually(async () => {
    expect(await account.getQuotaReport()).toMatchObject({ running_requests: 0, day: { held_usd: 0 } });
  });
  expect((await account.listRequests({ limit: 100 })).data.filter(({ route }) => route === 'summary')).toHaveLength(1);
  await eventually(async () => {
    await runDurableObjectAlarm(stubOf());
    const tables = await runInDurableObject(stubOf(), (_, { storage }) =>
      storage.sql.exec("select name from sqlite_master where name = 'turns'").toArray(),
    );
    expect(tables).toEqual([]);
  });
  await talking;
});

test('a deleted conversation with an unsettled summary is removed once the summary is settled', async () => {
  const up = held();
  const lost = { settlements: false, alarms: 0 };
  const { settleJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (this: Account, ...of) {
    if (!String(of[0]).includes('"summary"')) return settleJson.apply(this, of);
    if (lost.settlements) return Promise.reject(new Error('lost')) as never;
    // It comes back later than everything else that alarms ask.
    return waitForCondition(() => lost.alarms > 3).then(() => settleJson.apply(this, of)) as never;
  });
  const { talking } = await untilAsked(up);
  lost.settlements = true;
  await stubOf().erase();
  lost.settlements = false;
  let isLeft = true;
  for (let round = 0; isLeft && round < 200; round += 1) {
    await runDurableObjectAlarm(stubOf());
    lost.alarms += 1;
    await yieldToEventLoop(5);
    const { tables, alarm } = await runInDurableObject(stubOf(), async (_, { storage }) => ({
      tables: storage.sql.exec("select name from sqlite_master where name = 'turns'").toArray(),
      alarm: await storage.getAlarm(),
    }));
    isLeft = tables.length > 0;
    // As long as something is left, something wakes it.
    if (isLeft) expect(alarm).not.toBeNull();
  }
  expect(isLeft).toBe(false);
  await talking;
});

test('settles a summary when its object wakes after a crash, and starts the next one only after another response', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  await abortAllDurableObjects();
  await stubOf().read();
  await eventually(async () => expect((await readSummaryRows()).every(({ settled }) => settled)).toBe(true));
  expect(await readSummaryRows()).toMatchObject([{ status: 'failed', settled: true }]);
  expect((await readBooked()).summaries).toBeGreaterThan(0);
  await sendManyTurns(2, 50);
  await eventually(async () => expect(await readSummaries()).toHaveLength(1));
  const [died, next] = await readSummaryRows();
  expect(next?.turn).toBeGreaterThan(died?.turn ?? 0);
  await readBooked();
  await talking;
});

test('a turn continues without a summary if the account does not answer the summary’s admission', async () => {
  installSimulatorUnless(undefined, { vars: { HOLD_WAIT_MS: '0' } });
  await createConversationWith();
  const { admitJson } = Account.prototype;
  const spy = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(function (this: Account, ...of) {
    if (String(of[0]).includes('"route":"summary"')) return new Promise(() => {}) as never;
    return admitJson.apply(this, of);
  });
  const { setTimeout: wait } = globalThis;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms?: number) =>
    wait(run, ms === 45_000 ? 200 : ms)) as typeof setTimeout);
  expect((await sendManyTurns(11)).at(-1)).toBe('truncated');
  spy.mockRestore();
  await readBooked();
});

test('a turn continues without a summary if the account cannot be reached for it', async () => {
  installSimulatorUnless();
  await createConversationWith();
  const { admitJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(function (this: Account, ...of) {
    if (!String(of[0]).includes('"route":"summary"')) return admitJson.apply(this, of);
    // Its hold is placed, and the answer is lost.
    void admitJson.apply(this, of);
    throw new Error('lost');
  });
  expect((await sendManyTurns(11)).at(-1)).toBe('truncated');
  await readBooked();
});

test('a turn continues without a summary if the table of summaries cannot be written', async () => {
  installSimulatorUnless();
  await createConversationWith();
  await runInDurableObject(stubOf(), (_, { storage }) => {
    storage.sql.exec('create table summaries (id integer primary key)');
  });
  expect((await sendManyTurns(11)).at(-1)).toBe('truncated');
  await stubOf().erase();
  expect(await readConversation()).toBeUndefined();
});

test('a summary ends when its token is revoked, and another token can continue the conversation', async () => {
  const up = held();
  await createConversationWith();
  const { caller: identity } = buildTurnRequest({});
  const now = Math.floor(Date.now() / 1_000);
  const times = { issued_at: now - 60, expires_at: now + 3_600 };
  const token = { jti: 'lost', ...times, scopes: ['messages'], label: undefined, issuer: 'edge' } as const;
  const by = { ...identity, token } as typeof identity;
  let answer: Awaited<ReturnType<typeof sendTurnRequest>> | undefined;
  const talking = (async () => {
    for (let turn = 0; answer?.kind !== 'error' && turn < 12; turn += 1) {
      answer = await sendTurnRequest({ ...buildTurnRequest(questionBody(createLongText(turn))), caller: by });
      if (answer.kind === 'stream') await new Response(answer.body).text();
    }
  })();
  await eventually(() => expect(up.sent.some(isSummaryRequest)).toBe(true));
  await getAccountStub(bindings, {}, 'alice').revokeToken('lost');
  await talking;
  expect(answer).toMatchObject({ kind: 'error', error: { status: 401 } });
  await eventually(async () => expect((await readSummaryRows())[0]).toMatchObject({ status: 'failed', settled: true }));
  expect(await sendManyTurns(1, 50)).not.toEqual([]);
  await readBooked();
});

test('background turns that wait for a summary complete after it', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  up.go();
  await talking;
  for (let turn = 20; turn < 30; turn += 1) {
    const answer = await sendTurnRequest({
      ...buildTurnRequest(questionBody(createLongText(turn))),
      edgeOptions: { background: true },
    });
    expect(answer).toMatchObject({ kind: 'response', status: 202 });
    await eventually(async () => expect((await readConversation())?.state).toBe('idle'));
  }
  expect((await readSummaries()).length).toBeGreaterThan(1);
  await readBooked();
  const asked = (await listMessages()).filter(({ role }) => role === 'user');
  expect(asked.map(({ content }) => content)).toEqual(expect.arrayContaining([createLongText(20), createLongText(29)]));
});

test('erasing the account during a summary leaves no data', async () => {
  const up = held();
  const { talking } = await untilAsked(up);
  await stubOf().erase({ account: 'alice', id: 'c1' }, true);
  await eventually(async () => {
    await runDurableObjectAlarm(stubOf());
    const tables = await runInDurableObject(stubOf(), (_, { storage }) =>
      storage.sql.exec("select name from sqlite_master where name = 'turns'").toArray(),
    );
    expect(tables).toEqual([]);
  });
  await talking;
});
