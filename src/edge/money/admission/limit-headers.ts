/** Reports to callers how much of their limits is left, which limit has rejected or lowered a request, and when to retry. */

import { createModelHint } from '../../claude/models/model-hint.ts';
import type { ModelTable } from '../../claude/models/models.ts';
import { describeAllowedModels } from '../../claude/pricing/allowed-models.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import {
  ApiError,
  createNonRetryableError,
  createRetryAfterHeader,
  DO_NOT_RETRY,
  type ErrorType,
} from '../../kit/http/errors.ts';
import { isSharedBudget } from '../budget/budget-windows.ts';
import { NEVER, type Period } from '../budget/windows.ts';
import {
  FREE_REQUESTS_LIMIT,
  type LimitOwner,
  type LimitRejection,
  type QuotaStatus,
  type RateStatus,
  type StorageLimitRejection,
} from '../contracts/admission.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { computeUsedShareOfLimit, createBudgetHeaders, listOwnSpendLimits } from './budget-left.ts';

const PERIOD_NAMES: Record<Period, string> = {
  hour: 'hourly',
  day: 'daily',
  week: 'weekly',
  month: 'monthly',
  total: 'total',
};
const OWNER_NAMES: Record<LimitOwner, string> = {
  account: 'this account',
  token: 'this token',
  group: 'this account’s group',
  deployment: 'this deployment',
  run: 'this run',
};
/** The shares of a spend limit at which clients show a warning. */
const THRESHOLDS = [0.95, 0.75];
const MAX_UTILIZATION = 0.99;
/** The longest wait, in seconds, after which clients are asked to retry by themselves. */
const MAX_RETRY_SECONDS = 60;

/** The remedy if a limit never resets. */
const TOTAL_HELP: Record<LimitOwner, string> = {
  account: 'It does not reset. Ask an admin to add credit, or to raise usd_total.',
  token: 'It does not reset. Get a new token.',
  group: 'It does not reset. Ask an admin to raise usd_total.',
  deployment: 'It does not reset. Ask the operator to raise usd_total.',
  run: 'Send a larger max_usd.',
};

/** The subject of the error for a spend limit of 0. */
const BLOCKED: Record<LimitOwner, string> = {
  account: 'This account is blocked',
  token: 'This token is blocked',
  group: 'This account’s group is blocked',
  deployment: 'This deployment is blocked',
  run: 'This run is blocked',
};
const ZERO_LIMIT_HELP: Record<LimitOwner, string> = {
  account: 'Ask an admin to raise it.',
  token: 'Get another token.',
  group: 'Ask an admin to raise it.',
  deployment: 'Ask the operator to raise it.',
  run: 'Send a larger max_usd.',
};

const NO_CREDIT = 'No credit is left. Ask an admin to add credit.';

/** The sentence of a rejection whose prompt may have far fewer tokens than were assumed. */
const NOT_COUNTED = ' The upstream could not count this prompt, so its maximum was used.';

/** @returns the `anthropic-ratelimit-*` headers of an admitted request: they describe this account, never the upstream's. */
export function createQuotaHeaders(quota: QuotaStatus): Record<string, string> {
  return { ...createRateLimitHeaders(quota), ...createSpendHeaders(quota) };
}

/**
 * @returns the headers about a lowered `max_tokens`, or a `max_uses` that was set: the value, and the limit, which resets at
 *   `resets`
 */
export function createLoweredLimitHeaders({
  maxTokens,
  loweredBy,
}: {
  maxTokens?: number;
  loweredBy?: LoweredBy;
}): Record<string, string> {
  const headers = maxTokens === undefined ? {} : { 'sluice-max-tokens': String(maxTokens) };
  if (!loweredBy) return headers;
  const { by, limit, resets_at: resets, max_uses: uses } = loweredBy;
  const parts = [by, `limit=${limit}`];
  if (resets !== null) parts.push(`resets=${resets}`);
  if (uses !== undefined) parts.push(`max_uses=${uses}`);
  return { ...headers, 'sluice-lowered-by': parts.join('; ') };
}

/**
 * Creates the error of a rejection, with the headers that clients read, and a sentence with the remedy. The rejection is its
 * cause.
 *
 * @param models finds what is wrong with the name of a model
 */
export function createLimitRejectionError(refusal: LimitRejection, quota: QuotaStatus, models?: ModelTable): ApiError {
  const { by = 'account', model, retryAfter } = refusal;
  const hint = model && models && createModelHint(model, models);
  const needsCount = ['spend', 'held'].includes(refusal.reason) || refusal.limit === 'input_tokens_per_minute';
  const more = refusal.uncounted && needsCount && !refusal.noCredit ? NOT_COUNTED : '';
  const createErrorWithHeaders = (type: ErrorType, message: string, headers: Record<string, string>) =>
    new ApiError(type, message + more, {
      headers: { ...(refusal.late ? {} : { 'sluice-limited-by': by }), ...headers },
      cause: refusal,
    });
  const soon = { ...createRetryAfterHeader(retryAfter), ...createQuotaHeaders(quota) };
  switch (refusal.reason) {
    // Reject a forbidden model with 404, as the API does for a model without access. Claude Code treats any 403 as a failed
    // login: https://github.com/anthropics/claude-code/issues/68121
    case 'model':
      return createErrorWithHeaders(
        'not_found_error',
        `This ${by === 'token' ? by : 'account'} cannot use ${model ?? 'this model'}. ${hint ? `${hint} ` : ''}${describeAllowedModels(refusal.allowed ?? [])}`,
        DO_NOT_RETRY,
      );
    case 'unpriced':
      return createErrorWithHeaders(
        'not_found_error',
        `This account has a limit in USD, but the price of ${model || 'this model'} is not known. ${hint || 'Use a model that GET /models lists, or ask the operator to add it to PRICES.'}`,
        DO_NOT_RETRY,
      );
    case 'requests':
      return createErrorWithHeaders(
        'permission_error',
        `This token has reached its limit of ${refusal.needed} requests (\`max_requests\`). Get a new token.`,
        DO_NOT_RETRY,
      );
    case 'spend':
      if (by === 'run')
        return createErrorWithHeaders('invalid_request_error', formatTooExpensiveForRunSentence(refusal), DO_NOT_RETRY);
      return refusal.never
        ? createErrorWithHeaders('billing_error', formatTooExpensiveSentence(refusal), {
            ...DO_NOT_RETRY,
            ...createUsedShareHeaders(refusal, quota),
          })
        : createErrorWithHeaders('billing_error', formatSpendLimitSentence(refusal), {
            ...DO_NOT_RETRY,
            ...createSpendLimitReachedHeaders(refusal),
            ...createUsedShareHeaders(refusal, quota),
          });
    case 'held': {
      const headers = retryAfter > MAX_RETRY_SECONDS ? { ...soon, ...DO_NOT_RETRY } : soon;
      return createErrorWithHeaders('rate_limit_error', formatHeldSentence(refusal), headers);
    }
    case 'concurrency':
      if (refusal.never)
        return createErrorWithHeaders('rate_limit_error', formatZeroLimitSentence(refusal), DO_NOT_RETRY);
      return createErrorWithHeaders(
        'rate_limit_error',
        `This account has reached its limit of concurrent requests (${refusal.limit}). Wait until one of them ends.`,
        soon,
      );
    case 'rate': {
      const headers = refusal.never ? { ...createQuotaHeaders(quota), ...DO_NOT_RETRY } : soon;
      return createErrorWithHeaders('rate_limit_error', formatRateLimitSentence(refusal), headers);
    }
  }
}

function formatHeldSentence(refusal: LimitRejection): string {
  const { by, byBatch, late, resetsAt, retryAfter } = refusal;
  if (late) return `A shared budget could not reserve the cost of this request in time. Try again in ${retryAfter} s.`;
  const left = `The rest of ${OWNER_NAMES[by]}'s ${PERIOD_NAMES[getPeriodOfLimit(refusal)]} spend limit is reserved for its`;
  return byBatch
    ? `${left} unfinished batches. It is available again by ${new Date(resetsAt).toISOString()}.`
    : `${left} running requests. Try again in ${retryAfter} s.`;
}

function formatRateLimitSentence({ by, limit, never, needed, left, retryAfter }: LimitRejection): string {
  // A single request exceeds `requests_per_minute` only if that limit is 0, so advising a smaller request would not help.
  if (never && limit === 'requests_per_minute') return formatZeroLimitSentence({ by, limit });
  if (limit === FREE_REQUESTS_LIMIT)
    return `This account sends too many requests to routes that call no model (its limit \`${limit}\`). Try again in ${retryAfter} s.`;
  return never
    ? `This request is larger than ${OWNER_NAMES[by]}'s limit ${limit} (it needs ${needed}). Send a smaller one, or lower max_tokens.`
    : `This request would exceed ${OWNER_NAMES[by]}'s limit ${limit} (it needs ${needed}, ${Math.floor(left)} are left). Try again in ${retryAfter} s.`;
}

function formatZeroLimitSentence({ by, limit }: Pick<LimitRejection, 'by' | 'limit'>): string {
  return `${BLOCKED[by]}, because its limit \`${limit}\` is 0. ${ZERO_LIMIT_HELP[by]}`;
}

function getPeriodOfLimit({ limit }: LimitRejection): Period {
  return limit.replace(/^usd_(per_)?/, '') as Period;
}

/** @returns the sentence for a request that never fits. It names no time, since waiting does not help. */
function formatTooExpensiveSentence(refusal: LimitRejection): string {
  if (refusal.noCredit) return NO_CREDIT;
  const { needed, advice, limit, by = 'account' } = refusal;
  const period = PERIOD_NAMES[getPeriodOfLimit(refusal)];
  if (advice === undefined)
    return `${BLOCKED[by]}, because its ${period} limit (\`${limit}\`) is 0. ${ZERO_LIMIT_HELP[by]}`;
  const whose = by === 'account' ? 'your' : `${OWNER_NAMES[by]}'s`;
  return `This request can cost up to ${formatDollars(needed)}, which is more than ${whose} ${period} limit. ${advice}`;
}

/** @returns the sentence for a step that does not fit into the rest of its run's own limit. */
function formatTooExpensiveForRunSentence({ needed, left }: LimitRejection): string {
  return `max_usd: this request can cost up to ${formatDollars(needed)}, but only ${formatDollars(left)} is left. Send a larger max_usd, or a shorter request.`;
}

function formatSpendLimitSentence(refusal: LimitRejection): string {
  if (refusal.noCredit) return NO_CREDIT;
  const { by = 'account', left, needed, resetsAt } = refusal;
  const period = getPeriodOfLimit(refusal);
  // What is left of a shared budget shows what other accounts have spent, so the message omits it.
  const how = isSharedBudget(by)
    ? 'is reached'
    : `leaves too little: ${formatDollars(left)} is left and this request needs ${formatDollars(needed)}`;
  const help = period === 'total' ? TOTAL_HELP[by] : `It resets at ${new Date(resetsAt).toISOString()}.`;
  const advice = refusal.advice === undefined ? '' : ` ${refusal.advice}`;
  return `The ${PERIOD_NAMES[period]} spend limit of ${OWNER_NAMES[by]} ${how}. ${help}${advice}`;
}

function formatDollars(nanodollars: number): string {
  return `$${formatUsd(nanodollars)}`;
}

/**
 * @returns the headers with the used share of the limit that rejects the request. They do not reveal what others have spent of
 * a shared budget.
 */
function createUsedShareHeaders(refusal: LimitRejection, quota: QuotaStatus): Record<string, string> {
  const { by } = refusal;
  const window = by === 'token' ? quota.token : quota[getPeriodOfLimit(refusal)];
  return createBudgetHeaders({ used: isSharedBudget(by) || !window ? 1 : computeUsedShareOfLimit(window) });
}

/** @returns the headers for a spend limit that is reached. If it never resets, they have no time. */
function createSpendLimitReachedHeaders(refusal: LimitRejection): Record<string, string> {
  const period = getPeriodOfLimit(refusal);
  const resets = String(Math.ceil(refusal.resetsAt / 1_000));
  return {
    ...(period === 'total'
      ? {}
      : {
          ...createRetryAfterHeader(refusal.retryAfter),
          'anthropic-ratelimit-unified-reset': resets,
          'anthropic-ratelimit-unified-overage-reset': resets,
        }),
    'anthropic-ratelimit-unified-status': 'rejected',
    'anthropic-ratelimit-unified-overage-utilization': '1',
    'anthropic-ratelimit-unified-overage-surpassed-threshold': '1',
    'anthropic-ratelimit-unified-overage-period': PERIOD_NAMES[period],
    'anthropic-ratelimit-unified-overage-disabled-reason': 'org_spend_cap_reached',
  };
}

function createRateLimitHeaders({ requests, inputTokens, outputTokens }: QuotaStatus): Record<string, string> {
  const headers: Record<string, string> = {};
  const addBucketHeaders = (name: string, ...buckets: RateStatus[]) => {
    const remaining = buckets.reduce((sum, one) => sum + Math.floor(one.remaining), 0);
    headers[`anthropic-ratelimit-${name}-limit`] = String(buckets.reduce((sum, { limit }) => sum + limit, 0));
    headers[`anthropic-ratelimit-${name}-remaining`] = String(remaining);
    headers[`anthropic-ratelimit-${name}-reset`] = formatRfc3339(Math.max(...buckets.map(({ resetsAt }) => resetsAt)));
  };
  if (requests) addBucketHeaders('requests', requests);
  if (inputTokens) addBucketHeaders('input-tokens', inputTokens);
  if (outputTokens) addBucketHeaders('output-tokens', outputTokens);
  // The API also reports `anthropic-ratelimit-tokens-*`, the sum of input and output. Send it only if both are limited. See
  // https://platform.claude.com/docs/en/api/rate-limits
  if (inputTokens && outputTokens) addBucketHeaders('tokens', inputTokens, outputTokens);
  return headers;
}

/** @returns headers about the spend window that is used up most. Held money does not count, because most of it is released. */
function createSpendHeaders(quota: QuotaStatus): Record<string, string> {
  const shares = listOwnSpendLimits(quota).map(({ limit, settled, resetsAt }) => ({
    share: limit > 0 ? settled / limit : 1,
    resets: resetsAt >= NEVER ? undefined : String(Math.ceil(resetsAt / 1_000)),
  }));
  const [most] = shares.sort((left, right) => right.share - left.share);
  if (!most) return {};
  const threshold = THRESHOLDS.find((least) => most.share >= least);
  const status = threshold === undefined ? 'allowed' : 'allowed_warning';
  return {
    'anthropic-ratelimit-unified-status': status,
    'anthropic-ratelimit-unified-representative-claim': 'overage',
    'anthropic-ratelimit-unified-overage-status': status,
    // Claude Code reads a utilization of 1 as "rejected" (https://code.claude.com/docs/en/claude-apps-gateway-spend-limits). An
    // account that is still admitted must not reach 1 by rounding.
    'anthropic-ratelimit-unified-overage-utilization': Math.min(most.share, MAX_UTILIZATION).toFixed(2),
    ...(threshold === undefined
      ? {}
      : { 'anthropic-ratelimit-unified-overage-surpassed-threshold': String(threshold) }),
    ...(most.resets === undefined
      ? {}
      : {
          'anthropic-ratelimit-unified-reset': most.resets,
          'anthropic-ratelimit-unified-overage-reset': most.resets,
        }),
  };
}

/** @returns US dollars as plain decimals without trailing zeros; at most nine. */
export function formatUsd(nanodollars: number): string {
  return toUsd(nanodollars)
    .toFixed(9)
    .replace(/\.?0+$/, '');
}

function formatRfc3339(milliseconds: number): string {
  // With a very low limit, the bucket may need longer to refill than a `Date` can express, so cap the time at the largest valid
  // date.
  return new Date(Math.min(milliseconds, 8.64e15)).toISOString();
}

/**
 * @returns the 400 for something that does not fit into the account's storage. Waiting does not help, so it must not be
 * retried.
 */
export function createStorageLimitError({ limit, most }: StorageLimitRejection): ApiError {
  const message =
    limit === 'conversations'
      ? `This account has reached its limit of ${most} conversations (its limit \`conversations\`). Delete some, or ask an admin to raise the limit.`
      : `This account cannot store more than ${most} bytes (its limit \`stored_bytes\`). Delete conversations, files or versions, or ask an admin to raise the limit.`;
  return createNonRetryableError('invalid_request_error', message, { headers: { 'sluice-limited-by': 'account' } });
}

/** @returns the 403 for each request of a blocked account. @param message that of the admin, for the user */
export function createBlockedError(message: string): ApiError {
  return createNonRetryableError('permission_error', message, { logged: 'account_blocked' });
}
