/** Admits requests that cost nothing upstream. They still count as requests, and what they store counts against its limits. */

import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { StorageReservationRequest } from '../contracts/admission.ts';
import { createQuotaHeaders } from './limit-headers.ts';
import {
  createAdmissionRequest,
  requestAdmissionAndListAccount,
  requireAdmittedDecision,
} from './request-admission.ts';

/**
 * Asks the caller's account to admit a request that costs no money. It counts in `requests_per_minute`.
 *
 * @param storing what the request will store
 * @returns headers for the response
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 400 if it would store too much
 */
export async function admitRequestWithoutCost(
  c: Context<AppEnv>,
  storing?: StorageReservationRequest,
): Promise<Record<string, string>> {
  const request = getRequestContext(c);
  const admissionRequest = createAdmissionRequest({ ...request, requestId: '', route: '', model: '' });
  const granted = requireAdmittedDecision(
    await requestAdmissionAndListAccount(request, { ...admissionRequest, free: { storing } }),
  );
  return createQuotaHeaders(granted.quota);
}

/**
 * Asks the caller's account to admit a request that stores a version. What an admin stores belongs to the deployment, whose
 * requests are not counted.
 *
 * @throws ApiError as `admitRequestWithoutCost`
 */
export async function admitVersionStorageRequest(c: Context<AppEnv>, owner: string): Promise<void> {
  if (owner !== DEPLOYMENT) await admitRequestWithoutCost(c);
}
