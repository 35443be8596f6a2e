import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { arbitraryPlan, type BilledAnswer, createBilledAnswer, KINDS } from '#test/support/billed-answer.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { bindings, installSimulator, setConversationUpstream, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { waitForObject } from '#test/support/pending-work.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  answerWithPieces,
  installTestTime,
  readLedger,
  readUntilText,
  startTurnStream,
  testTime,
} from '#test/support/timed-turns.ts';
import { createBody, readStream, sendTurn } from '#test/support/turns.ts';
import {
  blockEnd,
  contentBlock,
  messageEnd,
  messageStart,
  PING,
  sseEvent,
  sseResponse,
  TEXT_BLOCK_START,
  textDelta,
} from '#test/support/wire.ts';

/** A turn looks at what has come about as often. */
const TOGETHER_MS = 20;
const OPUS = { input: 4_000, output: 20_000 };
/** Tokens that may be on their way: a quarter of a second. */
const IN_FLIGHT = 125;
const HIDDEN =
  messageStart() +
  sseEvent('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } });
const SAID = messageStart() + TEXT_BLOCK_START + textDelta('Hello there. ');

installTestTime();

describe('a turn that is stopped', () => {
  test('during hidden thinking costs at most what the elapsed time allows', async () => {
    answerWithPieces(() => [{ text: HIDDEN }]);
    const stream = await startTurnStream('c1');
    // The request was sent at a time of the real clock, up to so much later than the test's clock shows.
    const sentLaterMs = Date.now() - testTime.now;
    testTime.now += 10_000;
    await stubOf('c1').stopRunningTurn();
    await stream.cancel();
    const [row] = await readLedger();
    expect(row).toMatchObject({ estimated: true });
    // Ten seconds, and what was on its way.
    const most = 100 * OPUS.input + (10 * 500 + IN_FLIGHT) * OPUS.output;
    const least = 0.98 * most - (sentLaterMs / 1_000) * 500 * OPUS.output;
    expect((row?.cost_usd ?? 0) * 1e9).toBeLessThanOrEqual(most);
    expect((row?.cost_usd ?? 0) * 1e9).toBeGreaterThan(least);
  });

  test('after its thinking has ended is not charged for the time of its text', async () => {
    const stop = blockEnd();
    const text =
      sseEvent('content_block_start', { index: 1, content_block: { type: 'text', text: '' } }) +
      textDelta('Hello there. ', 1);
    answerWithPieces(() => [
      { at: 500, text: HIDDEN },
      { at: 3_000, text: stop },
      { at: 3_010, text },
      { at: 63_000, text: textDelta('Bye. ', 1) },
    ]);
    const reader = (await startTurnStream('c1')).getReader();
    await readUntilText(reader, 'Bye');
    await stubOf('c1').stopRunningTurn();
    const ending = await readUntilText(reader, 'message_stop');
    const [row] = await readLedger();
    const most = 100 * OPUS.input + (4 * 500 + 80) * OPUS.output;
    expect((row?.cost_usd ?? 0) * 1e9).toBeLessThanOrEqual(most);
    expect((row?.cost_usd ?? 0) * 1e9).toBeGreaterThan(100 * OPUS.input + 3 * 500 * OPUS.output);
    // What the answer tells of itself is what is booked.
    expect(ending).toContain(`"output_tokens":${row?.usage.output_tokens}}`);
  });
});

describe('a turn that is stopped during a silence in its text', () => {
  test.each([
    ['may have written what has not come', '', 10 * 500],
    ['has written nothing if the upstream has just said ping', PING, 0],
  ])('%s', async (_, last, hidden) => {
    answerWithPieces(() => [{ text: SAID }, ...(last === '' ? [] : [{ at: 10_000, text: last }])]);
    const reader = (await startTurnStream('c1')).getReader();
    await readUntilText(reader, last === '' ? 'Hello' : 'ping');
    if (last === '') testTime.now += 10_000;
    await stubOf('c1').stopRunningTurn();
    await reader.cancel();
    const [row] = await readLedger();
    const least = 100 * OPUS.input + hidden * OPUS.output;
    expect((row?.cost_usd ?? 0) * 1e9).toBeGreaterThan(least);
    // Beside that, what was said and what may be on its way.
    expect((row?.cost_usd ?? 0) * 1e9).toBeLessThanOrEqual(least + (44 + IN_FLIGHT) * OPUS.output);
  });
});

describe('a turn that ends while a search runs, after eight seconds of silence', () => {
  const use = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} };
  const RUNNING = messageStart() + contentBlock(use);
  const tools = [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }];
  /** Two searches, a result of 8,000 tokens at the price of a cache write, and what is little: prompts, the call, a quarter of a second. */
  const ITS_RESULT = (2 * 10_000_000 + 8_000 * 5_500 + 8_000_000) / 1e9;
  /** Eight seconds of output alone. */
  const SILENCE = (8_000 * 500 * OPUS.output) / 1_000 / 1e9;

  async function booked(ms: number, end: () => Promise<unknown>, isOpen = true) {
    // What is no event breaks no silence.
    answerWithPieces(() => [{ text: RUNNING }, ...(isOpen ? [] : [{ at: ms, text: ': on it\n\n' }])], isOpen);
    const reader = (await startTurnStream('c1', createBody('Hi', { max_tokens: 128_000, tools }))).getReader();
    await readUntilText(reader, isOpen ? 'content_block_stop' : 'event: error');
    if (isOpen) testTime.now += ms;
    await end();
    await reader.cancel().catch(() => undefined);
    const [row] = await readLedger();
    expect(row).toMatchObject({ estimated: true });
    return row?.cost_usd ?? 0;
  }

  test('is charged for the search result and one more search if it was stopped', async () => {
    const cost = await booked(8_000, async () => await stubOf('c1').stopRunningTurn());
    expect(cost).toBeGreaterThan(2 * 0.01);
    expect(cost).toBeLessThanOrEqual(ITS_RESULT);
  });

  test('is charged for the silence if the silence lasted longer', async () => {
    expect(await booked(8_001, async () => await stubOf('c1').stopRunningTurn())).toBeGreaterThan(ITS_RESULT + SILENCE);
  });

  test('is charged for the silence if the connection broke', async () => {
    expect(await booked(8_000, async () => undefined, false)).toBeGreaterThan(ITS_RESULT + SILENCE);
  });

  test('is charged for five seconds of the silence if its object died', async () => {
    const die = async () => {
      await abortAllDurableObjects();
      await stubOf('c1').read();
    };
    expect(await booked(8_000, die)).toBeGreaterThan(ITS_RESULT + (SILENCE * 5) / 8);
  });

  test('updates its log row every four seconds while the search runs, and writes no other row', async () => {
    const ticks: (() => void)[] = [];
    // Its timers are those of all tests here, but that it is told when it ticks.
    const timers = vi.mocked(globalThis.setTimeout);
    const wait = timers.getMockImplementation();
    timers.mockImplementation(((run: () => void, ms = 0) => {
      if (ms > 1_000 && ms <= 4_000) ticks.push(run);
      else return wait?.(run, ms);
    }) as typeof setTimeout);
    const logOf = async () =>
      await runInDurableObject(stubOf('c1'), (_, { storage }) => {
        return storage.sql.exec<{ at: number; text: string }>('select at, text from log').toArray();
      });
    answerWithPieces(() => [{ text: RUNNING }]);
    const reader = (await startTurnStream('c1', createBody('Hi', { max_tokens: 128_000, tools }))).getReader();
    await readUntilText(reader, 'content_block_stop');
    const [before] = await logOf();
    for (const silence of [4_000, 8_000, 12_000]) {
      await eventually(() => expect(ticks).not.toHaveLength(0));
      testTime.now += 4_000;
      await runInDurableObject(stubOf('c1'), () => ticks.splice(0).at(-1)?.());
      expect(await logOf()).toEqual([{ at: (before?.at ?? 0) + silence, text: before?.text }]);
    }
    await stubOf('c1').stopRunningTurn();
    await reader.cancel();
    await readLedger();
  });
});

describe('turns that run during a deploy', () => {
  test.each([
    // What was said, and until the next row was due, and one second more.
    ['with text', SAID, 3 * 500 + 44 + IN_FLIGHT],
    // Until what was stored last covers.
    ['in hidden thinking', HIDDEN, 20 * 500 + IN_FLIGHT],
  ])('twenty turns %s are settled at no more than they can have written', async (_, pieces, most) => {
    answerWithPieces(() => [{ text: pieces }]);
    const ids = Array.from({ length: 20 }, (_, index) => `c${index + 1}`);
    for (const id of ids) {
      await readUntilText((await startTurnStream(id)).getReader(), pieces === SAID ? 'Hello' : 'thinking');
    }
    await abortAllDurableObjects();
    // An hour later somebody looks.
    testTime.now += 3_600_000;
    for (const id of ids) await stubOf(id).read();
    const rows = await readLedger();
    expect(rows).toHaveLength(20);
    for (const row of rows) {
      expect(row.estimated).toBe(true);
      expect(row.cost_usd * 1e9).toBeGreaterThan(100 * OPUS.input);
      expect(row.cost_usd * 1e9).toBeLessThanOrEqual(100 * OPUS.input + most * OPUS.output);
    }
  });

  test('a turn whose object woke after 400 ms is settled up to then and for one second more', async () => {
    answerWithPieces(() => [{ text: HIDDEN }]);
    await readUntilText((await startTurnStream('c1')).getReader(), 'thinking');
    const sentLaterMs = Date.now() - testTime.now;
    await abortAllDurableObjects();
    testTime.now += 400;
    await stubOf('c1').read();
    const [row] = await readLedger();
    const most = 100 * OPUS.input + (1.4 * 500 + IN_FLIGHT) * OPUS.output;
    const least = 0.8 * most - (sentLaterMs / 1_000) * 500 * OPUS.output;
    expect((row?.cost_usd ?? 0) * 1e9).toBeLessThanOrEqual(most);
    expect((row?.cost_usd ?? 0) * 1e9).toBeGreaterThan(least);
  });
});

describe('a response of a conversation that is cut anywhere', () => {
  test('is settled at what was billed, or more', async () => {
    let number = 0;
    const one = fc
      .constantFrom(...KINDS.filter((kind) => kind !== 'compaction' && kind !== 'steps'))
      .chain(arbitraryPlan);
    await tryAsyncCases(caseCount(30), one, fc.noBias(fc.integer({ min: 0, max: 100 })), async (plan, share) => {
      const answer: BilledAnswer = createBilledAnswer({
        ...plan,
        length: Math.min(plan.length, 150),
        rounds: Math.min(plan.rounds, 2),
        perDelta: 6,
      });
      const events = answer.events.slice(0, Math.max(1, Math.round((share / 100) * answer.events.length)));
      // What comes within a moment is read together, here as elsewhere.
      const groups: { at: number; text: string }[] = [];
      for (const { at, writeText: text } of events) {
        const last = groups.at(-1);
        if (last && at - last.at <= TOGETHER_MS) last.text += text;
        else groups.push({ at, text });
      }
      answerWithPieces(() => groups, false);
      number += 1;
      const id = `p${number}`;
      const asked = await sendTurn(answer.body, { id });
      if (asked.kind === 'stream') await readStream(asked.body);
      const rows = await readLedger();
      const row = rows.find(({ conversation }) => conversation === id);
      const billed = answer.computeBillAt(events.at(-1)?.at ?? 0);
      expect(Math.ceil((row?.cost_usd ?? 0) * 1e9)).toBeGreaterThanOrEqual(Math.floor(billed));
    });
  });
});

test('a turn whose connection broke after the request was sent is retried, and each attempt is settled', async () => {
  installSimulator({ UPSTREAM_MAX_RETRIES: '1' });
  testTime.now = 0;
  let tries = 0;
  setConversationUpstream(async () => {
    tries += 1;
    advanceClock(80);
    if (tries === 1) throw new Error('Network connection lost.');
    return sseResponse(SAID + blockEnd() + messageEnd({ output_tokens: 5 }));
  });
  const { events } = await readStream(await startTurnStream('c1'));
  expect(events.at(-1)?.event).toBe('message_stop');
  const [second, first, ...others] = await readLedger();
  expect(others).toEqual([]);
  expect(first).toMatchObject({ status: 'retried', estimated: true });
  expect(second).toMatchObject({ status: 'complete', estimated: false, request_id: `${first?.request_id}.2` });
  expect((second?.cost_usd ?? 0) * 1e9).toBe(100 * OPUS.input + 5 * OPUS.output);
  expect((first?.cost_usd ?? 0) * 1e9).toBeGreaterThan(IN_FLIGHT * OPUS.output);
});

test('a turn that is stopped during the admission of its second attempt leaves no hold', async () => {
  installSimulator({ UPSTREAM_MAX_RETRIES: '1' });
  testTime.now = 0;
  const asked = vi.fn();
  const counted = Promise.withResolvers<void>();
  setConversationUpstream(async (url) => {
    if (url.includes('count_tokens')) {
      asked();
      // The second count takes its time, as a busy API does.
      if (asked.mock.calls.length > 1) await counted.promise;
      return Response.json({ input_tokens: 20_000 });
    }
    advanceClock(80);
    return new Response('<html>', { status: 502, headers: { 'retry-after-ms': '1' } });
  });
  await getAccountStub(bindings, {}, 'alice').setLimits({ usd_per_day: 0.5 });
  const answering = sendTurn(createBody('word '.repeat(16_000), { max_tokens: 128_000 }), { id: 'c1' });
  await eventually(async () => expect(asked).toHaveBeenCalledTimes(2));
  await stubOf('c1').stopRunningTurn();
  counted.resolve();
  await answering;
  await eventually(async () => {
    const { day, running_requests } = await getAccountStub(bindings, {}, 'alice').getQuotaReport();
    expect({ held: day.held_usd, running_requests }).toEqual({ held: 0, running_requests: 0 });
  });
  // The second attempt is in the ledger only if it was admitted before the stop.
  const [first, ...later] = (await readLedger()).toReversed();
  expect(first).toMatchObject({ status: 'retried', estimated: true });
  expect(later.filter(({ cost_usd }) => cost_usd !== 0)).toEqual([]);
});

test('a turn that is stopped while its failed attempt is settled sends no other attempt', async () => {
  installSimulator({ UPSTREAM_MAX_RETRIES: '1' });
  testTime.now = 0;
  let tries = 0;
  setConversationUpstream(async () => {
    tries += 1;
    advanceClock(80);
    return new Response('<html>', { status: 502, headers: { 'retry-after-ms': '1' } });
  });
  const stopped = Promise.withResolvers<void>();
  const { settleJson } = Account.prototype;
  const settleAfterStop = async function (this: Account, text: string) {
    await stopped.promise;
    return settleJson.call(this, text);
  };
  const settling = vi.spyOn(Account.prototype, 'settleJson').mockImplementationOnce(settleAfterStop as never);
  const answering = sendTurn(createBody('Hi', { max_tokens: 1_000 }), { id: 'c1' });
  await eventually(async () => expect(settling).toHaveBeenCalled());
  await stubOf('c1').stopRunningTurn();
  stopped.resolve();
  await answering;
  // The sender continues after the turn has ended.
  await waitForObject(stubOf('c1'));
  const costs = (await readLedger()).map(({ cost_usd }) => cost_usd);
  expect({ tries, costs }).toEqual({ tries: 1, costs: [expect.toSatisfy((cost) => cost > 0)] });
});
