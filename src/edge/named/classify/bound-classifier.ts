import type { Identity } from '../../gate/identity/caller.ts';
import { type BoundName, boundName, namesTold } from '../../gate/identity/only.ts';
import { closedToBound, refuseOtherMembers } from '../../kit/http/errors.ts';
import { withoutUndefined } from '../../kit/json/object.ts';

/** Members of a bound token's request that count. The classifier says all others. */
const OF_BOUND: ReadonlySet<string> = new Set(['classifier', 'input', 'inputs', 'stream']);

/**
 * Finds the classifier that a bound token asks.
 *
 * @returns whose it is, to be found; undefined for a caller whose token is not bound
 * @throws ApiError 403 for a classifier that it may not ask, and for whatever would change what the classifier does
 */
export function boundClassifier(
  { account, only }: Identity,
  asked: Readonly<Record<string, unknown>>,
  headers: Headers,
): BoundName | undefined {
  if (!only) return undefined;
  refuseOtherMembers(Object.keys(withoutUndefined(asked)), OF_BOUND, 'classifier');
  if (headers.has('sluice-prefix')) throw closedToBound('sluice-prefix: only the classifier decides this.');
  const found = boundName(only.classifiers, account, String(asked.classifier));
  if (found) return found;
  const names = namesTold(only.classifiers);
  throw closedToBound(`classifier: this credential may ask these classifiers alone: ${names}. Name one of them.`);
}
