/** Pays for a request that may be sent several times. Each try is paid for by itself. */

import type { Nanodollars } from '../../pricing/cost.ts';
import type { BodyMaker } from '../../upstream/kinds/kind.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { Payment } from '../../upstream/send-request.ts';
import type { Admission, RequestMeter } from './metered-request.ts';

/**
 * Keeps the meter of a request's current try. Each try is admitted and settled by itself.
 *
 * @param meter the first try's meter
 * @param bodyOf writes the body that an admission allows
 * @param onAdmitted called with each later try
 * @param onAsking called before the account is asked for another try, with what the earlier ones have cost. From then on the
 *   account may have placed a hold for it
 * @returns the payment that `send` uses, and the function that settles the last try
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
    const { cost } = await last.settle(outcome, { status: 'retried' }).done;
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
