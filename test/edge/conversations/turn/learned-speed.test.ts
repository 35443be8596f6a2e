import { beforeEach, expect, test } from 'vitest';
import { stopClock } from '#test/support/calendar.ts';
import { stubOf } from '#test/support/conversations.ts';
import { answering, begun, keepTime, ledger, time, until } from '#test/support/timed-turns.ts';
import { bodyOf, listen } from '#test/support/turns.ts';
import { blockEnd, end, event, start, TEXT_BEGINS, textDelta } from '#test/support/wire.ts';

keepTime();
// A request is sent by the machine's clock.
beforeEach(() => {
  stopClock();
  time.now = Date.now();
});

const INPUT = 4_000;
const OUTPUT = 20_000;
const SPEED = 60;
const said = textDelta('Hello there. ');
const usage = { output_tokens: 10 * SPEED };

/** Has turns of three accounts end, each in ten seconds. */
async function teach(answers: number): Promise<void> {
  answering(
    () => [
      { at: 500, text: start() + TEXT_BEGINS + said },
      {
        at: 10_500,
        text: said + blockEnd() + end(usage),
      },
    ],
    false,
  );
  for (let index = 0; index < answers; index += 1) {
    time.now = Date.now();
    await listen(await begun(`t${index}`, bodyOf('Hi'), `account-${index % 3}`));
  }
}

/** @returns what a turn is booked at that is stopped after ten seconds of hidden thinking; nanodollars */
async function bookedThinking(body: object): Promise<number> {
  answering(() => [
    {
      text:
        start() +
        event('content_block_start', { index: 0, content_block: { type: 'thinking', thinking: '', signature: '' } }),
    },
  ]);
  time.now = Date.now();
  const stream = await begun('c1', body);
  await until(stream.getReader(), 'thinking');
  time.now += 10_000;
  await stubOf('c1').stop();
  const [row] = await ledger();
  return Math.round((row?.cost_usd ?? 0) * 1e9);
}

/** The prompt, and what can have been written in ten seconds and a quarter. */
const bookedAt = (perSecond: number) => 100 * INPUT + 10.25 * perSecond * OUTPUT;
const most = { max_tokens: 128_000 };

test('fifty turns that ended teach how fast a model is, and hidden thinking is booked at twice as fast', async () => {
  await teach(50);
  expect(await bookedThinking(bodyOf('Hi', most))).toBe(bookedAt(2 * SPEED));
});

test('fewer of them teach nothing', async () => {
  await teach(49);
  expect(await bookedThinking(bodyOf('Hi', most))).toBe(bookedAt(500));
});

test('what they have taught says nothing of the same model at another speed', async () => {
  await teach(50);
  expect(await bookedThinking(bodyOf('Hi', { ...most, speed: 'fast' }))).toBe(bookedAt(1_000));
});
