/** Reads what an error says about itself. */

import { masked } from '../http/secrets.ts';
import { type Json, memberOf, stringOrUndefined } from '../json/object.ts';

/** An error as its upstream tells it. What is absent is empty. */
export interface Told {
  code: string;
  type: string;
  message: string;
}

/**
 * Sentences of the API for errors without a code, and what they say: as its codes do, or by a name of our own. They count at the
 * beginning, since an error may quote its caller; one of them came behind words of gateways before.
 */
const SENTENCES: readonly (readonly [RegExp, string])[] = [
  [/\bcredit balance is too low\b/i, 'credit_used_up'],
  [/^You have reached your specified (?:workspace )?API usage limits\b/, 'own_spend_limit_reached'],
  [/^You have reached your API usage limits: your organization has crossed\b/, 'enforced_spend_limit_reached'],
  [/^This organization has been disabled\b/, 'organization_disabled'],
];
const NAMED_END = /\bregain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC\b/;

/** @returns the error in a body, whichever form its upstream gives it. */
export function told({ error }: Json): Told {
  const text = (of: unknown, name: string) => masked(stringOrUndefined(memberOf(of, name)) ?? '');
  const code = text(memberOf(error, 'details'), 'error_code');
  return { code, type: text(error, 'type'), message: text(error, 'message') };
}

/** @returns an error's code; without one, what its sentence says; empty if neither is known. */
export function causeOf({ code, message }: Omit<Told, 'type'>): string {
  return code || (SENTENCES.find(([sentence]) => sentence.test(message))?.[1] ?? '');
}

/** @returns when the API takes requests again, in milliseconds since 1970; undefined or NaN where that is not known. */
export function endOfLimit(error: Told, now: number): number | undefined {
  const cause = causeOf(error);
  const day = new Date(now);
  if (cause === 'enforced_spend_limit_reached') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1);
  const [, date, time] = (cause === 'own_spend_limit_reached' && NAMED_END.exec(error.message)) || [];
  return date === undefined ? undefined : Date.parse(`${date}T${time}Z`);
}
