/**
 * The admission request that an account receives before a request is sent, and its decision: a hold, or the limit that rejects
 * the request.
 */

import type { TokenLocation } from '../../auth/identity/token-location.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import type { Limits } from '../budget/limits.schema.ts';
import type { DimensionValues } from './dimensions.ts';
import type { LoweredBy } from './lowered-by.schema.ts';
import type { ParentToolCall } from './settlement.ts';

/** The caller of an admission, and the facts that decide beside the account's own limits. */
export interface AdmissionContext {
  dimensions?: DimensionValues | undefined;
  /** The caller's credential; absent in development without one. */
  token?: CredentialClaims | undefined;
  /** The deployment's limits, for limits that the account does not set itself. */
  defaults?: Limits | undefined;
  /** The pools that also pay; absent if there are none. A group that an admin has chosen replaces the group here. */
  pools?: { deployment: boolean; group?: string | undefined } | undefined;
}

/**
 * How a request counts for its account: by its price, as a token count, or only as a request (`free`). With `nothing`, it does not
 * count at all, and the account need not be asked.
 */
export type RequestCostKind = 'price' | 'count' | 'free' | 'nothing';

/** The name in the ledger of the calls that choose a model for another request. */
export const CHOICE = 'choice';

export interface AdmissionRequest extends AdmissionContext {
  /** The id of the attempt in the ledger. It sorts by time, and is used once. */
  requestId: string;
  /** The route's name in the ledger: messages, classify, … */
  route: string;
  model: string;
  /** The maximum cost of the request. Absent if it costs nothing, as a token count. */
  maximumCost?: MaximumCost | undefined;
  conversation?: string | undefined;
  /** The call that a subagent's conversation answers. */
  parent?: ParentToolCall | undefined;
  /** Whether an earlier attempt of the same request was admitted and settled. */
  repeats?: boolean | undefined;
  /** The most that this request itself may cost: the rest of a run's `max_usd`. */
  costLimit?: Nanodollars | undefined;
  /** What the earlier attempts of the same request have cost; absent if nothing. It counts only against `costLimit`. */
  earlier?: Nanodollars | undefined;
  /** Whether the upstream has counted the input for this decision. */
  counted?: boolean | undefined;
  /** The fewest uses of the API's own tools to which the request can be limited. Absent where their number must not change. */
  leastUses?: number | undefined;
  /** Which limit has lowered the uses already. */
  loweredBy?: LoweredBy | undefined;
  /** Characters that a turn adds to its conversation before the answer. Their number is a lower bound of their bytes. */
  newCharacters?: number | undefined;
  /**
   * The grant that settles the request after a crash (`StoredGrant`), as text. It is stored with the hold until the request is
   * settled, and `getStoredHold` returns it.
   */
  grant?: string | undefined;
  /** Milliseconds for which the request can wait while only the holds of others leave too little. Default: not at all. */
  waitMs?: number | undefined;
  /** Milliseconds that its hold lasts if it is not renewed. Default: a quarter of an hour. */
  holdMs?: number | undefined;
  /** Set for a request that costs nothing and is not a token count. It counts in `requests_per_minute`. */
  free?: { storing?: StorageReservationRequest | undefined } | undefined;
}

/** The limit on requests to routes that call no model, as errors and headers name it. */
export const FREE_REQUESTS_LIMIT = 'reads_per_minute';

/** A request to a route that calls no model, to be counted for its account. */
export interface RateLimitedRequest {
  /** The requests that share the limit. */
  bucket: string;
  /** The limit’s name, and its owner. */
  name: string;
  by: 'account' | 'token';
  /** How many of them may be sent in a minute. */
  limit: number;
  /** The stream that it resumes; absent if it resumes none. */
  stream?: string | undefined;
}

/** The stored hold of a request, and its grant, as text. */
export interface RecoverableHold {
  grant: string;
  hold: Nanodollars;
  maxTokens: number;
}

/**
 * An account's decision. Two of them place no hold, and the caller sends the admission request again: after `count_needed` with
 * a count of the input, after `fewer_uses` with a request that limits the uses of the API's own tools.
 */
export type AdmissionDecision =
  | { outcome: 'revoked' }
  | SuspendedDecision
  /** A stored version that the request uses was withdrawn by the account itself. */
  | { outcome: 'withdrawn'; kind: string; ref: string }
  | { outcome: 'count_needed' }
  | { outcome: 'fewer_uses'; uses: number; loweredBy: LoweredBy }
  | {
      outcome: 'refused';
      refusal: LimitRejection;
      quota: QuotaStatus;
      fallbackModels?: readonly string[];
      /** As for an admitted request. */
      unlisted: boolean;
    }
  | ({ outcome: 'full' } & StorageLimitRejection)
  /** A group's or the deployment's budget should pay too, and no plugin provides shared budgets. */
  | { outcome: 'unpayable' }
  /** A pool must be asked, but could not be reached. */
  | { outcome: 'unreachable'; damage?: string | undefined }
  | {
      outcome: 'admitted';
      hold: Nanodollars;
      /** The value to which `max_tokens` must be lowered; absent if it stays. */
      maxTokens?: number;
      /** Whose limit has lowered that, or uses; absent if none has, and where that is not known any more. */
      loweredBy?: LoweredBy;
      /** The cost of its shortest useful response; absent if neither the account nor the credential has a limit in USD. */
      least?: Nanodollars;
      /** Whether a limit in USD holds: the account's own, the credential's, or a pool's. Absent if none does. */
      inUsd?: true;
      quota: QuotaStatus;
      /** The models that may step in, according to the account's limits. */
      fallbackModels?: readonly string[];
      /** Whether this account is not on the list of accounts yet. The code that adds it then calls `markInAccountList`. */
      unlisted: boolean;
    };

/** The account may send no requests at all. */
export type SuspendedDecision =
  /** An admin has blocked it. The message is for its user. */
  { outcome: 'blocked'; message: string };

export type SharedBudgetKind = Extract<LimitOwner, 'group' | 'deployment'>;

/** Why a request is rejected: by which limit, and when it is worth trying again. */
export interface LimitRejection {
  kind: 'refused';
  reason: 'model' | 'unpriced' | 'requests' | 'concurrency' | 'rate' | 'spend' | 'held';
  by: LimitOwner;
  /** The name of the limit, as its owner's limits have it; empty where `late`. */
  limit: string;
  /** Whole seconds, at least one. */
  retryAfter: number;
  /** Milliseconds since 1970. */
  resetsAt: number;
  /** The least that the request needs, and what is left; nanodollars for `spend`, units otherwise. */
  needed: number;
  left: number;
  /** Whether batches hold the money: then it takes longer than a moment until it is free. */
  byBatch?: boolean;
  /** Whether the owner has enough by its figures, and could not set it aside in time: then no limit has rejected it. */
  late?: boolean;
  /** Whether the limit is too small for this request even when nothing is used. */
  never: boolean;
  /** Whether the account is prepaid, and nothing is left of its credit: then only more of that helps. */
  noCredit?: boolean;
  /** The model that is not allowed, or has no price; and the models that are allowed. */
  model?: string;
  allowed?: readonly string[];
  /** The remedies if the limit is too small for this request, in sentences for the caller. Absent if the limit is 0. */
  advice?: string;
  /** Whether the upstream did not count the prompt, so that the most it can be is needed. Only the asking process knows it. */
  uncounted?: boolean;
}

/** The owner of a limit: an account, the credential, a budget that several accounts share, or the run of a step. */
export type LimitOwner = LoweredBy['by'];

/** The quota status: how much of each limit is used. Absent members have no limit. */
export interface QuotaStatus {
  requests?: RateStatus;
  inputTokens?: RateStatus;
  outputTokens?: RateStatus;
  countRequests?: RateStatus;
  hour?: SpendStatus;
  day?: SpendStatus;
  week?: SpendStatus;
  month?: SpendStatus;
  /** All time; it never resets. */
  total?: SpendStatus;
  /** The total spending limit of the credential. */
  token?: SpendStatus;
}

export interface RateStatus {
  limit: number;
  remaining: number;
  /** When the bucket is full again; milliseconds since 1970. */
  resetsAt: number;
}

export interface SpendStatus {
  limit: Nanodollars;
  settled: Nanodollars;
  held: Nanodollars;
  resetsAt: number;
}

export interface StorageReservationRequest {
  /** The conversation to which it adds, or which it makes. */
  conversation?: string | undefined;
  bytes: number;
  /** A conversation that is copied: its bytes are added to `bytes`. */
  copyOf?: string | undefined;
}

/** The limit by which what should be stored is too much. */
export interface StorageLimitRejection {
  limit: 'conversations' | 'stored_bytes';
  most: number;
}

/** A limit in USD of which too little is left for the last request that an account or a token sent. */
export interface InsufficientLimit {
  by: 'account' | 'token';
  /** The `jti` of the token; null for the account. */
  id: string | null;
  /** The name of the limit, such as `usd_per_day`. */
  limit: string;
  /** The model that the request named. */
  model: string;
  /** The least that the request needed, in US dollars. */
  needed_usd: number;
}

/** A rejected request, as its account stores it and reports it to the deployment's pool. */
export interface LimitRejectedRequest {
  id: string;
  /** Milliseconds since 1970. Each rejection of an account has another time. */
  at: number;
  route: string;
  model: string;
  dimensions?: DimensionValues | undefined;
  conversation?: string | undefined;
  token?: string | undefined;
  /** The group whose limit it was. */
  group?: string | undefined;
  refusal: LimitRejection | ({ kind: 'full' } & StorageLimitRejection);
}

/** The claims of a verified credential; times as in a JWT, in seconds since 1970. */
export interface CredentialClaims {
  jti?: string | undefined;
  iat?: number | undefined;
  exp?: number | undefined;
  /** When it cannot be renewed any more; absent for a token that cannot be. */
  sessionEnd?: number | undefined;
  /** How many requests it may make in all; absent if as many as it likes. */
  maxRequests?: number | undefined;
  /** Its scopes, if it is a token for operators: such tokens are listed by themselves. */
  operatorScopes?: string | undefined;
  /** From where it is used; absent if that is not recorded. */
  location?: TokenLocation | undefined;
}

/** A valid token with a limit in USD of its own. */
export interface SpendLimitedToken {
  jti: string;
  limit_usd: number;
  used_usd: number;
  /** When it expires; milliseconds since 1970, null for never. */
  until: number | null;
}
