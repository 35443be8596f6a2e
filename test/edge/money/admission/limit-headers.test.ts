import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLimitRejectionError, createQuotaHeaders, formatUsd } from '#edge/money/admission/limit-headers.ts';
import { decideHold } from '#edge/money/budget/budget.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { computeQuotaStatus } from '#edge/money/budget/quota-status.ts';
import { createLimitRejection } from '#edge/money/budget/refusals.ts';
import { toLimitRules } from '#edge/money/budget/rules.ts';
import { addHold, BATCH_STAGE, createEmptyBudget } from '#edge/money/budget/state.ts';
import type { LimitRejection, QuotaStatus } from '#edge/money/contracts/admission.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { NOON, worstCaseWith } from '../account/admission-requests.ts';

const DAY_END = Date.parse('2026-11-21T00:00:00Z');
const WEEK_END = Date.parse('2026-11-23T00:00:00Z');
const MONTH_END = Date.parse('2026-12-01T00:00:00Z');
const seconds = (milliseconds: number) => String(milliseconds / 1_000);

const spend = (limit: number, settled: number, held = 0, resetsAt = DAY_END) => ({ limit, settled, held, resetsAt });

/** All that `claude-api.md` lets stand in an answer that was admitted. */
const allowed = (status: string, utilization: string, resets: number, threshold?: string) => ({
  'anthropic-ratelimit-unified-status': status,
  'anthropic-ratelimit-unified-representative-claim': 'overage',
  'anthropic-ratelimit-unified-overage-status': status,
  'anthropic-ratelimit-unified-overage-utilization': utilization,
  ...(threshold === undefined ? {} : { 'anthropic-ratelimit-unified-overage-surpassed-threshold': threshold }),
  'anthropic-ratelimit-unified-reset': seconds(resets),
  'anthropic-ratelimit-unified-overage-reset': seconds(resets),
});

/** The error for a request that an account refuses which has spent so much, and set so much aside. */
function refused(
  limits: Limits,
  more: Parameters<typeof worstCaseWith>[0] = {},
  { settled = 0, held = 0, credit = 0 } = {},
) {
  const rules = toLimitRules(limits);
  const budget = createEmptyBudget(NOON);
  for (const window of Object.values(budget.windows)) Object.assign(window, { settled, held });
  budget.credit = credit;
  const decision = decideHold(budget, rules, worstCaseWith(more), NOON);
  if (decision.kind !== 'refused') throw new Error(decision.kind);
  return createLimitRejectionError(decision, computeQuotaStatus(budget, rules, NOON));
}

test.each([
  // Nobody has given any; all is spent; a debt.
  [0, 0, true],
  [1, 1, true],
  [9_000_000_000, 9_000_000_001, false],
])('reports that no credit is left for a prepaid account with %d of credit and %d spent', (credit, settled, never) => {
  const error = refused({ usd_total: 0 }, {}, { settled, credit });
  expect([error.type, error.status, error.message]).toEqual([
    'billing_error',
    429,
    'No credit is left. Ask an admin to add credit.',
  ]);
  expect(error.cause).toMatchObject({ reason: 'spend', limit: 'usd_total', never });
  // Where some is left, it is said what would fit.
  expect(refused({ usd_total: 0 }, {}, { settled: 0, credit: 1 }).message).toMatch(/than your total limit\. [A-Z]/);
});

describe('an admitted request', () => {
  test('has no quota headers without limits', () => {
    expect(createQuotaHeaders({})).toEqual({});
  });

  test.each([
    [0, 0, 'allowed', '0.00', undefined],
    [500, 100, 'allowed', '0.50', undefined],
    [749, 0, 'allowed', '0.75', undefined],
    [0, 1_000, 'allowed', '0.00', undefined],
    [750, 0, 'allowed_warning', '0.75', '0.75'],
    [700, 249, 'allowed', '0.70', undefined],
    [949, 0, 'allowed_warning', '0.95', '0.75'],
    [950, 50, 'allowed_warning', '0.95', '0.95'],
    [999, 0, 'allowed_warning', '0.99', '0.95'],
    [1_200, 0, 'allowed_warning', '0.99', '0.95'],
  ] as const)(
    'with %d settled and %d held of 1,000 has the status %s and the utilization %s',
    (settled, held, status, utilization, threshold) => {
      expect(createQuotaHeaders({ day: spend(1_000, settled, held) })).toEqual(
        allowed(status, utilization, DAY_END, threshold),
      );
    },
  );

  test('receives the headers of the most used window', () => {
    const standing: QuotaStatus = {
      day: spend(1_000, 100),
      week: spend(2_000, 1_600, 0, WEEK_END),
      month: spend(100_000, 1_700, 0, MONTH_END),
    };
    expect(createQuotaHeaders(standing)).toEqual(allowed('allowed_warning', '0.80', WEEK_END, '0.75'));
    expect(createQuotaHeaders({ ...standing, day: spend(100, 99) })).toEqual(
      allowed('allowed_warning', '0.99', DAY_END, '0.95'),
    );
  });

  test('receives a utilization below 1, and a warning only from three quarters settled', () => {
    const amount = fc.integer({ min: 0, max: 1e15 });
    tryCases(100, amount, amount, amount, (limit, settled, held) => {
      const headers = createQuotaHeaders({ month: spend(limit, settled, held, MONTH_END) });
      const told = headers['anthropic-ratelimit-unified-overage-utilization'] ?? '';
      expect(told).toMatch(/^0\.\d\d$/);
      const share = limit === 0 ? 1 : settled / limit;
      expect(Math.abs(Number(told) - Math.min(share, 0.99))).toBeLessThanOrEqual(0.005 + 1e-9);
      const threshold = share >= 0.95 ? '0.95' : share >= 0.75 ? '0.75' : undefined;
      expect(headers).toEqual(allowed(threshold ? 'allowed_warning' : 'allowed', told, MONTH_END, threshold));
    });
  });

  test('receives headers for each rate limit, and for all tokens if input and output are limited', () => {
    const bucket = (limit: number, remaining: number, after: number) => ({ limit, remaining, resetsAt: NOON + after });
    expect(createQuotaHeaders({ requests: bucket(50, 49, 1_200) })).toEqual({
      'anthropic-ratelimit-requests-limit': '50',
      'anthropic-ratelimit-requests-remaining': '49',
      'anthropic-ratelimit-requests-reset': '2026-11-20T12:00:01.200Z',
    });
    expect(
      createQuotaHeaders({
        inputTokens: bucket(1_000, 10, 0),
        outputTokens: bucket(500, 0, 30_000),
        countRequests: bucket(1, 1, 0),
      }),
    ).toEqual({
      'anthropic-ratelimit-input-tokens-limit': '1000',
      'anthropic-ratelimit-input-tokens-remaining': '10',
      'anthropic-ratelimit-input-tokens-reset': '2026-11-20T12:00:00.000Z',
      'anthropic-ratelimit-output-tokens-limit': '500',
      'anthropic-ratelimit-output-tokens-remaining': '0',
      'anthropic-ratelimit-output-tokens-reset': '2026-11-20T12:00:30.000Z',
      'anthropic-ratelimit-tokens-limit': '1500',
      'anthropic-ratelimit-tokens-remaining': '10',
      'anthropic-ratelimit-tokens-reset': '2026-11-20T12:00:30.000Z',
    });
    expect(createQuotaHeaders({ requests: bucket(0.001, 0, 1e300) })['anthropic-ratelimit-requests-reset']).toMatch(
      /Z$/,
    );
  });
});

describe('a rejected request', () => {
  test.each([
    ['usd_per_day', 'daily', DAY_END],
    ['usd_per_week', 'weekly', WEEK_END],
    ['usd_per_month', 'monthly', MONTH_END],
  ] as const)('by %s receives the %s limit in the headers that clients know', (limit, period, resets) => {
    const error = refused({ [limit]: 0.000003, min_output_tokens: 100 }, {}, { settled: 2_000 });
    expect(error).toMatchObject({ type: 'billing_error', status: 429 });
    expect(error.headers).toEqual({
      'sluice-limited-by': 'account',
      'sluice-budget-used': '0.6666',
      'x-should-retry': 'false',
      'retry-after': seconds(resets - NOON),
      'anthropic-ratelimit-unified-status': 'rejected',
      'anthropic-ratelimit-unified-reset': seconds(resets),
      'anthropic-ratelimit-unified-overage-reset': seconds(resets),
      'anthropic-ratelimit-unified-overage-utilization': '1',
      'anthropic-ratelimit-unified-overage-surpassed-threshold': '1',
      'anthropic-ratelimit-unified-overage-period': period,
      'anthropic-ratelimit-unified-overage-disabled-reason': 'org_spend_cap_reached',
    });
    expect(error.message).toBe(
      `The ${period} spend limit of this account leaves too little: $0.000001 is left and this request needs $0.000002. ` +
        `It resets at ${new Date(resets).toISOString()}.`,
    );
  });

  test('by a shared budget receives no amount that other accounts have spent', () => {
    const shared = createLimitRejection('spend', 'usd_per_day', NOON, DAY_END, 2_000, 0, false);
    const { headers, message } = createLimitRejectionError({ ...shared, by: 'group' }, { day: spend(10_000, 2_000) });
    expect(headers).toMatchObject({ 'sluice-limited-by': 'group', 'sluice-budget-used': '1' });
    expect(message).toBe(
      'The daily spend limit of this account’s group is reached. It resets at 2026-11-21T00:00:00.000Z.',
    );
  });

  test('by several windows receives the window that resets last', () => {
    const limits = { usd_per_day: 0.00001, usd_per_week: 0.00001, usd_per_month: 0.00001 };
    const { headers } = refused(limits, {}, { settled: 9_000 });
    expect(headers['anthropic-ratelimit-unified-overage-period']).toBe('monthly');
  });

  test.each([
    ['usd_per_day', 'daily'],
    ['usd_per_week', 'weekly'],
    ['usd_per_month', 'monthly'],
  ] as const)('that exceeds the whole limit %s receives advice and no reset time', (limit, period) => {
    const error = refused({ [limit]: 0.0000015, min_output_tokens: 100 });
    expect(error).toMatchObject({ type: 'billing_error', status: 429 });
    expect(error.headers).toEqual({
      'sluice-limited-by': 'account',
      'sluice-budget-used': '0',
      'x-should-retry': 'false',
    });
    expect(error.message).toBe(
      `This request can cost up to $0.000002, which is more than your ${period} limit. ` +
        'Send a shorter request, or use a cheaper model.',
    );
  });

  test('by the holds of other requests receives a short Retry-After and no spent limit', () => {
    const error = refused({ usd_per_day: 0.00001 }, {}, { held: 9_000 });
    expect(error).toMatchObject({ type: 'rate_limit_error', status: 429 });
    expect(error.headers).toEqual({
      'sluice-limited-by': 'account',
      'retry-after': '2',
      ...allowed('allowed', '0.00', DAY_END),
    });
    expect(error.message).toBe(
      "The rest of this account's daily spend limit is reserved for its running requests. Try again in 2 s.",
    );
  });

  test('by a batch’s hold receives the time when it ends and x-should-retry: false', () => {
    const budget = createEmptyBudget(NOON);
    const hold = { id: 'batch', at: NOON, deadline: NOON, nanodollars: 9_000, stage: BATCH_STAGE };
    addHold(budget, { ...hold, inputTokens: 0, outputTokens: 0, maxTokens: 0 }, budget.fullAt);
    const rules = toLimitRules({ usd_per_day: 0.00001 });
    const decision = decideHold(budget, rules, worstCaseWith(), NOON);
    if (decision.kind !== 'refused') throw new Error(decision.kind);
    const error = createLimitRejectionError(decision, computeQuotaStatus(budget, rules, NOON));
    expect(error).toMatchObject({ type: 'rate_limit_error', status: 429 });
    expect(error.headers).toMatchObject({ 'retry-after': '43200', 'x-should-retry': 'false' });
    expect(error.message).toBe(
      "The rest of this account's daily spend limit is reserved for its unfinished batches. It is available again by 2026-11-21T00:00:00.000Z.",
    );
  });

  test('by a limit in USD for a model without a price receives a message that names PRICES', () => {
    const error = refused({ usd_per_day: 1 }, { isPriced: false, models: [['claude-next']] });
    expect(error).toMatchObject({ type: 'not_found_error', status: 404 });
    expect(error.headers).toEqual({ 'sluice-limited-by': 'account', 'x-should-retry': 'false' });
    expect(error.message).toContain('claude-next');
    expect(error.message).toContain('PRICES');
  });

  test('by a rate limit receives a rate_limit_error with Retry-After', () => {
    const limits = { requests_per_minute: 6, usd_per_day: 1 };
    const rules = toLimitRules(limits);
    const budget = createEmptyBudget(NOON);
    budget.fullAt.requests = NOON + 60_000;
    const decision = decideHold(budget, rules, worstCaseWith(), NOON);
    const error = createLimitRejectionError(decision as LimitRejection, computeQuotaStatus(budget, rules, NOON));
    expect(error).toMatchObject({ type: 'rate_limit_error', status: 429 });
    expect(error.headers).toEqual({
      'sluice-limited-by': 'account',
      'retry-after': '10',
      'anthropic-ratelimit-requests-limit': '6',
      'anthropic-ratelimit-requests-remaining': '0',
      'anthropic-ratelimit-requests-reset': '2026-11-20T12:01:00.000Z',
      ...allowed('allowed', '0.00', DAY_END),
    });
    expect(error.message).toContain('requests_per_minute');
    expect(error.message).toContain('Try again in 10 s.');
  });

  test('that exceeds a whole rate limit receives x-should-retry: false', () => {
    for (const [limits, name] of [
      [{ input_tokens_per_minute: 99 }, 'input_tokens_per_minute'],
      [{ output_tokens_per_minute: 255 }, 'output_tokens_per_minute'],
    ] as const) {
      const error = refused(limits);
      expect(error).toMatchObject({ type: 'rate_limit_error', status: 429 });
      expect(error.headers).toMatchObject({ 'x-should-retry': 'false', 'sluice-limited-by': 'account' });
      expect(error.message).toContain(name);
    }
  });

  test('by a limit of 0 requests receives the message that the account is blocked', () => {
    for (const limit of ['requests_per_minute', 'concurrent_requests'] as const) {
      const { message, headers } = refused({ [limit]: 0 });
      expect(message).toBe(`This account is blocked, because its limit \`${limit}\` is 0. Ask an admin to raise it.`);
      expect(headers).toMatchObject({ 'x-should-retry': 'false' });
    }
  });

  test.each([
    ['usd_per_day', 'daily'],
    ['usd_per_month', 'monthly'],
  ] as const)('by the limit %s of 0 receives the message that the account is blocked', (limit, period) => {
    expect(refused({ [limit]: 0, usd_per_week: 0.000001 }).message).toBe(
      `This account is blocked, because its ${period} limit (\`${limit}\`) is 0. Ask an admin to raise it.`,
    );
  });

  test('by concurrent_requests receives a Retry-After of a second', () => {
    const budget = createEmptyBudget(NOON);
    const hold = { id: 'running', at: NOON, deadline: NOON + 1, nanodollars: 0, stage: '' };
    addHold(budget, { ...hold, inputTokens: 0, outputTokens: 0, maxTokens: 0 }, budget.fullAt);
    const rules = toLimitRules({ concurrent_requests: 1 });
    const decision = decideHold(budget, rules, worstCaseWith(), NOON);
    if (decision.kind !== 'refused') throw new Error(decision.kind);
    const error = createLimitRejectionError(decision, computeQuotaStatus(budget, rules, NOON));
    expect(error).toMatchObject({ type: 'rate_limit_error', status: 429 });
    expect(error.headers).toEqual({ 'sluice-limited-by': 'account', 'retry-after': '1' });
    expect(error.message).toBe(
      'This account has reached its limit of concurrent requests (concurrent_requests). Wait until one of them ends.',
    );
  });

  test('by the allowed models receives a 404 with the model’s name', () => {
    const error = refused({ models: ['claude-haiku-5-5'] });
    expect(error).toMatchObject({ type: 'not_found_error', status: 404 });
    expect(error.headers).toEqual({ 'sluice-limited-by': 'account', 'x-should-retry': 'false' });
    expect(error.message).toContain('claude-opus-5-5');
  });
});

test('formats amounts as exact plain decimals', () => {
  for (const [nanodollars, text] of [
    [0, '0'],
    [1, '0.000000001'],
    [100, '0.0000001'],
    [1e9, '1'],
    [100e9, '100'],
    [1_500_000_000, '1.5'],
  ] as const) {
    expect(formatUsd(nanodollars)).toBe(text);
  }
  tryCases(100, fc.integer({ min: 0, max: 1e15 }), (nanodollars) => {
    expect(formatUsd(nanodollars)).toMatch(/^\d+(\.\d*[1-9])?$/);
    expect(Math.round(Number(formatUsd(nanodollars)) * 1e9)).toBe(nanodollars);
  });
});
