/** Changes some limits: those of an account, of a group, or of the whole deployment. */
import { encodePathSegment } from '../../../client/transport.ts';
import type { EscapedPathSegment, Limits } from '../../../edge/answers.ts';
import { sendRequest } from '../../edge/client.ts';
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
 * @param shown the values that the user has seen; null for a limit that was not set
 * @throws SluiceError in the words of the edge; 409 if one of them differs by now
 */
export async function patchLimits(
  target: LimitOwner,
  changes: Readonly<Record<string, unknown>>,
  shown: Readonly<Record<string, unknown>>,
): Promise<void> {
  const body = { ...changes, if_limits: shown };
  try {
    await sendRequest(`${getLimitOwnerPath(target)}/limits`, { method: 'PATCH', body });
  } finally {
    // Also after a conflict: the form then shows the current values.
    refreshAllPolls();
  }
}

function getLimitOwnerPath({
  kind,
  id,
}: LimitOwner): '/pools/deployment' | `/${'account' | 'group'}s/${EscapedPathSegment}` {
  return kind === 'deployment' ? '/pools/deployment' : `/${kind}s/${encodePathSegment(id)}`;
}

/** The own limits of an account, a group or the deployment. */
export type OwnLimits = Partial<Limits>;
