/** The admission of a request by its account. */

import type { Nanodollars } from '../../pricing/cost.ts';
import type { WorstCase } from '../../pricing/hold-terms.ts';
import type { Limits } from '../../settings/limits.schema.ts';
import type { ListedParent } from './settlement.ts';

/** Who asks an account to set something aside, and by what it decides beside its own limits. */
export interface AdmissionCaller {
  /** The credential that asks; absent in development without one. */
  token?: CredentialUse | undefined;
  /** What the request is for, as `identity/tags.ts` writes it. */
  tags?: string | undefined;
  /** A hash of the end user that it names. */
  user?: string | undefined;
  /** The deployment's limits, for what the account's own leave open. */
  defaults?: Limits | undefined;
  /** The pools that pay too, but for a group that an admin has chosen; absent where there are none. */
  pools?: { deployment: boolean; group?: string | undefined } | undefined;
}

/** A request for admission. */
export interface AdmissionRequest extends AdmissionCaller {
  /** The id of the try in the ledger: it sorts by time, and is used once. */
  requestId: string;
  /** The route's name in the ledger: messages, classify, … */
  route: string;
  model: string;
  /** The worst case: the most that the request can cost. Absent for what costs nothing, such as a token count. */
  bound?: WorstCase | undefined;
  conversation?: string | undefined;
  /** The call that a subagent's conversation answers. */
  parent?: ListedParent | undefined;
  prefix?: string | undefined;
  /** The agent that it stands behind, as the ledger names it: name@version. */
  agent?: string | undefined;
  /** Whether an earlier try of the same request was admitted and settled. */
  repeats?: boolean | undefined;
  /** What it may cost at the most, by the request itself: what is left of a run's `max_usd`. */
  most?: Nanodollars | undefined;
  /** Whether the upstream has counted the input for this decision. */
  counted?: boolean | undefined;
  /** Bytes that a turn adds to its conversation before it is answered. */
  adds?: number | undefined;
  /** Set for a request that costs nothing and is no token count. It takes one of `requests_per_minute`. */
  free?: { storing?: StorageRequest | undefined } | undefined;
}

/** An account's decision. After `count_needed`, which places no hold, the caller counts the input and asks again. */
export type AdmissionDecision =
  | { outcome: 'revoked' }
  | { outcome: 'count_needed' }
  | {
      outcome: 'refused';
      refusal: Refusal;
      standing: QuotaStatus;
      fallbacks?: readonly string[];
      /** As of one that is admitted; absent from an object of an earlier version. */
      unlisted?: boolean;
    }
  | ({ outcome: 'full' } & StorageRefusal)
  /** A pool has to be asked, and could not be. */
  | { outcome: 'unreachable' }
  | {
      outcome: 'admitted';
      hold: Nanodollars;
      /** What `max_tokens` has to be lowered to; absent where it may stay. */
      maxTokens?: number;
      standing: QuotaStatus;
      /** The models that may step in, by the account's limits. */
      fallbacks?: readonly string[];
      /**
       * Whether so much is left beside this hold that it keeps nobody out for the moment: its settlement may wait for the
       * next call that goes to the account. Absent where it does not, and from an object of an earlier version.
       */
      roomy?: boolean;
      /** Whether this account is not on the list of accounts yet. Who puts it there calls `listed()`. */
      unlisted: boolean;
    };

/** Whose shared budget a pool is. */
export type PoolKind = Extract<LimitOwner, 'group' | 'deployment'>;

/** Why a request is refused: by which limit, and when it is worth trying again. */
export interface Refusal {
  kind: 'refused';
  reason: 'model' | 'unpriced' | 'concurrency' | 'rate' | 'spend' | 'held';
  /** Whose limit it is; absent in what a version before wrote, which knew accounts alone. */
  by?: LimitOwner;
  /** The limit, as it is named in the limits of its owner. */
  limit: string;
  /** Whole seconds, at least one. */
  retryAfter: number;
  /** Milliseconds since 1970. */
  resetsAt: number;
  /** What the request needs at the least, and what there is; nanodollars for `spend`, units otherwise. */
  needed: number;
  left: number;
  /** Whether the limit is too small for this request even when nothing is used. */
  never: boolean;
  /** The model that is not allowed, or has no price; and those that are allowed. */
  model?: string;
  allowed?: readonly string[];
  /** What helps, where the limit is too small for this request: in words for the caller. */
  advice?: string;
}

/** Who has a limit: an account, the token that asks, what several accounts share, or the run that a step belongs to. */
export type LimitOwner = 'account' | 'token' | 'group' | 'deployment' | 'run';

/** The quota status: how much of each limit is used. What has no limit is absent. */
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
  /** What the token that asks may spend in all. */
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

/** What a request is going to store. */
export interface StorageRequest {
  /** A conversation that it adds to, or makes. */
  conversation?: string | undefined;
  bytes: number;
  /** As many bytes again as this conversation has. */
  copyOf?: string | undefined;
}

/** The limit that leaves no room for what is to be stored. */
export interface StorageRefusal {
  limit: 'conversations' | 'stored_bytes';
  most: number;
}

/** The claims of a verified credential; times as in a JWT, in seconds since 1970. */
export interface CredentialUse {
  jti?: string | undefined;
  iat?: number | undefined;
  exp?: number | undefined;
}
