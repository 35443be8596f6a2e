/** Admits requests that cost nothing upstream. They still count as requests, and what they store counts against its limits. */

import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { StorageRequest } from '../contracts/admission.ts';
import { quotaHeaders } from './limit-headers.ts';
import { admissionRequestOf, admitAndList, requireAdmitted } from './request-admission.ts';

/**
 * Asks the caller's account to admit a request that costs no money. It counts in `requests_per_minute`.
 *
 * @param storing what the request will store
 * @returns headers for the response
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 400 if it would store too much
 */
export async function admitFree(c: Context<AppEnv>, storing?: StorageRequest): Promise<Record<string, string>> {
  const request = contextOf(c);
  const admissionRequest = admissionRequestOf({ ...request, requestId: '', route: '', model: '' });
  const granted = requireAdmitted(await admitAndList(request, { ...admissionRequest, free: { storing } }));
  return quotaHeaders(granted.quota);
}

/**
 * Asks the caller's account to admit a request that stores a version. What an admin stores belongs to the deployment, whose
 * requests are not counted.
 *
 * @throws ApiError as `admitFree`
 */
export async function admitVersionStorage(c: Context<AppEnv>, owner: string): Promise<void> {
  if (owner !== DEPLOYMENT) await admitFree(c);
}
