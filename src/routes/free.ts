import type { Context } from 'hono';
import type { Storing } from '../durable/contracts/admission.ts';
import type { AppEnv } from '../env.ts';
import { admitFree } from '../objects/free-requests.ts';

/**
 * Has the caller's account admit a request that costs nothing upstream.
 *
 * @param storing what it is going to store
 * @returns headers for the response
 * @throws ApiError 429 for a limit that is reached, 400 where there is no room
 */
export async function admitted(c: Context<AppEnv>, storing?: Storing): Promise<Record<string, string>> {
  const { identity, settings, entry } = c.var;
  const { STORE: store } = c.env;
  const waitUntil = (work: Promise<unknown>) => entry.during(work);
  return await admitFree({ identity, accounts: c.env, store, settings, waitUntil }, storing);
}
