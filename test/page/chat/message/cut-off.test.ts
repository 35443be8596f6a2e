import { expect, test, vi } from 'vitest';
import { describeMaxTokensCutOff } from '#page/chat/message/cut-off.ts';

test.each([
  ['account', 'usd_per_day', 'your daily limit'],
  ['token', 'usd_total', 'your token’s total limit'],
  ['group', 'usd_per_month', 'your group’s monthly limit'],
  ['deployment', 'usd_per_week', 'this deployment’s weekly limit'],
  ['run', 'max_usd', 'this run’s own limit'],
  ['account', 'output_tokens_per_minute', 'your limit of tokens per minute'],
  // One without words of its own.
  ['account', 'usd_per_year', 'your usd_per_year'],
] as const)('a response cut off by the %s limit %s names “%s”', (by, limit, said) => {
  expect(describeMaxTokensCutOff({ by, limit, resets_at: null }, false)).toBe(
    `Cut off by the budget: ${said} allows no more.`,
  );
});

test('describeMaxTokensCutOff states when the limit resets, and blames max_tokens only if no budget limit applied', () => {
  vi.useFakeTimers({ now: new Date(2026, 10, 27, 12) });
  const resets_at = new Date(2026, 10, 28, 1).toISOString();
  const said = describeMaxTokensCutOff({ by: 'account', limit: 'usd_per_day', resets_at }, true);
  expect(said).toBe('Cut off by the budget: your daily limit allows no more. It resets tomorrow at 01:00.');
  expect(describeMaxTokensCutOff(undefined, false)).toContain('your maximum output. Raise it in Options');
  expect(describeMaxTokensCutOff(undefined, true)).toContain('the agent’s maximum output tokens');
  vi.useRealTimers();
});
