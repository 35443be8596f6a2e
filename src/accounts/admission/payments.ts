/** A request that may be sent several times, each time paid for by itself. */

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
 * @returns how `send` pays for further tries, and what settles the last of them
 */
export function payForTries(
  meter: RequestMeter,
  bodyOf: (granted: RequestMeter) => BodyMaker,
  onAdmitted: (granted: Admission) => void = () => {},
): { payment: (tried: () => RequestOutcome) => Payment; settle: RequestMeter['settle'] } {
  let last: RequestMeter = meter;
  let earlier = 0;
  return {
    settle: (outcome, extra) => last.settle(outcome, extra),
    payment: (tried) => ({
      settle: async () => {
        const { cost } = await last.settle(tried(), { status: 'retried' }).done;
        earlier += cost;
      },
      admit: async () => {
        const granted = await last.again(earlier);
        last = granted;
        onAdmitted(granted);
        return bodyOf(granted);
      },
      fallBack: async () => {
        if (!last.hasFallback()) return 'none';
        const { cost } = await last.settle(tried(), { status: 'retried' }).done;
        earlier += cost;
        const granted = await last.fallBack(earlier);
        if (!granted) return 'refused';
        last = granted;
        onAdmitted(granted);
        return { model: granted.model, body: bodyOf(granted) };
      },
    }),
  };
}
