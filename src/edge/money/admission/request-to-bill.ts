/** The input of a billed request, and what is needed to settle one after a crash. */

import type { RequestContext } from '../../auth/context.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { Upstream } from '../../claude/upstream.ts';
import type { UpstreamRoutingInput } from '../../claude/upstreams/pool.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { AdmissionRequest } from '../contracts/admission.ts';
import type { AccountTarget } from '../contracts/call-account.ts';
import type { DimensionValues } from '../contracts/dimensions.ts';

/** The fields that are sent to the account unchanged. */
export type ForwardedAdmissionField = 'route' | 'conversation' | 'parent' | 'costLimit' | 'newCharacters' | 'holdMs';

/** The context that all attempts of a request share. */
export interface BillingContext extends RequestContext, Pick<AdmissionRequest, ForwardedAdmissionField> {
  /** Dimensions of the ledger, in addition to those of the caller's identity. */
  dimensions?: DimensionValues | undefined;
  upstream: Upstream;
  /** Builds a request of Sluice's own for a fallback model. Default: the caller's body, adapted for the model. */
  buildBodyForModel?: ((model: string) => Promise<JsonBody>) | undefined;
  /** Decides between several upstreams, together with the model. */
  routing?: Omit<UpstreamRoutingInput, 'model'> | undefined;
  /** The headers as they are sent, without the credential. */
  headers: Headers | PlainHeaders;
  /** Whether the account may store the grant that settles the request after a crash, so that the conversation does not have to. */
  mayAccountStoreGrant?: boolean | undefined;
  /** Whether the response streams, also if `stream` is not in the body yet because it is added when the request is sent. */
  streams?: boolean | undefined;
  /** Whether the request may wait in the queue for budget that others hold. Default: it may. */
  waits?: boolean | undefined;
  /** Aborted when the caller disconnects. */
  signal?: AbortSignal | undefined;
}

/** A request before its first attempt. */
export interface RequestToBill extends BillingContext {
  /** The body as it is sent. */
  body: JsonBody;
  /** The model as the Claude API names it: an alias is already resolved. */
  model: string;
  /** The models that may step in, as the caller names them. Default: those of the account's limits. */
  fallbackModels?: readonly string[] | undefined;
  /** The maximum number of input tokens, if it is known already; null if the API counts no such prompt. */
  tokenCount?: number | null | undefined;
}

/** The part of a request that is needed to settle one of its attempts. */
export type RequestToSettle = AccountTarget &
  Pick<RequestToBill, 'requestId' | 'model'> &
  Partial<Pick<RequestToBill, 'upstream' | 'conversation' | 'waitUntil' | 'holdMs'>>;
