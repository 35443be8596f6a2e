import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TRUNCATED_FILL_RATIO } from '#edge/conversations/history/history-ratios.ts';
import { findFirstFitting, type SizedTurn } from '#edge/conversations/history/truncate.ts';
import { shortenedBy } from '#test/bench/history-model.ts';
import { tryCases } from '#test/support/property-cases.ts';

const turns = fc
  .array(fc.record({ tokens: fc.integer({ min: 1, max: 100 }), follows: fc.boolean() }), {
    minLength: 1,
    maxLength: 20,
  })
  .map((list): SizedTurn[] =>
    list.map((turn, index) => ({ ...turn, from: 1 + 2 * index, follows: index > 0 && turn.follows })),
  );

test('findFirstFitting starts at a turn that does not follow another', () => {
  tryCases(100, turns, fc.nat(100), fc.integer({ min: 1, max: 500 }), (history, fresh, most) => {
    const start = findFirstFitting(history, 0, fresh, most);
    const total = history.reduce((sum, { tokens }) => sum + tokens, fresh);
    if (total <= most) expect(start).toBe(0);
    else expect(history.find(({ from }) => from === start)?.follows ?? false).toBe(false);
  });
});

test('findFirstFitting drops more turns than necessary, so that the next turn starts at the same place', () => {
  const history = Array.from({ length: 10 }, (_, index) => ({ from: index, tokens: 10, follows: false }));
  const start = findFirstFitting(history, 0, 5, 100);
  expect(start).toBe(3);
  expect(findFirstFitting(history, start, 15, 100)).toBe(start);
});

test('findFirstFitting keeps turns that follow each other together, even above the limit', () => {
  const history = [
    { from: 0, tokens: 10, follows: false },
    { from: 2, tokens: 500, follows: false },
    { from: 4, tokens: 500, follows: true },
  ];
  expect(findFirstFitting(history, 0, 5, 100)).toBe(2);
});

test('the cost model of a long conversation omits the same turns as findFirstFitting', () => {
  tryCases(100, turns, fc.nat(100), fc.integer({ min: 1, max: 500 }), (history, fresh, most) => {
    const sizes = history.map(({ tokens }) => tokens);
    const sized = sizes.map((tokens, from): SizedTurn => ({ from, tokens, follows: false }));
    const first = findFirstFitting(sized, 0, fresh, most);
    // No turn is sent where the last one does not fit beside the question.
    const fits = sizes.slice(first).reduce((sum, tokens) => sum + tokens, fresh) <= most;
    const strategy = { kind: 'truncate', most, filled: TRUNCATED_FILL_RATIO } as const;
    expect(shortenedBy(strategy, { summary: 0, turns: sizes, older: 0 }, fresh, false)).toBe(
      fits ? first : sizes.length,
    );
  });
});
