/** A turn whose messages are stored in steps: what is left if its object dies, a write fails or somebody ends it in between. */
import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test, vi } from 'vitest';
import { PIECE_CHARACTERS } from '#edge/conversations/history/storage/message-text.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { areMessagesIncomplete } from '#edge/conversations/history/storage/turn-notes.ts';
import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import {
  countWrittenRows,
  installSimulator,
  listMessages,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { holdStep } from '#test/support/hold-step.ts';
import { weatherTool } from '#test/support/scripted-runs.ts';
import { beginningOf, recordSentQuestions } from '#test/support/sent-questions.ts';
import { readLedger } from '#test/support/timed-turns.ts';
import { buildTurnRequest, createBody, runTurn, sendTurnRequest } from '#test/support/turns.ts';

beforeEach(() => {
  installSimulator();
});

const LONG = `Is this long? ${'word '.repeat((2.5 * PIECE_CHARACTERS) / 5)}`;

/** @returns what a conversation has stored of its turns' texts, and of turns that are not all stored */
const readStored = async (id = 'c1') =>
  await runInDurableObject(stubOf(id), (_, { storage }) => {
    const transcript = new Transcript(storage);
    if (!transcript.uncheckedProfile) return { turns: [], messages: 0, pieces: 0, incomplete: 0 };
    const count = (from: string) => transcript.queryNumberOrZero(`select count(*) from ${from}`);
    const turns = transcript.listTurns();
    return {
      turns: turns.map(({ status }) => status),
      messages: count('messages'),
      pieces: count('pieces where owner > 0'),
      incomplete: turns.filter(areMessagesIncomplete).length,
    };
  });

/** The kinds of turns that begin with a long question. */
const KINDS: Record<string, (request: TurnRequest) => TurnRequest> = {
  'a turn': (request) => request,
  'a background turn': (request) => ({ ...request, edgeOptions: { background: true } }),
  'a run': ({ body, ...request }) => ({
    ...request,
    body: JSON.stringify({ ...(JSON.parse(String(body)) as object), tools: [weatherTool()] }),
  }),
};

/** Begins a turn, and holds it when some of its pieces are stored. @returns its end */
async function holdLongTurn(change = KINDS['a turn']) {
  const request = buildTurnRequest(createBody(LONG), { key: 'k1' });
  const written = vi.spyOn(Transcript.prototype, 'insertRows');
  const gate = holdStep(() =>
    written.mock.calls.some(([table, [row]]) => table === 'pieces' && Number(row?.owner) > 0),
  );
  const answer = sendTurnRequest(change?.(request) ?? request).catch((thrown: unknown) => String(thrown));
  await eventually(() => expect(gate.isReached).toBe(true));
  written.mockRestore();
  return { gate, answer, request };
}

/** What is there, and asked next, works: nothing is left over. */
async function expectNothingLeft(before: number) {
  await eventually(async () =>
    expect(await readStored()).toMatchObject({ messages: before, pieces: 0, incomplete: 0 }),
  );
  await runTurn(createBody(LONG));
  expect((await listMessages()).at(-2)).toMatchObject({ role: 'user', content: LONG });
  await eventually(async () => {
    for (const { status } of await readLedger()) expect(status).not.toBe('held');
  });
}

test.each(Object.entries(KINDS))(
  '%s with a long question that dies before all is stored leaves nothing',
  async (_, kind) => {
    await runTurn(createBody('Hello'));
    const { gate, answer } = await holdLongTurn(kind);
    expect(await readStored()).toMatchObject({ incomplete: 1 });
    expect((await readStored()).pieces).toBeGreaterThan(0);
    await abortAllDurableObjects();
    gate.open();
    await answer;
    await stubOf().endInterruptedTurns();
    expect((await listMessages()).map(({ role }) => role)).toEqual(['user', 'assistant']);
    await expectNothingLeft(2);
  },
);

test('a first turn that dies before all of its question is stored leaves no conversation', async () => {
  const { gate, answer } = await holdLongTurn();
  await abortAllDurableObjects();
  gate.open();
  await answer;
  expect(await stubOf().read()).toMatchObject({ ok: false, error: { status: 404 } });
  await expectNothingLeft(0);
});

test('a first turn of several long messages that dies in between is stored completely by the next request', async () => {
  const words = [LONG, 'Short.', `${LONG} And this?`];
  const messages = words.flatMap((content, at) => [
    ...(at > 0 ? [{ role: 'assistant', content: 'ok' }] : []),
    { role: 'user', content },
  ]);
  const stored = vi.spyOn(Transcript.prototype, 'insertRows');
  const last = messages.length;
  const gate = holdStep(() => stored.mock.calls.some(([table, [row]]) => table === 'pieces' && row?.owner === last));
  const answer = sendTurnRequest(buildTurnRequest(createBody('', { messages }))).catch((thrown: unknown) => thrown);
  await eventually(() => expect(gate.isReached).toBe(true));
  stored.mockRestore();
  expect((await readStored()).pieces).toBeGreaterThan(3);
  await abortAllDurableObjects();
  gate.open();
  await answer;
  await stubOf().endInterruptedTurns();
  expect(await readStored()).toMatchObject({ messages: 0, pieces: 0 });
  await runTurn(createBody('', { messages }));
  const rows = await listMessages();
  expect(rows.filter(({ role }) => role === 'user').map(({ content }) => content)).toEqual(words);
});

test('a turn that is stopped while its question is stored leaves nothing', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer } = await holdLongTurn();
  const stopped = stubOf().stopRunningTurn();
  gate.open();
  await stopped;
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 410 } });
  await expectNothingLeft(2);
});

test('a conversation that is deleted while a question is stored leaves nothing', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer } = await holdLongTurn();
  const erased = stubOf().erase();
  gate.open();
  expect(await erased).toBe(true);
  expect(await answer).toMatchObject({ kind: 'error' });
  await expectNothingLeft(0);
});

test('a write that fails while a question is stored ends the turn, and leaves nothing', async () => {
  await runTurn(createBody('Hello'));
  const real = Transcript.prototype.insertRows;
  let pieces = 0;
  const write = vi.spyOn(Transcript.prototype, 'insertRows').mockImplementation(function (this: Transcript, ...args) {
    if (args[0] === 'pieces') pieces += 1;
    if (args[0] === 'pieces' && pieces === 2) throw new Error('the write failed');
    return real.apply(this, args);
  });
  expect(await sendTurnRequest(buildTurnRequest(createBody(LONG)))).toMatchObject({ kind: 'error' });
  write.mockRestore();
  await expectNothingLeft(2);
});

test('the same request attaches while its question is stored, and another one gets a 409', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer, request } = await holdLongTurn();
  expect(await sendTurnRequest(buildTurnRequest(createBody('Hi')))).toMatchObject({
    kind: 'error',
    error: { status: 409 },
  });
  const repeated = sendTurnRequest(request);
  // What is not stored yet is not shown.
  expect(await listMessages()).toHaveLength(2);
  gate.open();
  const answers = [await answer, await repeated].map((one) => (typeof one === 'string' ? one : one.kind));
  expect(answers).toEqual(['stream', 'stream']);
  await eventually(async () => expect(await listMessages()).toHaveLength(4));
});

test('a repeated background request is accepted only when its question is stored', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer, request } = await holdLongTurn(KINDS['a background turn']);
  let isAccepted = false;
  const repeated = sendTurnRequest({ ...request, edgeOptions: { background: true } }).then((one) => {
    isAccepted = true;
    return one;
  });
  await stubOf().read();
  expect(isAccepted).toBe(false);
  gate.open();
  expect(await repeated).toMatchObject({ status: 202 });
  expect(await answer).toMatchObject({ status: 202 });
  await eventually(async () => expect(await listMessages()).toHaveLength(4));
});

test('a long question writes one row for each piece, and one more than a short one', async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  const rows = await countWrittenRows(stubOf());
  const countRowsOf = async (text: string) => {
    const before = rows();
    await runTurn(createBody(text));
    await waitUntilAtRest();
    return rows() - before;
  };
  await countRowsOf('Go on');
  const short = await countRowsOf('And on');
  expect(await countRowsOf(LONG)).toBe(short + 3 + 1);
});

/** Begins a turn, and holds it while its request is planned: nothing of it is stored. */
async function holdLongPlan() {
  const gate = holdStep(() => true);
  const answer = sendTurnRequest(buildTurnRequest(createBody(LONG), { key: 'k1' }));
  await eventually(() => expect(gate.isReached).toBe(true));
  return { gate, answer };
}

test('a turn that is stopped while its long request is planned does not begin', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer } = await holdLongPlan();
  await stubOf().stopRunningTurn();
  gate.open();
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 410 } });
  await expectNothingLeft(2);
});

test('a long turn is planned again if another turn has ended while it was planned', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer } = await holdLongPlan();
  await runTurn(createBody('Between'));
  gate.open();
  expect(await answer).toMatchObject({ kind: 'stream' });
  await eventually(async () => expect(await listMessages()).toHaveLength(6));
  const questions = (await listMessages()).filter(({ role }) => role === 'user');
  expect(questions.map(({ content }) => content)).toEqual(['Hello', 'Between', LONG]);
});

test('a long turn is rejected if another turn has begun while it was planned', async () => {
  await runTurn(createBody('Hello'));
  const { gate, answer } = await holdLongPlan();
  const other = await sendTurnRequest(
    buildTurnRequest(createBody('Between', { max_tokens: 2_000 }), { simulate: 'tps=100;flush' }),
  );
  gate.open();
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 409 } });
  await stubOf().stopRunningTurn();
  expect(other).toMatchObject({ kind: 'stream' });
});

/** Where the planning of a long turn can wait, in order. */
const PLANNING_BREAKS = [1, 2, 3, 4, 5, 6];

/** Begins a long turn after two short ones, and changes the conversation while it is planned. @returns what is sent from then on */
async function changeWhilePlanning(nth: number, change: () => Promise<unknown>): Promise<string[][]> {
  await runTurn(createBody('Hello'));
  await runTurn(createBody('And'));
  await waitUntilAtRest();
  const sent = recordSentQuestions();
  let breaks = 0;
  const gate = holdStep(() => {
    breaks += 1;
    return breaks === nth;
  });
  const answer = sendTurnRequest(buildTurnRequest(createBody(LONG)));
  await eventually(() => expect(gate.isReached).toBe(true));
  await change();
  gate.open();
  expect(await answer).toMatchObject({ kind: 'stream' });
  await waitUntilAtRest();
  return sent;
}

test.each(PLANNING_BREAKS)(
  'messages that are removed while a long turn is planned are not sent (break %d)',
  async (nth) => {
    const sent = await changeWhilePlanning(nth, async () => {
      const removed = (await listMessages()).find(({ content }) => content === 'And');
      expect(await stubOf().rewindConversation(String(removed?.id))).toMatchObject({ ok: true });
    });
    expect(sent).toEqual([['Hello', beginningOf(LONG)]]);
  },
);

test.each(PLANNING_BREAKS)('a turn that ends while a long turn is planned is sent with it (break %d)', async (nth) => {
  const sent = await changeWhilePlanning(nth, async () => await runTurn(createBody('Between')));
  expect(sent.at(-1)).toEqual(['Hello', 'And', 'Between', beginningOf(LONG)]);
});
