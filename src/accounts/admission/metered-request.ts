/** A request that is to be metered, and what meters it once it is admitted. */

import type { RequestContext } from '../../auth/context.ts';
import type { AccountRequest } from '../../durable/call-account.ts';
import type { AdmissionRequest } from '../../durable/contracts/admission.ts';
import type { Settled, Settlement } from '../../durable/contracts/settlement.ts';
import type { JsonBody } from '../../http/json-body.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { Routing } from '../../upstream/choice/pool.ts';
import type { PlainHeaders } from '../../upstream/headers.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import type { StoredGrant } from './settle.ts';

type AdmittedMembers = 'route' | 'conversation' | 'parent' | 'prefix' | 'agent' | 'most' | 'adds';

/** A request that is to be metered; what its account is told of it as it is stands in the contract. */
export interface MeterRequest extends RequestContext, Pick<AdmissionRequest, AdmittedMembers> {
  upstream: Upstream;
  /** The body as it will go up. */
  body: JsonBody;
  /** The model's id as the upstream knows it. */
  model: string;
  /** The models that may step in for it, as the caller has named them. Default: those of the account's limits. */
  fallbacks?: readonly string[] | undefined;
  /** What the choice between several upstreams goes by, beside the model. */
  routing?: Omit<Routing, 'model'> | undefined;
  /** The headers as they will go up, but for the credential. */
  headers: Headers | PlainHeaders;
  /** The most tokens that the input can have, where the caller knows it. */
  count?: number | undefined;
  /** Whether the answer streams although the body does not ask for it. */
  streams?: boolean | undefined;
  /** Aborted when the caller has left. */
  signal?: AbortSignal | undefined;
}

/** As much of a request as settling it needs. */
export type MeteredRequest = AccountRequest & Pick<MeterRequest, 'requestId' | 'model'>;

/** An admitted request: what it may do, and how it is settled. */
export interface RequestMeter {
  /** What `max_tokens` must be lowered to; undefined where it may stay. */
  maxTokens: number | undefined;
  /** Headers for the response: the account's quota status. */
  headers: Record<string, string>;
  /**
   * Replaces the hold by what the request cost. Safe to be called again.
   *
   * @param isAwaited whether something waits for the confirmation, so that it must not wait for another call
   */
  settle(outcome: RequestOutcome, extra?: Partial<Settlement>, isAwaited?: boolean): Booking;
  /** Says that the request still runs, at which stage. */
  renew(stage?: string): Promise<boolean>;
  /** Lets go of the body: no further try will be admitted. */
  release(): void;
  /**
   * Admits another try of the request, after the one before was settled: what `settle` and `renew` say is of that one.
   *
   * @param earlier what the tries before have cost
   * @returns the try, with a meter of its own; what it settles counts them in
   * @throws ApiError as `admit`
   */
  again(earlier: Nanodollars): Promise<Admission>;
  /** The model that is admitted, as the upstream knows it. */
  model: string;
  /** @returns whether another model may step in. */
  hasFallback(): boolean;
  /**
   * Admits the request for the next model that may step in, as `again` does.
   *
   * @returns undefined where the account admits none of them; `again` is about the present model then
   */
  fallBack(earlier: Nanodollars): Promise<Admission | undefined>;
}

/** What a request was booked at. */
export interface Booking {
  nanodollars: Nanodollars;
  /** Output tokens as the ledger has them; an estimate where the upstream did not report them. */
  outputTokens: number | undefined;
  done: Promise<Settled>;
}

/** An admission with what must be stored of it. */
export interface Admission extends RequestMeter {
  /** The ledger's name of this try. */
  requestId: string;
  grant: StoredGrant;
}
