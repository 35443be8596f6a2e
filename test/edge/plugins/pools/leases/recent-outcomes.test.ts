import { expect, test } from 'vitest';
import { createSettledRequestFields } from '#edge/money/ledger/settlement.ts';
import { RecentOutcomes } from '#edge/plugins/pools/leases/recent-outcomes.ts';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 10, 20, 12);
const MODEL = 'claude-opus-5-5';

function closing(
  members: { status?: string; errorType?: string; upstream?: string; failedUpstreams?: string[] },
  at = NOON,
) {
  return createSettledRequestFields({ requestId: 'req_1', status: 'complete', cost: 1, ...members }, 1, at, false);
}

function count(...closings: ReturnType<typeof closing>[]) {
  const outcomes = new RecentOutcomes();
  for (const one of closings) outcomes.recordOutcome({ stage: 'sent', model: MODEL }, one);
  return outcomes.listRecentCounts(NOON, (model) => model);
}

test.each([
  'overloaded_error',
  'api_error',
  'timeout_error',
  'rate_limit_error',
  'upstream_unreachable',
  'upstream_408',
  'upstream_502',
])('counts %s as a failure of the upstream', (errorType) => {
  expect(count(closing({ errorType, status: 'refused_upstream' }), closing({}))).toMatchObject([
    { upstream: '', model: MODEL, requests: 2, failed: 1, error: errorType },
  ]);
});

test.each(['invalid_request_error', 'not_found_error', 'request_too_large', 'upstream_404', 'client_gone'])(
  'counts %s as a request that the upstream did not fail',
  (errorType) => {
    expect(count(closing({ errorType }))).toMatchObject([{ requests: 1, failed: 0, error: '' }]);
  },
);

test('counts a stream that the upstream cut as a failure, but not one that its client left or stopped', () => {
  const counts = count(closing({ status: 'cut' }), closing({ status: 'client_gone' }), closing({ status: 'stopped' }));
  expect(counts).toMatchObject([{ requests: 3, failed: 1, error: 'upstream_cut' }]);
});

test('counts a failure of each upstream that failed before another one answered', () => {
  expect(count(closing({ upstream: 'west', failedUpstreams: ['east'] }))).toMatchObject([
    { upstream: 'east', requests: 1, failed: 1, rerouted: 1 },
    { upstream: 'west', requests: 1, failed: 0, rerouted: 0 },
  ]);
});

test.each(['overloaded_error', 'upstream_auth'])(
  'counts no failure as answered elsewhere if the last upstream returns %s',
  (errorType) => {
    const counts = count(closing({ errorType, upstream: 'west', failedUpstreams: ['east'] }));
    expect(counts[0]).toMatchObject({ upstream: 'east', failed: 1, rerouted: 0 });
  },
);

test('leaves out requests with a rejected key, orphaned requests and batches, which are reported otherwise', () => {
  const outcomes = new RecentOutcomes();
  outcomes.recordOutcome({ stage: 'sent', model: MODEL }, closing({ errorType: 'upstream_auth' }));
  outcomes.recordOutcome({ stage: 'sent', model: MODEL }, closing({ status: 'orphaned' }));
  outcomes.recordOutcome({ stage: 'batch', model: MODEL }, closing({ errorType: 'api_error' }));
  expect(outcomes.listRecentCounts(NOON, (model) => model)).toEqual([]);
});

test('keeps the outcomes of ten minutes, and counts all models outside the price table together', () => {
  const outcomes = new RecentOutcomes();
  outcomes.recordOutcome({ stage: 'sent', model: MODEL }, closing({}, NOON - 10 * MINUTE));
  for (let nth = 0; nth < 500; nth += 1) outcomes.recordOutcome({ stage: 'sent', model: `m${nth}` }, closing({}));
  outcomes.recordOutcome({ stage: 'sent', model: MODEL }, closing({}, NOON - MINUTE));
  const counts = outcomes.listRecentCounts(NOON, (model) => (model === MODEL ? MODEL : undefined));
  expect(counts.map(({ minute, model, requests }) => [NOON / MINUTE - minute, model, requests]).sort()).toEqual([
    [0, '', 500],
    [1, MODEL, 1],
  ]);
});
