import { beforeEach, expect, test } from 'vitest';
import { stopClock } from '#test/support/calendar.ts';
import { stubOf } from '#test/support/conversations.ts';
import {
  answerWithPieces,
  installTestTime,
  readLedger,
  readUntilText,
  startTurnStream,
  testTime,
} from '#test/support/timed-turns.ts';
import { createBody, readStream } from '#test/support/turns.ts';
import { blockEnd, messageEnd, messageStart, sseEvent, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

installTestTime();
// A request is sent by the machine's clock.
beforeEach(() => {
  stopClock();
  testTime.now = Date.now();
});

const INPUT = 4_000;
const OUTPUT = 20_000;
const SPEED = 60;
const said = textDelta('Hello there. ');
const usage = { output_tokens: 10 * SPEED };

/** Has turns of three accounts end, each in ten seconds. */
async function teach(answers: number): Promise<void> {
  answerWithPieces(
    () => [
      { at: 500, text: messageStart() + TEXT_BLOCK_START + said },
      {
        at: 10_500,
        text: said + blockEnd() + messageEnd(usage),
      },
    ],
    false,
  );
  for (let index = 0; index < answers; index += 1) {
    testTime.now = Date.now();
    await readStream(await startTurnStream(`t${index}`, createBody('Hi'), `account-${index % 3}`));
  }
}

/** @returns what a turn is booked at that is stopped after ten seconds of hidden thinking; nanodollars */
async function bookedThinking(body: object): Promise<number> {
  answerWithPieces(() => [
    {
      text:
        messageStart() +
        sseEvent('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } }),
    },
  ]);
  testTime.now = Date.now();
  const stream = await startTurnStream('c1', body);
  await readUntilText(stream.getReader(), 'thinking');
  testTime.now += 10_000;
  await stubOf('c1').stopRunningTurn();
  const [row] = await readLedger();
  return Math.round((row?.cost_usd ?? 0) * 1e9);
}

/** The prompt, and what can have been written in ten seconds and a quarter. */
const bookedAt = (perSecond: number) => 100 * INPUT + 10.25 * perSecond * OUTPUT;
const most = { max_tokens: 128_000 };

test('fifty completed turns teach the speed of a model, and hidden thinking is settled at twice that speed', async () => {
  await teach(50);
  expect(await bookedThinking(createBody('Hi', most))).toBe(bookedAt(2 * SPEED));
});

test('fewer than fifty completed turns teach no speed', async () => {
  await teach(49);
  expect(await bookedThinking(createBody('Hi', most))).toBe(bookedAt(500));
});

test('a learned speed does not apply to the same model with another `speed` parameter', async () => {
  await teach(50);
  expect(await bookedThinking(createBody('Hi', { ...most, speed: 'fast' }))).toBe(bookedAt(1_000));
});
