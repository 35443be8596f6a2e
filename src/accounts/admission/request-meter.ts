/** Settles an admitted request: by what its upstream has reported, or by what it can have cost. */

import { callAccount, settleNow, settleSoon } from '../../durable/call-account.ts';
import type { AdmissionDecision } from '../../durable/contracts/admission.ts';
import type { Terms, WorstCase } from '../../pricing/hold-terms.ts';
import type { Settings } from '../../settings/settings.ts';
import { cancelStopsAt, pricesAt } from '../../upstream/choice/prices.ts';
import type { MeteredRequest, RequestMeter } from './metered-request.ts';
import { type StoredGrant, settlementOf } from './settle.ts';

/** @returns what settles an admitted request, also in another process than the one that was admitted. */
export function requestMeterOf(request: MeteredRequest, grant: StoredGrant): Pick<RequestMeter, 'settle' | 'renew'> {
  const { requestId, model, settings } = request;
  return {
    settle: (outcome, extra, isAwaited = false) => {
      const { startedAt } = grant;
      const models = pricesAt(settings, outcome.upstream);
      const priced = settlementOf({ requestId, model, models }, outcome, grantAt(settings, outcome.upstream, grant));
      const settlement = { ...priced, startedAt, ...extra };
      const { cost, tokens } = settlement;
      return {
        nanodollars: cost + (grant.earlier ?? 0),
        outputTokens: tokens?.output,
        // JSON writes null for what is no number. The account takes that as a cost that nobody knows.
        done: (grant.roomy && !isAwaited ? settleSoon : settleNow)(request, JSON.stringify(settlement)),
      };
    },
    renew: (stage) => callAccount(request, (account) => account.renew(requestId, stage)),
  };
}

/** @returns what is stored of an admission, so that whoever settles the request needs nothing else. */
export function grantOf(
  worstCase: WorstCase,
  terms: Terms,
  { hold, maxTokens, roomy }: Extract<AdmissionDecision, { outcome: 'admitted' }>,
  { CANCEL_STOPS }: Settings,
): StoredGrant {
  const isOne = terms.steps === 'one' && worstCase.models.length === 1;
  return {
    hold,
    lowered: maxTokens,
    mostOutput: isOne ? (maxTokens ?? worstCase.outputTokens) : undefined,
    models: worstCase.models,
    cancelStops: doesStop(CANCEL_STOPS, terms.streams),
    terms,
    ...(roomy ? { roomy } : {}),
  };
}

/** @returns the grant by which a request is settled that ran there: one upstream stops when it is left, another does not. */
function grantAt(settings: Settings, upstream: string | undefined, grant: StoredGrant): StoredGrant {
  const stops = cancelStopsAt(settings, upstream);
  return stops === undefined ? grant : { ...grant, cancelStops: doesStop(stops, grant.terms?.streams ?? false) };
}

function doesStop(stops: Settings['CANCEL_STOPS'], streams: boolean): boolean {
  return stops === 'always' || (stops === 'streams' && streams);
}
