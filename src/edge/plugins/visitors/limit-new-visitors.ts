/** Limits how many visitors a client can create: counts them by address, at the location of the request. Nothing is stored. */

import { createMisconfiguredError, createRetryableError } from '../../kit/http/errors.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';

const BRAKED_S = 60;
/** How many groups of an IPv6 address, of 16 bits each, contain the network prefix of a household. */
const HOUSEHOLD_GROUPS = 4;

/**
 * Counts a new visitor.
 *
 * @param address as `cf-connecting-ip` has it; null where no such header came, as in development
 * @throws ApiError 429 for too many from one address, 500 for a Worker without the binding that counts them
 */
export async function rateLimitNewVisitor({ VISITOR_BRAKE }: Bindings, address: string | null): Promise<void> {
  if (!VISITOR_BRAKE) {
    throw createMisconfiguredError(
      'VISITORS requires the binding VISITOR_BRAKE. See [[ratelimits]] in the wrangler.toml of Sluice.',
    );
  }
  const { success } = await VISITOR_BRAKE.limit({ key: toNetworkPrefix(address ?? '') });
  if (success) return;
  const message = 'Too many visitors came from your IP address. Try again in a minute.';
  throw createRetryableError(message, 'visitor_brake', { type: 'rate_limit_error', seconds: BRAKED_S });
}

/** @returns an IPv4 address as it is; of an IPv6 address the first 56 bits. */
export function toNetworkPrefix(address: string): string {
  const host = URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return address;
  const [before = '', after] = host.split('::');
  const splitIpv6Groups = (text: string | undefined) => (text ? text.split(':') : []);
  const missing = after === undefined ? 0 : 8 - splitIpv6Groups(before).length - splitIpv6Groups(after).length;
  const all = [...splitIpv6Groups(before), ...Array<string>(missing).fill('0'), ...splitIpv6Groups(after)];
  const first = all
    .slice(0, HOUSEHOLD_GROUPS)
    .map((group) => group.padStart(4, '0'))
    .join('');
  return `${first.slice(0, 14)}/56`;
}
