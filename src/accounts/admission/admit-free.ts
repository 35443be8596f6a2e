/** Requests that cost nothing upstream: they are requests all the same, and what they store must have room. */

import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import type { StorageRequest } from '../../durable/contracts/admission.ts';
import { DEPLOYMENT } from '../../identity/identity.ts';
import { admissionRequestOf, askAndList, grantedBy } from './ask-account.ts';
import { quotaHeaders } from './limit-headers.ts';

/**
 * Has the caller's account admit a request that costs nothing: it takes from `requests_per_minute`.
 *
 * @param storing what it is going to store
 * @returns headers for the response
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 400 where there is no room
 */
export async function admitFree(c: Context<AppEnv>, storing?: StorageRequest): Promise<Record<string, string>> {
  const request = contextOf(c);
  const admissionRequest = admissionRequestOf({ ...request, requestId: '', route: '', model: '' });
  // An object of the version before, beside this one during a deploy, counts it as a token count.
  const granted = grantedBy(await askAndList(request, { ...admissionRequest, free: { storing } }));
  return quotaHeaders(granted.standing);
}

/**
 * Has the caller's account admit that something is stored in versions. What an admin stores is the deployment's, which
 * has no requests to count.
 *
 * @throws ApiError as `admitFree`
 */
export async function admitStoring(c: Context<AppEnv>, owner: string): Promise<void> {
  if (owner !== DEPLOYMENT) await admitFree(c);
}
