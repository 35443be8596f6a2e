/** Settles an admitted request: by the usage that the upstream has reported, or by an upper bound. */

import { callAccount, sendSettlement } from '../../durable/call-account.ts';
import type { AdmissionDecision } from '../../durable/contracts/admission.ts';
import { callPool } from '../../pools/call-pool.ts';
import { DEPLOYMENT_POOL } from '../../pools/pool-name.ts';
import type { Terms, WorstCase } from '../../pricing/hold-terms.ts';
import type { Settings } from '../../settings/settings.ts';
import { cancelStopsAt, pricesAt } from '../../upstream/choice/prices.ts';
import { type StoredGrant, settlementOf } from './book-outcome.ts';
import type { MeteredRequest, RequestMeter } from './metered-request.ts';

/** @returns the meter of an admitted request. It works even in another process than the admission. */
export function requestMeterOf(request: MeteredRequest, grant: StoredGrant): Pick<RequestMeter, 'settle' | 'renew'> {
  const { requestId, model, settings } = request;
  return {
    settle: (outcome, extra) => {
      const { startedAt } = grant;
      const models = pricesAt(settings, outcome.upstream);
      const priced = settlementOf({ requestId, model, models }, outcome, grantAt(settings, outcome.upstream, grant));
      const settlement = { ...priced, startedAt, ...extra };
      const { cost, tokens } = settlement;
      request.waitUntil?.(tellKey(request));
      return {
        nanodollars: cost + (grant.earlier ?? 0),
        outputTokens: tokens?.output,
        // JSON writes NaN as null, which means an unknown cost to the account.
        done: sendSettlement(request, JSON.stringify(settlement)),
      };
    },
    renew: (stage) => callAccount(request, (account) => account.renew(requestId, stage)),
  };
}

/** Tells the operator when the only upstream begins to refuse the key, and when it answers again. Nothing else is a call. */
async function tellKey({ upstream, accounts: { POOL }, settings }: MeteredRequest): Promise<void> {
  if (!POOL) return;
  await upstream?.key?.tell((news) =>
    callPool({ pools: { POOL }, settings, name: DEPLOYMENT_POOL }, (pool) => pool.noteKey(news)),
  );
}

/** @returns the part of an admission that must be stored, so that the request can be settled later. */
export function grantOf(
  worstCase: WorstCase,
  terms: Terms,
  { hold, maxTokens }: Extract<AdmissionDecision, { outcome: 'admitted' }>,
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
  };
}

/**
 * @returns the grant for a request that ran at an upstream. Upstreams differ in whether they stop when the connection
 * closes.
 */
function grantAt(settings: Settings, upstream: string | undefined, grant: StoredGrant): StoredGrant {
  const stops = cancelStopsAt(settings, upstream);
  return stops === undefined ? grant : { ...grant, cancelStops: doesStop(stops, grant.terms?.streams ?? false) };
}

function doesStop(stops: Settings['CANCEL_STOPS'], streams: boolean): boolean {
  return stops === 'always' || (stops === 'streams' && streams);
}
