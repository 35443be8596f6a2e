import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { expect, onTestFinished, test, vi } from 'vitest';
import { BodyMemoryShare, bodyMemory, IsolateBodyMemory } from '#edge/kit/http/body-memory.ts';
import { Account } from '#edge/money/account/account.ts';
import { readConversation, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';

const MB = 1024 * 1024;
/** All memory that long bodies may have, and all memory. */
const ALL_LONG = [36 * MB, 4 * MB];
const ALL = [...ALL_LONG, ...Array<number>(32).fill(MB / 4)];

const asked = (more: object = {}) =>
  createBody('What is there to know?', { tools: [weatherTool({ timeout_seconds: 600 })], ...more });
const long = (length = 1_000_000) => new Response('x'.repeat(length));
/** Each run asks for results once, and then says how many whole ones it got. */
const reads = (results: number) => (body: { messages: { content: unknown }[] }) => {
  const last = body.messages.at(-1)?.content;
  const got = Array.isArray(last)
    ? last.filter(({ type, content }) => type === 'tool_result' && content.length > 9e5)
    : [];
  return got.length > 0 || Array.isArray(last)
    ? textAnswer(`${got.length} whole.`)
    : callsAnswer(...Array.from({ length: results }, (_, n) => weatherCall(`toolu_${n}`, `${n}`)));
};

/** @returns the most memory that was taken, and the most who waited for it at a time, so far */
function watching(): { taken: number; waiting: number } {
  const most = { taken: 0, waiting: 0 };
  const { set } = bodyMemory.waitingShares;
  vi.spyOn(bodyMemory.waitingShares, 'set').mockImplementation((...entry) => {
    const all = set.apply(bodyMemory.waitingShares, entry);
    most.waiting = Math.max(most.waiting, bodyMemory.waitingShares.size);
    most.taken = Math.max(most.taken, bodyMemory.takenBytes);
    return all;
  });
  return most;
}

test('50 concurrent runs with two results of 1 MB wait for memory, complete, and release it', async () => {
  const most = watching();
  answerByScript(reads(2));
  answerTools(() => long());
  const all = Array.from({ length: 50 }, (_, n) => runTurn(asked(), { id: `c${n}`, account: n % 2 ? 'alice' : 'bob' }));
  const texts = (await Promise.all(all)).map(({ events }) => textOfDeltas(events));
  expect(texts).toEqual(Array(50).fill('2 whole.'));
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
  expect(most.waiting).toBeGreaterThan(20);
  expect(most.taken).toBeGreaterThan(8 * MB);
  expect(most.taken).toBeLessThanOrEqual(48 * MB);
});

/** Takes memory. @returns a function that gives it back */
function fillRoom(sizes: readonly number[]): () => void {
  const shares = sizes.map((size) => {
    const share = new BodyMemoryShare(bodyMemory);
    share.reserveBytes(size);
    return share;
  });
  const empty = () => {
    for (const share of shares) share.releaseMemory();
  };
  onTestFinished(empty);
  return empty;
}

test('a step waits for memory with its results stored in rows, and is sent when memory is free', async () => {
  const bodies = answerByScript((_, number) =>
    number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'),
  );
  let empty = () => {};
  answerTools(() => {
    empty = fillRoom(ALL_LONG);
    return new Response('sun');
  });
  const running = runTurn({ ...asked(), system: 'x'.repeat(100_000) });
  await eventually(() => expect(bodyMemory.waitingShares.size).toBe(1));
  const results = await runInDurableObject(stubOf('c1'), (_, { storage }) =>
    storage.sql.exec("select result from calls where result like '%sun%'").toArray(),
  );
  expect(results).toHaveLength(1);
  expect(bodies).toHaveLength(1);
  empty();
  expect(textOfDeltas((await running).events)).toBe('Sun.');
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
});

test('a run that is stopped while it waits for memory ends, and leaves the queue', async () => {
  answerByScript(() => callsAnswer(weatherCall('toolu_1', 'Bern')));
  const empty = fillRoom(ALL);
  answerTools(() => long());
  const running = runTurn(asked());
  await eventually(() => expect(bodyMemory.waitingShares.size).toBe(1));
  await stubOf('c1').stopRunningTurn();
  expect(bodyMemory.waitingShares.size).toBe(0);
  await running;
  expect(await readConversation()).toMatchObject({ state: 'idle' });
  empty();
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
});

test('a run that is killed while it holds or awaits memory releases it on waking, and continues', async () => {
  answerByScript(reads(1));
  answerTools((_, number) => {
    if (number > 1) return long();
    // It stays open, with memory reserved for what is still to come.
    const begins = new TextEncoder().encode('x'.repeat(100_000));
    return new Response(new ReadableStream({ start: (controller) => controller.enqueue(begins) }));
  });
  await sendTurn(asked());
  await eventually(() => expect(bodyMemory.takenBytes).toBeGreaterThan(MB));
  const empty = fillRoom([36 * MB]);
  const other = await sendTurn(asked(), { id: 'c2' });
  expect(other.kind).toBe('stream');
  await eventually(() => expect(bodyMemory.waitingShares.size).toBe(1));
  await abortAllDurableObjects();
  empty();
  for (const id of ['c1', 'c2']) {
    await stubOf(id).endInterruptedTurns();
    await eventually(async () => expect(await readConversation(id)).toMatchObject({ state: 'idle' }));
  }
  await waitUntilAtRest();
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
});

test('after a crash of many runs only a few resume at a time, and all complete', async () => {
  const RUNS = 12;
  const bodies = answerByScript((_, number) =>
    number <= RUNS ? callsAnswer(weatherCall(`toolu_${number}`, 'Bern')) : textAnswer('Sun.'),
  );
  answerTools(() => new Response('sun'));
  const { admitJson, settleJson } = Account.prototype;
  let admissions = 0;
  // The hold of each second step stands, and nobody has heard of it: so the account is asked for its cost.
  const admitting = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (
    this: Account,
    ...request
  ) {
    const answer = await admitJson.apply(this, request);
    admissions += 1;
    if (admissions > RUNS && admissions <= 2 * RUNS) await new Promise(() => {});
    return answer;
  });
  const told = Promise.withResolvers<void>();
  let isDead = false;
  const settling = vi.spyOn(Account.prototype, 'settleJson').mockImplementation(function (
    this: Account,
    ...settlement
  ) {
    const answer = settleJson.apply(this, settlement);
    return (isDead ? told.promise.then(() => answer) : answer) as never;
  });
  onTestFinished(() => {
    told.resolve();
    admitting.mockRestore();
    settling.mockRestore();
  });
  const ids = Array.from({ length: RUNS }, (_, n) => `c${n}`);
  await Promise.all(ids.map((id) => sendTurn(asked(), { id })));
  await eventually(() => expect(admissions).toBe(2 * RUNS));
  isDead = true;
  await abortAllDurableObjects();
  await Promise.all(ids.map((id) => stubOf(id).endInterruptedTurns()));
  await eventually(() => expect(bodyMemory.sharesByObject.size).toBe(RUNS));
  expect(bodyMemory.waitingShares.size).toBeGreaterThanOrEqual(RUNS - 5);
  expect(bodyMemory.waitingShares.size).toBeLessThan(RUNS);
  told.resolve();
  for (const id of ids)
    await eventually(async () => expect(await readConversation(id)).toMatchObject({ state: 'idle' }));
  expect(bodies).toHaveLength(2 * RUNS);
  await waitUntilAtRest();
  expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() });
});

test('a killed run with damaged data releases its memory and ends', async () => {
  answerByScript(reads(1));
  const called = Promise.withResolvers<void>();
  answerTools(async () => {
    called.resolve();
    return await new Promise(() => {});
  });
  await sendTurn(asked());
  await called.promise;
  await runInDurableObject(stubOf('c1'), (_, { storage }) => {
    storage.sql.exec("update messages set text = '{' where role = 'assistant'");
  });
  await abortAllDurableObjects();
  await stubOf('c1').endInterruptedTurns();
  await eventually(async () => {
    const running = await runInDurableObject(stubOf('c1'), (_, { storage }) =>
      storage.sql.exec("select id from turns where status = 'running'").toArray(),
    ).catch(() => ['it is aborted']);
    expect({ running, taken: bodyMemory.takenBytes }).toEqual({ running: [], taken: 0 });
  });
});

test('a step reserves at least twice the size of its body, including the JSON escapes of its results', async () => {
  const sent = { taken: 0, body: 0 };
  answerByScript((body, number) => {
    if (number === 1) return callsAnswer(weatherCall('toolu_small', 'Bern'));
    if (number === 2) return callsAnswer(...Array.from({ length: 3 }, (_, n) => weatherCall(`toolu_${n}`, `${n}`)));
    Object.assign(sent, { taken: bodyMemory.takenBytes, body: JSON.stringify(body).length });
    return textAnswer('Sun.');
  });
  answerTools((_, number) => new Response(number === 1 ? 'sun' : '\u0001'.repeat(1_000_000)));
  await runTurn(asked());
  expect(sent.body).toBeGreaterThan(0);
  expect(Math.max(sent.taken, MB)).toBeGreaterThanOrEqual(Math.min(36 * MB, 2 * sent.body));
  await waitUntilAtRest();
});
