/** The types of a request before its admission, and of its meter after it. */

import type { RequestContext } from '../../auth/context.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { Upstream } from '../../claude/upstream.ts';
import type { UpstreamRoutingInput } from '../../claude/upstreams/pool.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { AdmissionRequest } from '../contracts/admission.ts';
import type { AccountTarget } from '../contracts/call-account.ts';
import type { DimensionValues } from '../contracts/dimensions.ts';
import type { Settlement, SettlementResult } from '../contracts/settlement.ts';
import type { RemainingBudget } from './budget-left.ts';
import type { StoredGrant } from './price-outcome.ts';

/** The members that go to its account unchanged. */
export type AdmissionRequestMember = 'route' | 'conversation' | 'parent' | 'most' | 'adds' | 'holdMs';

/** A request before its admission. */
export interface RequestToAdmit extends RequestContext, Pick<AdmissionRequest, AdmissionRequestMember> {
  /** What it is about, beside what its identity says. */
  about?: DimensionValues | undefined;
  upstream: Upstream;
  /** The body as it will go up. */
  body: JsonBody;
  /** The upstream's id of the model. */
  model: string;
  /** Makes the body for another model that steps in. Default: only `model` is changed. */
  requestFor?: ((model: string) => Promise<JsonBody>) | undefined;
  /** The models that may step in, as the caller names them. Default: those of the account's limits. */
  fallbacks?: readonly string[] | undefined;
  /** What decides the choice between several upstreams, beside the model. */
  routing?: Omit<UpstreamRoutingInput, 'model'> | undefined;
  /** The headers as they will go up, without the credential. */
  headers: Headers | PlainHeaders;
  /** The most tokens that the input can have, if that is known already; null if the API counts no such prompt. */
  count?: number | null | undefined;
  /** Whether `count` is that of count_tokens, which leaves out what earlier answers have thought. */
  leavesOutThinking?: boolean | undefined;
  /** Whether its account may keep the grant, which settles it after a crash: then nobody else has to store that. */
  keeps?: boolean | undefined;
  /** Whether the answer streams although the body does not ask for it. */
  streams?: boolean | undefined;
  /** Whether it may wait in the line for money that others hold. Default: it may. */
  waits?: boolean | undefined;
  /** Aborted when the caller has left. */
  signal?: AbortSignal | undefined;
}

/** The part of a request that is needed to settle it. */
export type RequestToSettle = AccountTarget &
  Pick<RequestToAdmit, 'requestId' | 'model'> &
  Partial<Pick<RequestToAdmit, 'upstream' | 'conversation' | 'waitUntil' | 'holdMs'>>;

/** An admitted request: what it may do, and how it is settled. */
export interface RequestMeter {
  /** What `max_tokens` must be lowered to; undefined if it may stay. Each caller puts it into the body that goes up. */
  maxTokens: number | undefined;
  /** Headers for the response: the account's quota status. */
  headers: Record<string, string>;
  /**
   * Replaces the hold by what the request cost. A repeated call does no harm.
   *
   * @param later how it ended in the end, where it is read on: by this it is settled, once it is there
   */
  settleRequest(outcome: RequestOutcome, extra?: Partial<Settlement>, later?: Promise<RequestOutcome>): BookedCost;
  /** Renews the hold, because the request still runs. @param stage how far it has come */
  renewHold(stage?: string): Promise<boolean>;
  /** Says that nobody wants its answer any more: it is no running request from now on. Never rejects. */
  abandonRequest(): Promise<void>;
  /**
   * Admits another try of the request, after the one before was settled. This meter's `settle` and `renew` stay with the try
   * before.
   *
   * @returns the try, with a meter of its own. What it settles includes the earlier tries
   * @throws ApiError as `admit`
   */
  admitLaterAttempt(later: LaterAttemptOptions): Promise<RequestAdmission>;
  /** The admitted model, by the upstream's name. */
  model: string;
  /** @returns whether another model may step in. */
  hasFallbackModel(): boolean;
  /**
   * Admits the request for the next model that may step in, as `again` does.
   *
   * @returns undefined if the account admits none of them. Then `again` still means the present model
   */
  admitFallbackModel(later: LaterAttemptOptions): Promise<RequestAdmission | undefined>;
}

/** Another try of a request: a hold of its own. */
export interface LaterAttemptOptions {
  /** What the earlier tries have cost. It counts only against the most that the request itself may cost. */
  earlierCost: Nanodollars;
  /** Whether it may wait in the line: not where the answer is otherwise the failure of the try before. */
  canWait: boolean;
}

/** What a request has cost, and what that leaves, as it is told; `done` once its account has booked it. */
export interface BookedCost {
  nanodollars: Nanodollars;
  /** Output tokens as in the ledger; an estimate if the upstream did not report them. */
  outputTokens: number | undefined;
  /** What it leaves of the caller's own budget; undefined if nothing limits that, or it is not known. */
  budget: RemainingBudget | undefined;
  done: Promise<SettlementResult>;
  /** The output tokens as in the ledger, where it was read on. */
  late?: Promise<number | undefined>;
}

/** An admission with what must be stored to settle it later. */
export interface RequestAdmission extends RequestMeter {
  /** The name of this try in the ledger. */
  requestId: string;
  grant: StoredGrant;
  /** What is changed of the body for the admitted model. */
  changes: JsonObject;
  /** Counts the prompt, once. Resolves to undefined where that is not worth a call, or fails. */
  countPromptOnce(): Promise<number | undefined>;
  /** Whether the account keeps the grant. */
  isKept: boolean;
  /** Whether a limit in USD holds, so that nobody wants more booked than was billed. */
  inUsd: boolean;
}
