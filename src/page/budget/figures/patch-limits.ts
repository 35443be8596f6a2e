/** Changes some of somebody's limits: those of an account, of a group, or of the whole deployment. */
import { inPath } from '../../../client/transport.ts';
import type { PoolQuotaReport, Segment } from '../../../edge/answers.ts';
import type { AccountQuota } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';

export type Limited = 'account' | 'group' | 'deployment';

/**
 * Changes limits, and leaves the others as they are.
 *
 * @param changes by name; null removes a limit
 * @returns what is spent of them now
 * @throws SluiceError in the words of the edge
 */
export async function patchLimits(
  kind: Limited,
  id: string,
  changes: Record<string, unknown>,
): Promise<AccountQuota | PoolQuotaReport> {
  const path = limitedPath(kind, id);
  if (kind === 'account') return await readJson<AccountQuota>(`${path}/limits`, { method: 'PATCH', body: changes });
  const limits = Object.entries({ ...(await limitsOf(kind, id)), ...changes });
  const body = Object.fromEntries(limits.filter(([, value]) => value !== null));
  return await readJson<PoolQuotaReport>(`${path}/limits`, { method: 'PUT', body });
}

/** @returns the limits that somebody has of their own */
export async function limitsOf(kind: Limited, id: string): Promise<PoolQuotaReport['limits']> {
  const path = limitedPath(kind, id);
  if (kind !== 'account') return (await readJson<PoolQuotaReport>(path)).limits ?? {};
  return (await readJson<AccountQuota>(path)).own_limits ?? {};
}

function limitedPath(kind: Limited, id: string): '/pools/deployment' | `/${'account' | 'group'}s/${Segment}` {
  return kind === 'deployment' ? '/pools/deployment' : `/${kind}s/${inPath(id)}`;
}
