/** Changes some limits: those of an account, of a group, or of the whole deployment. */
import { encodePathSegment } from '../../../client/transport.ts';
import type { EscapedPathSegment, Limits, PoolQuotaReport } from '../../../edge/answers.ts';
import type { AccountQuota } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { refreshAllPolls } from '../../edge/poll.ts';

/** Whose limits: the deployment has no name. */
export interface LimitOwner {
  kind: 'account' | 'group' | 'deployment';
  id: string;
}

/**
 * Changes limits, and leaves the others as they are.
 *
 * @param changes by name; null removes a limit
 * @throws SluiceError in the words of the edge
 */
export async function patchLimits(target: LimitOwner, changes: Readonly<Record<string, unknown>>): Promise<void> {
  const path = getLimitOwnerPath(target);
  if (path !== '/pools/deployment') await readJson<AccountQuota>(`${path}/limits`, { method: 'PATCH', body: changes });
  else {
    const all = Object.entries({ ...(await readJson<PoolQuotaReport>(path)).limits, ...changes });
    const body = Object.fromEntries(all.filter(([, value]) => value !== null));
    await readJson<PoolQuotaReport>(`${path}/limits`, { method: 'PUT', body });
  }
  refreshAllPolls();
}

function getLimitOwnerPath({
  kind,
  id,
}: LimitOwner): '/pools/deployment' | `/${'account' | 'group'}s/${EscapedPathSegment}` {
  return kind === 'deployment' ? '/pools/deployment' : `/${kind}s/${encodePathSegment(id)}`;
}

/** The own limits of an account, a group or the deployment. */
export type OwnLimits = Partial<Limits>;
