/** Names limits on the page: everywhere as in the form. */
import type { Limits, SpendLimitUsage } from '../../../edge/answers.ts';
import { getModelDisplayName } from '../../edge/models.ts';
import { formatBytes, formatCount, formatExactUsd, formatPercentage } from '../../ui/format.ts';

/** How a limit is typed: a number, names or shares with commas between them, or one of some words. */
type LimitInputKind = 'number' | 'names' | 'shares' | readonly (readonly [value: string, text: string])[];

/** The limits by their names, in the order of the form. One that is missing here is a type error. */
export const LIMIT_FORMS: Readonly<Record<keyof Limits, { title: string; kind: LimitInputKind }>> = {
  usd_per_hour: { title: 'Dollars per hour', kind: 'number' },
  usd_per_day: { title: 'Dollars per day', kind: 'number' },
  usd_per_week: { title: 'Dollars per week', kind: 'number' },
  usd_per_month: { title: 'Dollars per month', kind: 'number' },
  usd_total: { title: 'Dollars in total', kind: 'number' },
  alerts: { title: 'Alerts, in % of each limit in dollars', kind: 'shares' },
  models: { title: 'Models', kind: 'names' },
  fallback_models: { title: 'Fallback models', kind: 'names' },
  requests_per_minute: { title: 'Requests per minute', kind: 'number' },
  input_tokens_per_minute: { title: 'Input tokens per minute', kind: 'number' },
  output_tokens_per_minute: { title: 'Output tokens per minute', kind: 'number' },
  count_requests_per_minute: { title: 'Token counts per minute', kind: 'number' },
  concurrent_requests: { title: 'Concurrent requests', kind: 'number' },
  on_shortfall: {
    title: 'If the budget is short',
    kind: [
      ['clamp', 'Shorten the response'],
      ['refuse', 'Reject the request'],
    ],
  },
  min_output_tokens: { title: 'Minimum output tokens', kind: 'number' },
  served_tools: {
    title: 'Hold for server tools',
    kind: [
      ['exact', 'Maximum cost'],
      ['estimate', 'Estimate'],
    ],
  },
  conversations: { title: 'Conversations', kind: 'number' },
  stored_bytes: { title: 'Stored bytes', kind: 'number' },
};
/** The limits that a budget has which accounts share. */
export const SHARED_LIMIT_NAMES = [
  'usd_per_hour',
  'usd_per_day',
  'usd_per_week',
  'usd_per_month',
  'usd_total',
  'alerts',
] as const satisfies readonly (keyof Limits)[];

export function isLimitName(name: string): name is keyof Limits {
  return Object.hasOwn(LIMIT_FORMS, name);
}

/** @returns how a limit is called; one that is not known keeps its name */
export function getLimitTitle(limit: string): string {
  return isLimitName(limit) ? LIMIT_FORMS[limit].title : limit;
}

/** @returns the value of a limit with its unit: `$5.00`, `50%, 80%`, `1,000` */
export function formatLimitValue(name: keyof Limits, value: unknown): string {
  const { kind } = LIMIT_FORMS[name];
  if (Array.isArray(value)) {
    if (value.length === 0) return kind === 'names' ? 'no models' : 'none';
    return value.map((one) => (kind === 'shares' ? formatPercentage(Number(one)) : String(one))).join(', ');
  }
  if (typeof kind !== 'string') return kind.find(([key]) => key === value)?.[1] ?? String(value);
  if (isDollarLimit(name)) return formatExactUsd(Number(value));
  return name === 'stored_bytes' ? formatBytes(Number(value)) : formatCount(Number(value));
}

/** @returns whether a limit is an amount in US dollars */
export function isDollarLimit(name: keyof Limits): boolean {
  return name.startsWith('usd_');
}

/** The share of a limit at which it is nearly used up. */
export const NEARLY_USED_SHARE = 0.8;

/** @returns how much of a limit is used, from 0 upwards; all of one that is 0 or less */
export function computeUsedShare({ limit_usd, used_usd }: Pick<SpendLimitUsage, 'limit_usd' | 'used_usd'>): number {
  return limit_usd <= 0 ? 1 : used_usd / limit_usd;
}

/** The share from which a limit that rejects requests counts as used up, or nearly so. */
export const EMPTY_FROM_SHARE = 0.99;

/**
 * @param limit one that rejects requests
 * @returns why: `used up`, that too little is left, or that all of it is too little. A shared budget rejects requests before it is
 *   completely used
 */
export function describeShortage(
  limit: Pick<SpendLimitUsage, 'by' | 'limit_usd' | 'used_usd' | 'insufficient_for'>,
): string {
  const used = computeUsedShare(limit);
  const { insufficient_for: model } = limit;
  if (used < EMPTY_FROM_SHARE)
    return `${limit.used_usd === 0 ? 'too small' : 'too little left'} for ${model === undefined ? 'the last request' : `a request to ${getModelDisplayName(model)}`}`;
  if (used >= 1) return 'used up';
  return limit.by === 'group' || limit.by === 'deployment' ? 'used up (1 % stays in reserve)' : 'nearly used up';
}

/** @returns whose limit it is, where it is not the account's own: `of group blue` */
export function describeLimitOwner({ by, id }: Pick<SpendLimitUsage, 'by' | 'id'>): string {
  switch (by) {
    case 'account':
      return '';
    case 'token':
      return 'of a token';
    case 'group':
      return `of group ${id}`;
    case 'deployment':
      return 'of the deployment';
  }
}

/** @returns a limit as one says it, with how much of it is used: `85% of $5.00, dollars per day of group blue`, and whether it rejects */
export function describeBindingLimit(limit: SpendLimitUsage): string {
  const isEmpty = computeUsedShare(limit) >= EMPTY_FROM_SHARE;
  if (limit.prepaid && limit.refuses && isEmpty) return 'no budget left: no credit';
  const title = getLimitTitle(limit.limit).toLowerCase();
  const whose = describeLimitOwner(limit);
  if (limit.limit_usd === 0 && !limit.prepaid) return `no budget left: ${title}${whose && ` ${whose}`} is 0`;
  const none = limit.refuses ? `${isEmpty ? 'no budget left' : describeShortage(limit)}: ` : '';
  // “0%” would contradict that nothing is left.
  const share = limit.refuses && limit.used_usd === 0 ? '' : `${formatPercentage(computeUsedShare(limit))} of `;
  const used = `${none}${share}${formatExactUsd(limit.limit_usd)}`;
  if (limit.prepaid) return `${used} credit`;
  return `${used}, ${title}${whose && ` ${whose}`}`;
}
