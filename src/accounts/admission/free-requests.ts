/** Requests that cost nothing upstream: they are requests all the same, and what they store must have room. */

import type { StorageRequest } from '../../durable/contracts/admission.ts';
import { admissionRequestOf, askForAdmission, grantedBy, putOnList } from './ask-account.ts';
import { quotaHeaders } from './limit-headers.ts';
import type { MeterRequest } from './metered-request.ts';

export type FreeRequest = Pick<MeterRequest, 'identity' | 'accounts' | 'store' | 'settings' | 'waitUntil'>;

/**
 * Asks the account to admit a request that costs nothing: it takes from `requests_per_minute`.
 *
 * @param storing what it is going to store
 * @returns headers for the response
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 400 where there is no room
 */
export async function admitFreeRequest(
  request: FreeRequest,
  storing?: StorageRequest,
): Promise<Record<string, string>> {
  const admissionRequest = admissionRequestOf({ ...request, requestId: '', route: '', model: '' });
  // An object of the version before, beside this one during a deploy, counts it as a token count.
  const admitted = grantedBy(await askForAdmission(request, { ...admissionRequest, free: { storing } }));
  if (admitted.unlisted) request.waitUntil(putOnList(request));
  return quotaHeaders(admitted.standing);
}
