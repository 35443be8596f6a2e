import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ConversationSummary } from '#client/index.ts';
import { mapSummariesByMessage } from '#page/chat/session/summaries.ts';

const summary = (n: number, cost_usd: number): ConversationSummary => ({
  until: `msg_${n}`,
  until_shown: `shown_${n}`,
  content: `Up to ${n}.`,
  model: 'm',
  created_at: '2026-11-01T00:00:00.000Z',
  cost_usd,
});

test('each message has at most one summary, only the last one is in use, and no cost is lost', () => {
  const made = fc.array(fc.record({ n: fc.nat(4), cost: fc.nat(9) }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(made, (all) => {
      const inOrder = all.toSorted((one, other) => one.n - other.n);
      const placed = mapSummariesByMessage({ summaries: inOrder.map(({ n, cost }) => summary(n, cost)) });
      expect([...placed.keys()]).toEqual([...new Set(inOrder.map(({ n }) => `shown_${n}`))]);
      expect([...placed.values()].map(({ isReplaced }) => isReplaced)).toEqual(
        [...placed.keys()].map((_, index) => index < placed.size - 1),
      );
      const sum = (costs: number[]) => costs.reduce((total, cost) => total + cost, 0);
      expect(sum([...placed.values()].map(({ cost_usd }) => cost_usd))).toBe(sum(all.map(({ cost }) => cost)));
    }),
  );
});

test('a conversation without summaries, or one that is not loaded yet, shows no summary', () => {
  expect(mapSummariesByMessage({}).size).toBe(0);
  expect(mapSummariesByMessage(undefined).size).toBe(0);
});
