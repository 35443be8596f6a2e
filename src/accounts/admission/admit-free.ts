import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import type { StorageRequest } from '../../durable/contracts/admission.ts';
import { DEPLOYMENT } from '../../identity/identity.ts';
import { admitFreeRequest } from './free-requests.ts';

/**
 * Has the caller's account admit a request that costs nothing upstream.
 *
 * @param storing what it is going to store
 * @returns headers for the response
 * @throws ApiError 429 for a limit that is reached, 400 where there is no room
 */
export async function admitted(c: Context<AppEnv>, storing?: StorageRequest): Promise<Record<string, string>> {
  return await admitFreeRequest(contextOf(c), storing);
}

/**
 * Has the caller's account admit that something is stored in versions. What an admin stores is the deployment's, which
 * has no requests to count.
 *
 * @throws ApiError as `admitted`
 */
export async function admittedFor(c: Context<AppEnv>, owner: string): Promise<void> {
  if (owner !== DEPLOYMENT) await admitted(c);
}
