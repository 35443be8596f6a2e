import { expect, test } from 'vitest';
import { mergeKeyRateLimits, RateLimitObserver } from '#edge/claude/upstreams/rate-limits.ts';

const NOW = Date.UTC(2026, 10, 20, 12);
const headers = (members: Record<string, string>) =>
  new Headers(
    Object.entries(members).map(([name, value]) => [`anthropic-ratelimit-${name}`, value] as [string, string]),
  );
const LEFT = headers({
  'requests-limit': '50',
  'requests-remaining': '49',
  'requests-reset': '2026-11-20T12:00:01Z',
  'output-tokens-limit': '80000',
  'output-tokens-remaining': '4000',
  'output-tokens-reset': 'soon',
});

test('reads what is left of each limit, by upstream and model class', () => {
  const observer = new RateLimitObserver();
  observer.recordResponse(LEFT, 'east', { line: 'opus' }, NOW);
  observer.recordResponse(LEFT, 'east', undefined, NOW);
  observer.recordResponse(new Headers(), 'west', { line: 'opus' }, NOW);
  expect(observer.takeUnreported(NOW)).toEqual(
    ['opus', '(other)'].map((modelClass) => ({
      upstream: 'east',
      modelClass,
      at: NOW,
      limits: {
        requests: { limit: 50, remaining: 49, resetsAt: NOW + 1_000 },
        output_tokens: { limit: 80_000, remaining: 4_000, resetsAt: NOW },
      },
    })),
  );
});

test('ignores headers that are not numbers', () => {
  const observer = new RateLimitObserver();
  observer.recordResponse(headers({ 'tokens-limit': 'x', 'tokens-remaining': '1' }), '', undefined, NOW);
  observer.recordResponse(headers({ 'tokens-remaining': '1' }), '', undefined, NOW);
  observer.recordResponse(headers({ 'tokens-limit': '0', 'tokens-remaining': '-1' }), '', undefined, NOW);
  expect(observer.takeUnreported(NOW)).toBeUndefined();
});

test('reports the last response, once, and at most every ten seconds', () => {
  const observer = new RateLimitObserver();
  const record = (now: number) => observer.recordResponse(LEFT, '', { line: 'opus' }, now);
  record(NOW);
  record(NOW + 1);
  expect(observer.takeUnreported(NOW + 1)).toMatchObject([{ at: NOW + 1 }]);
  record(NOW + 2);
  expect(observer.takeUnreported(NOW + 9_000)).toBeUndefined();
  expect(observer.takeUnreported(NOW + 10_001)).toMatchObject([{ at: NOW + 2 }]);
  expect(observer.takeUnreported(NOW + 60_000)).toBeUndefined();
});

test('keeps the newest report of each upstream and model class', () => {
  const of = (upstream: string, modelClass: string, at: number) => ({ upstream, modelClass, at, limits: {} });
  expect(
    mergeKeyRateLimits([of('', 'opus', 2), of('', 'opus', 1), of('', 'haiku', 1), of('east', 'opus', 1)]).map(
      ({ upstream, modelClass, at }) => `${upstream} ${modelClass} ${at}`,
    ),
  ).toEqual([' opus 2', ' haiku 1', 'east opus 1']);
});
