import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test, vi } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { Account } from '#edge/money/account/account.ts';
import { createTimeAdvancer, installSimulator, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createBody, readStream, runTurn, sendTurn } from '#test/support/turns.ts';

beforeEach(() => {
  installSimulator();
});
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const question = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const alarmOf = () => runInDurableObject(stubOf(), (_, { storage }) => storage.getAlarm());

/** Has time pass for a conversation whose object is evicted whenever nothing happens. */
function life() {
  const pass = createTimeAdvancer();
  let now = 0;
  const begun = Date.now();
  const to = (time: number) => {
    pass(time - now);
    now = time;
  };
  return {
    /** @returns how many alarms have woken the object in these milliseconds */
    async pass(ms: number): Promise<number> {
      const end = now + ms;
      for (let wakes = 0; ; wakes += 1) {
        await waitUntilAtRest();
        await abortAllDurableObjects();
        const alarm = await alarmOf();
        if (alarm === null || alarm - begun > end) {
          to(end);
          return wakes;
        }
        to(Math.max(now, alarm - begun));
        await runDurableObjectAlarm(stubOf());
      }
    },
  };
}

/** @returns the ids of the turns that have logs */
const logged = () =>
  runInDurableObject(stubOf(), (_, { storage }) =>
    storage.sql
      .exec('select turn from log order by turn')
      .toArray()
      .map(({ turn }) => turn),
  );

test('no alarm fires within an hour of a turn, later turns overwrite its log, and the retention alarm remains', async () => {
  const { pass } = life();
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  expect(await pass(9 * MINUTE_MS)).toBe(0);
  await runTurn(question('Within its ten minutes'));
  expect(await logged()).toEqual([1, 2]);
  expect(await pass(51 * MINUTE_MS)).toBe(0);
  await runTurn(question('After an hour'));
  expect(await logged()).toHaveLength(2);
  expect(await logged()).toContain(3);
  expect(await pass(HOUR_MS)).toBe(0);
  await runTurn(question('After another'));
  await runTurn(question('And another'));
  expect(await logged()).toEqual([4, 5]);
  expect(await pass(MINUTE_MS)).toBeLessThanOrEqual(1);
  expect(((await alarmOf()) ?? 0) - Date.now()).toBeGreaterThan(29 * 24 * HOUR_MS);
});

test('20 turns a minute apart and the hour after them cause at most three alarms', async () => {
  const { pass } = life();
  let wakes = 0;
  for (let turn = 1; turn <= 20; turn += 1) {
    await runTurn(turn === 1 ? createBody('Hello') : question(`Question ${turn}`));
    wakes += await pass(MINUTE_MS);
  }
  wakes += await pass(HOUR_MS);
  expect(wakes).toBeLessThanOrEqual(3);
});

test('turns in quick succession set one alarm', async () => {
  const pass = createTimeAdvancer();
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const set = await runInDurableObject(stubOf(), (_, { storage }) => vi.spyOn(storage, 'setAlarm'));
  for (let turn = 2; turn <= 6; turn += 1) {
    pass(5_000);
    await runTurn(question(`Question ${turn}`));
    await waitUntilAtRest();
  }
  expect(set).toHaveBeenCalledTimes(1);
  // The one that they have set wakes the object as if it had died.
  expect(((await alarmOf()) ?? 0) - Date.now()).toBeLessThanOrEqual(60_000);
});

test('a running turn has an alarm within 30 seconds; after the turn, the next alarm is more than 29 days away', async () => {
  let passed = 0;
  const passing = createTimeAdvancer();
  const pass = (ms: number) => {
    passed += ms;
    passing(ms);
  };
  const untilAlarm = async () => ((await alarmOf()) ?? Number.POSITIVE_INFINITY) - Date.now() - passed;
  const words = encodeURIComponent('some words are said '.repeat(10));
  const answer = await sendTurn(createBody('Hello'), { simulate: `tps=50;flush;answer=${words}` });
  if (answer.kind !== 'stream') throw new Error(answer.kind);
  const heard = readStream(answer.body);
  for (let half = 0; half < 3; half += 1) {
    expect(await untilAlarm()).toBeLessThanOrEqual(30_000);
    pass(30_000);
    await runDurableObjectAlarm(stubOf());
  }
  expect((await heard).isWhole).toBe(true);
  await eventually(async () => expect(await untilAlarm()).toBeGreaterThan(29 * 24 * HOUR_MS));
});

test('a lost settlement is repeated within half a minute', async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const lost = vi
    .spyOn(Account.prototype, 'settleJson')
    .mockImplementation(() => new Promise<never>(() => {}) as never);
  await runTurn(question('And then?'));
  await eventually(() => expect(lost).toHaveBeenCalled());
  expect(((await alarmOf()) ?? 0) - Date.now()).toBeLessThanOrEqual(30_000);
  // It would wait for ever.
  await abortAllDurableObjects();
  lost.mockRestore();
  const again = vi.spyOn(Account.prototype, 'settleJson');
  await runDurableObjectAlarm(stubOf());
  await eventually(() => expect(again).toHaveBeenCalledTimes(1));
  await waitUntilAtRest();
});

test('a conversation has only its retention alarm once its account has confirmed a change', async () => {
  await stubOf().createConversation({ account: 'alice', id: 'c1' }, {}, {});
  await eventually(async () => expect(((await alarmOf()) ?? 0) - Date.now()).toBeGreaterThan(29 * 24 * HOUR_MS));
  await stubOf().patchConversation({ title: 'A title' });
  await eventually(async () => {
    const unreported = await runInDurableObject(
      stubOf(),
      (_, { storage }) => new Transcript(storage).storedProfile?.unreported,
    );
    expect(unreported).toBe(false);
  });
});

test('the next alarm after a failed renewal renews the hold of a running turn', async () => {
  const pass = createTimeAdvancer();
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  const renew = vi.spyOn(Account.prototype, 'renewHold').mockImplementationOnce(() => {
    throw new RangeError('broken');
  });
  const answer = await sendTurn(createBody('Tell me a long story.', { max_tokens: 2_000 }), {
    simulate: 'tps=20;flush',
  });
  if (answer.kind !== 'stream') throw new Error(answer.kind);
  const ring = () => runDurableObjectAlarm(stubOf());
  await ring();
  expect(renew).not.toHaveBeenCalled();
  pass(4 * MINUTE_MS);
  await ring();
  expect(renew).toHaveBeenCalledTimes(1);
  expect(String(logging.mock.calls)).toContain('"task":"hold_renewal"');
  await ring();
  expect(renew).toHaveBeenCalledTimes(2);
  await ring();
  expect(renew).toHaveBeenCalledTimes(2);
  await stubOf().stopRunningTurn();
  await answer.body.cancel();
  await waitUntilAtRest();
});
