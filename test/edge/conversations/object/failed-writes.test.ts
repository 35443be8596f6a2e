/** A conversation and its account after one write that fails: both answer again, and nothing is left that nobody ends. */
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import { addConversationCost } from '#edge/conversations/turn/turn-ending.ts';
import { DurableObjectAlarm } from '#edge/durable/alarm.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import {
  bindings,
  createTimeAdvancer,
  installSimulator,
  listMessages,
  readConversation,
  readStoredLog,
  stubOf,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { waitForObject } from '#test/support/pending-work.ts';
import { answerByScript, textAnswer, weatherTool } from '#test/support/scripted-runs.ts';
import { createBody, runTurn, sendTurn } from '#test/support/turns.ts';

const failing = () => {
  throw new Error('the write failed');
};

test('ends an interrupted turn at the second wake if a write fails at the first', async () => {
  installSimulator();
  const answer = await sendTurn(createBody('Hello', { max_tokens: 2_000 }), { simulate: 'tps=100;flush' });
  if (answer.kind !== 'stream') throw new Error('no stream');
  const reader = answer.body.getReader();
  await reader.read();
  await eventually(async () => expect(await readStoredLog()).toContain('event: content_block_delta'));
  await abortAllDurableObjects();
  const write = vi.spyOn(Transcript.prototype, 'storeTurnEnd').mockImplementationOnce(failing);
  await runInDurableObject(stubOf(), (conversation: Conversation) => {
    expect(() => conversation.endInterruptedTurns()).toThrow('the write failed');
  });
  expect(write).toHaveBeenCalledTimes(1);
  await stubOf().endInterruptedTurns();
  expect((await listMessages()).at(-1)).toMatchObject({ role: 'assistant', status: 'interrupted' });
  await runTurn(createBody('Go on'));
  expect(await listMessages()).toHaveLength(4);
});

test('sets the alarm of a new conversation even if storing the conversation fails', async () => {
  installSimulator();
  vi.spyOn(Transcript.prototype, 'storeFrozenText').mockImplementationOnce(failing);
  expect(await sendTurn({ ...createBody('Hello'), system: 'Be brief.' })).toMatchObject({ kind: 'error' });
  await runInDurableObject(stubOf(), async (_, { storage }) => {
    expect(new Transcript(storage).storedProfile).toMatchObject({ exists: false });
    expect(await storage.getAlarm()).not.toBeNull();
  });
});

test('keeps the stored profile when a transaction is rolled back', async () => {
  installSimulator();
  await runTurn(createBody('Hello'));
  await runInDurableObject(stubOf(), (_, { storage }) => {
    const transcript = new Transcript(storage);
    const { storedProfile } = transcript;
    const change = () => {
      addConversationCost(transcript, 5_000, Date.now(), { unreported: true });
      failing();
    };
    expect(() => transcript.runInTransaction(change)).toThrow('the write failed');
    expect(transcript.storedProfile).toEqual(storedProfile);
    expect(new Transcript(storage).storedProfile).toEqual(storedProfile);
  });
});

test('rewinds nothing when the profile cannot be stored', async () => {
  installSimulator();
  await runTurn(createBody('Hello'));
  const stored = { messages: await listMessages(), profile: await readConversation() };
  vi.spyOn(Transcript.prototype, 'saveProfile').mockImplementationOnce(failing);
  await runInDurableObject(stubOf(), (conversation: Conversation) => {
    expect(() => conversation.rewindConversation(String(stored.messages[0]?.id))).toThrow('the write failed');
  });
  expect({ messages: await listMessages(), profile: await readConversation() }).toEqual(stored);
  await stubOf().rewindConversation(String(stored.messages[0]?.id));
  expect(await listMessages()).toEqual([]);
});

test('repeats the settlement of a run when its row cannot be written', async () => {
  answerByScript(() => textAnswer('Done.'));
  const passTime = createTimeAdvancer();
  const update = Transcript.prototype.updateTurn;
  const write = vi.spyOn(Transcript.prototype, 'updateTurn').mockImplementation(function (
    this: Transcript,
    row,
    change,
  ) {
    if (change.settled === true && row.seq === 1) failing();
    update.call(this, row, change);
  });
  await runTurn(createBody('Hello', { tools: [weatherTool()] }));
  const unsettled = () =>
    runInDurableObject(stubOf(), async (_, { storage }) => ({
      runs: storage.sql.exec('select seq from turns where settled = 0').toArray().length,
      isAlarmSoon: Number(await storage.getAlarm()) < Date.now() + 60_000,
    }));
  await eventually(() => expect(write).toHaveBeenCalledWith(expect.anything(), { settled: true }));
  await waitForObject(stubOf());
  expect(await unsettled()).toEqual({ runs: 1, isAlarmSoon: true });
  write.mockRestore();
  passTime(10 * 60_000);
  await runDurableObjectAlarm(stubOf());
  await eventually(async () => expect((await unsettled()).runs).toBe(0));
});

test('resets a conversation that can neither store a turn completely nor delete it', async () => {
  installSimulator();
  await runTurn(createBody('Hello'));
  const store = Transcript.prototype.storeNewTurn;
  vi.spyOn(Transcript.prototype, 'storeNewTurn').mockImplementationOnce(function (this: Transcript, ...args) {
    store.apply(this, args);
    failing();
  });
  vi.spyOn(Transcript.prototype, 'deleteMessages').mockImplementationOnce(failing);
  await expect(sendTurn(createBody('Go on'))).rejects.toThrow('the write failed');
  await runTurn(createBody('Go on'));
  expect(await listMessages()).toHaveLength(4);
});

test('an account creates no hold if its alarm cannot be set', async () => {
  installSimulator();
  const stub = getAccountStub(bindings, {}, 'alice');
  const armed = vi.spyOn(DurableObjectAlarm.prototype, 'scheduleAt').mockImplementationOnce(failing);
  await runInDurableObject(stub, (account: Account) => {
    const maximumCost = { inputTokens: 10, inputCost: 100, outputTokens: 10, outputPrice: 10, leastOutput: 1 };
    const request = { requestId: 'req_1', route: 'messages', model: 'claude-haiku-5-5', maximumCost, defaults: {} };
    expect(() => account.admitJson(JSON.stringify(request))).toThrow('the write failed');
    expect(armed).toHaveBeenCalledTimes(1);
    expect(account.findRequest('req_1')).toBeUndefined();
  });
});

test('resets an account after a failed write, so that no unstored hold remains', async () => {
  installSimulator();
  // A stub that has thrown stays broken.
  const stub = () => getAccountStub(bindings, {}, 'alice');
  await stub().setLimits({ usd_per_day: 1 });
  await runInDurableObject(stub(), (account: Account, { storage }) => {
    storage.sql.exec('create trigger refused before insert on conversations begin select raise(abort, "no"); end');
    expect(account).toBeInstanceOf(Account);
  });
  expect(await sendTurn(createBody('Hello'))).toMatchObject({ kind: 'error', error: { status: 503 } });
  expect((await stub().getQuotaReport()).day.held_usd).toBe(0);
  await runInDurableObject(stub(), (_, { storage }) => void storage.sql.exec('drop trigger refused'));
  await runTurn(createBody('Hello'));
  await eventually(async () => expect((await stub().getQuotaReport()).day.held_usd).toBe(0));
});
