/** A turn on a long history, which is read in steps: what is sent if the conversation changes in between. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { PIECE_CHARACTERS } from '#edge/conversations/history/storage/message-text.ts';
import { WorkPacer } from '#edge/kit/async/run-in-steps.ts';
import { installSimulator, listMessages, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { holdStep } from '#test/support/hold-step.ts';
import { beginningOf, recordSentQuestions } from '#test/support/sent-questions.ts';
import { buildTurnRequest, createBody, runTurn, sendTurnRequest } from '#test/support/turns.ts';

beforeEach(() => {
  installSimulator();
});

/** The questions of the history: each fits into a row, but for the last one. */
const QUESTIONS = [0.9, 0.9, 0.9, 0.9, 2.5].map(
  (rows, at) => `Question ${at} ${'word '.repeat((rows * PIECE_CHARACTERS) / 5)}`,
);
const STORED = [...QUESTIONS, 'And'].map(beginningOf);

/** Stores a long history that no object has in its memory. */
async function storeLongHistory(): Promise<void> {
  const messages = QUESTIONS.flatMap((content, at) => [
    ...(at > 0 ? [{ role: 'assistant', content: 'ok' }] : []),
    { role: 'user', content },
  ]);
  await runTurn(createBody('', { messages }));
  await runTurn(createBody('And'));
  await waitUntilAtRest();
  await abortAllDurableObjects();
}

/** Records the units of work in steps: how many bytes each takes. */
function recordUnits(): number[] {
  const { waitForTurn: before } = WorkPacer.prototype;
  const units: number[] = [];
  const spy = vi.spyOn(WorkPacer.prototype, 'waitForTurn').mockImplementation(function record(this: WorkPacer, bytes) {
    units.push(bytes);
    return before.call(this, bytes);
  });
  onTestFinished(() => spy.mockRestore());
  return units;
}

/** Begins a turn, and holds it while its history is read. @param nth at which break */
async function holdReading(nth: number) {
  await storeLongHistory();
  const sent = recordSentQuestions();
  let breaks = 0;
  const gate = holdStep(() => {
    breaks += 1;
    return breaks === nth;
  });
  const answer = sendTurnRequest(buildTurnRequest(createBody('Next')));
  await eventually(() => expect(gate.isReached).toBe(true));
  return { gate, answer, sent };
}

test('a long history is read in steps, none of which reads more than a row may contain', async () => {
  await storeLongHistory();
  const sent = recordSentQuestions();
  const units = recordUnits();
  await runTurn(createBody('Next'));
  expect(sent).toEqual([[...STORED, 'Next']]);
  // The last question has three pieces. A message is examined once more as a whole, and the history is copied twice.
  const length = QUESTIONS.join('').length;
  const reading = units.filter((bytes) => bytes > 10_000 && bytes <= PIECE_CHARACTERS);
  expect(reading.length).toBeGreaterThanOrEqual(4 * 2 + 3);
  expect(units.filter((bytes) => bytes > PIECE_CHARACTERS)).toHaveLength(3);
  expect(Math.max(...units)).toBeLessThan(length + 10_000);
});

test('a history in memory is not read again, and its turn is planned without a break', async () => {
  await storeLongHistory();
  await runTurn(createBody('Next'));
  const sent = recordSentQuestions();
  const units = recordUnits();
  await runTurn(createBody('Again'));
  expect(sent).toEqual([[...STORED, 'Next', 'Again']]);
  expect(units.filter((bytes) => bytes > 10_000)).toEqual([]);
});

/** Some of the breaks while a history is read. */
const BREAKS = [1, 4, 8, 11, 13];

test.each(BREAKS)('messages that are removed while a long history is read are not sent (break %d)', async (nth) => {
  const { gate, answer, sent } = await holdReading(nth);
  const removed = (await listMessages()).find(({ content }) => content === 'And');
  expect(await stubOf().rewindConversation(String(removed?.id))).toMatchObject({ ok: true });
  gate.open();
  expect(await answer).toMatchObject({ kind: 'stream' });
  await waitUntilAtRest();
  expect(sent).toEqual([[...STORED.slice(0, -1), 'Next']]);
});

test.each(BREAKS)('a turn that ends while a long history is read is sent with it (break %d)', async (nth) => {
  const { gate, answer, sent } = await holdReading(nth);
  await runTurn(createBody('Between'));
  gate.open();
  expect(await answer).toMatchObject({ kind: 'stream' });
  await waitUntilAtRest();
  expect(sent).toEqual([
    [...STORED, 'Between'],
    [...STORED, 'Between', 'Next'],
  ]);
});

test.each(BREAKS)('a conversation that is deleted while its history is read sends nothing (break %d)', async (nth) => {
  const { gate, answer, sent } = await holdReading(nth);
  expect(await stubOf().erase()).toBe(true);
  gate.open();
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 410 } });
  expect(await listMessages()).toEqual([]);
  expect(sent).toEqual([]);
});

test('a conversation that begins anew while the history of the deleted one is read sends only its own', async () => {
  const { gate, answer, sent } = await holdReading(4);
  expect(await stubOf().erase()).toBe(true);
  await runTurn(createBody('New'));
  gate.open();
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 410 } });
  await runTurn(createBody('Next'));
  expect(sent).toEqual([['New'], ['New', 'Next']]);
});

test.each(BREAKS)('a turn that is stopped while its history is read does not begin (break %d)', async (nth) => {
  const { gate, answer, sent } = await holdReading(nth);
  await stubOf().stopRunningTurn();
  gate.open();
  expect(await answer).toMatchObject({ kind: 'error', error: { status: 410 } });
  expect(sent).toEqual([]);
  await runTurn(createBody('Later'));
  expect(sent).toEqual([[...STORED, 'Later']]);
});
