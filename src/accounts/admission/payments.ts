/** A request that may be sent several times, each time paid for by itself. */

import type { Nanodollars } from '../../pricing/cost.ts';
import type { BodyMaker } from '../../upstream/kinds/kind.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { Payment } from '../../upstream/send-request.ts';
import type { Admission, RequestMeter } from './metered-request.ts';

/**
 * Follows the meters of a request's tries: each try is admitted and settled by itself.
 *
 * @param meter the first try's meter
 * @param bodyOf writes the body as an admission allows it
 * @param onAdmitted is called with each further try
 * @param onAsking is called before the account is asked for one, with what the tries before have cost: from then on the
 * account may hold something for it
 * @returns how `send` pays for further tries, and what settles the last of them
 */
export function payForTries(
  meter: RequestMeter,
  bodyOf: (granted: RequestMeter) => BodyMaker,
  onAdmitted: (granted: Admission) => void = () => {},
  onAsking: (earlier: Nanodollars) => void = () => {},
): { payment: (tried: () => RequestOutcome) => Payment; settle: RequestMeter['settle'] } {
  let last: RequestMeter = meter;
  let earlier = 0;
  const settleTried = async (outcome: RequestOutcome) => {
    const { cost } = await last.settle(outcome, { status: 'retried' }, true).done;
    earlier += cost;
  };
  const goOnWith = (granted: Admission) => {
    last = granted;
    onAdmitted(granted);
    return bodyOf(granted);
  };
  return {
    settle: (outcome, extra) => last.settle(outcome, extra),
    payment: (tried) => ({
      settle: () => settleTried(tried()),
      admit: async () => {
        onAsking(earlier);
        return goOnWith(await last.again(earlier));
      },
      fallBack: async () => {
        if (!last.hasFallback()) return 'none';
        await settleTried(tried());
        onAsking(earlier);
        const granted = await last.fallBack(earlier);
        return granted ? { model: granted.model, body: goOnWith(granted) } : 'refused';
      },
    }),
  };
}
