/** Reads what an error says about itself, and whom its code concerns. */

import { DAY_MS } from '../async/durations.ts';
import { masked } from '../http/secrets.ts';
import { type Json, memberOf, stringOrUndefined } from '../json/object.ts';

/** An error as its upstream tells it. What is absent is empty. */
export interface Told {
  /** The API's code, which decides before all else. */
  code: string;
  type: string;
  message: string;
}

/**
 * What a code means, whatever the status is. `refused`: this deployment, in each of its requests. `unclear`: this deployment,
 * in requests of this sort. `overloaded`: this deployment, until it passes. `request`: the caller, or a customer of the caller.
 */
const CODES: Record<'refused' | 'overloaded' | 'unclear' | 'request', readonly string[]> = {
  refused: [
    'organization_on_hold',
    'organization_disabled',
    'claude_code_key_creator_not_member',
    'cmek_key_disabled',
    'cmek_key_network_blocked',
    'credit_used_up',
    'own_spend_limit_reached',
    'enforced_spend_limit_reached',
    'contract_spend_limit_reached',
  ],
  overloaded: ['cmek_key_unreachable', 'cmek_context_unavailable'],
  unclear: [
    'workspace_human_review_disabled',
    'storage_quota_exceeded',
    'skill_read_blocked_undecryptable',
    'sandbox_egress_restricted',
  ],
  request: [
    'linked_organization_billing_unavailable',
    'linked_organization_spend_limit_reached',
    'user_profile_billing_not_authorized',
    'user_profile_not_billable',
  ],
};
type Concern = keyof typeof CODES;
const CONCERNS = Object.keys(CODES) as Concern[];

/**
 * Sentences that the API publishes for errors without a code, each with the code, or a name, for what it says. Most count at the beginning alone: a caller may have words
 * of its own quoted in an error.
 */
const SENTENCES: readonly (readonly [RegExp, string])[] = [
  [/\bcredit balance is too low\b/i, 'credit_used_up'],
  [/^You have reached your specified (?:workspace )?API usage limits\b/, 'own_spend_limit_reached'],
  [/^You have reached your API usage limits: your organization has crossed\b/, 'enforced_spend_limit_reached'],
  [/^This organization has been disabled\b/, 'organization_disabled'],
];
const NAMED_END = /\bregain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC\b/;
/** A month, which no spend limit is longer than. */
const LONGEST_LIMIT_MS = 31 * DAY_MS;

/** @returns the error in a body, of any form that an upstream gives it. */
export function told({ error }: Json): Told {
  const text = (of: unknown, name: string) => masked(stringOrUndefined(memberOf(of, name)) ?? '');
  const code = text(memberOf(error, 'details'), 'error_code');
  return { code, type: text(error, 'type'), message: text(error, 'message') };
}

/** @returns whom an error concerns by its cause; undefined where only type, status and words say it. */
export function concernOf(error: Told | undefined): Concern | undefined {
  const cause = error && causeOf(error);
  return CONCERNS.find((one) => CODES[one].includes(cause ?? ''));
}

/** @returns the code of an error, or, without one, that for which its sentence stands; empty if nothing is known of it. */
export function causeOf({ code, message }: Omit<Told, 'type'>): string {
  return code || (SENTENCES.find(([sentence]) => sentence.test(message))?.[1] ?? '');
}

/** @returns when a spend limit ends, in milliseconds since 1970; undefined where nobody knows, or there is none. */
export function endOfLimit(error: Told, now: number): number | undefined {
  const cause = causeOf(error);
  const day = new Date(now);
  if (cause === 'enforced_spend_limit_reached') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1);
  const [, date, time] = (cause === 'own_spend_limit_reached' && NAMED_END.exec(error.message)) || [];
  const end = Date.parse(`${date}T${time}Z`);
  return end > now && end - now <= LONGEST_LIMIT_MS ? end : undefined;
}
