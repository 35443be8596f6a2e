/** The settlement that an account receives when a request has ended: the cost that replaces its hold. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { KeyRateLimits } from '../../claude/upstreams/rate-limits.ts';
import type { DimensionValues } from './dimensions.ts';

/** How a request has ended, and what it has cost. */
export interface Settlement {
  requestId: string;
  /** complete, cut, client_gone, refused_upstream, …: stored in the row unchanged. */
  status: string;
  /** The cost, computed by `computeCost`; 0 if the upstream refused. */
  cost: Nanodollars;
  tokens?: Partial<TokenUsage> | undefined;
  /** The savings by caching (`computeSavings`), in nanodollars; negative if caching cost more. Default: 0. */
  saved?: Nanodollars | undefined;
  /** Whether the cost is an estimate, because the upstream has not reported the final usage. */
  estimated?: boolean | undefined;
  stage?: string | undefined;
  answeredBy?: string | undefined;
  stopReason?: string | undefined;
  errorType?: string | undefined;
  /** The API's own sentence in the error (`findStoredSentence`). */
  errorMessage?: string | undefined;
  upstreamRequestId?: string | undefined;
  /** If there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  /** The names of the other upstreams that failed before. */
  failedUpstreams?: readonly string[] | undefined;
  ttftMs?: number | undefined;
  /** Milliseconds before it was sent, while it was admitted. They are not in `ttftMs`. */
  waitedMs?: number | undefined;
  ms?: number | undefined;
  /** Of a stream: milliseconds to its first event; and from that to its end, if it came to it. */
  firstEventMs?: number | undefined;
  afterFirstMs?: number | undefined;
  /** The beginning of the row, used if the account no longer has a row of this request. */
  admittedFields?: Partial<AdmittedRequestFields> | undefined;
  /** When the request began, in milliseconds since 1970. If it began before an erasure, it is not recorded again. */
  startedAt?: number | undefined;
  /** The calls of tools whose results it has taken up, by the names of the tools. */
  tools?: Readonly<Record<string, ToolCallStats>> | undefined;
  /** What is left of the rate limits of the deployment's keys, if the settling isolate has not reported that lately. */
  keyLimits?: readonly KeyRateLimits[] | undefined;
  /** The conversation after this request. It is noted in the same call, whatever the result of the settlement is. */
  conversation?: ConversationReport | undefined;
}

/** How often a tool was called, how often it failed, and how many milliseconds it took in total. */
export type ToolCallStats = readonly [calls: number, errors: number, ms: number];

export interface SettlementResult {
  /** `late` replaced an orphan's estimate; `unheld` was recorded without a hold; `duplicate` and `erased` changed nothing. */
  outcome: 'settled' | 'late' | 'unheld' | 'duplicate' | 'erased';
  cost: Nanodollars;
  overHold: boolean;
}

/** Tokens that a request used, by kind. */
export interface TokenUsage {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite5m: number;
  cacheWrite1h: number;
  thinking: number;
  webSearches: number;
}

/** The facts about a request when it is admitted. */
export interface AdmittedRequestFields {
  route: string;
  model: string;
  unpriced: boolean;
  conversation: string | null;
  token: string | null;
  /** The group whose pool also pays. */
  group: string | null;
  dimensions: DimensionValues;
  /** The location from which the token is used, if no other row of the hour contains it. */
  location?: string | undefined;
}

/** The call that a subagent's conversation answers, as lists show it. */
export interface ParentToolCall {
  /** The id of a conversation, and of a call that its run has made. */
  conversation: string;
  toolUseId: string;
}

/** The state of a conversation after a change. Versions only grow, so a late report changes nothing. */
export interface ConversationReport {
  id: string;
  version: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  title: string | null;
  /** The call that it answers, if it is a subagent's conversation. */
  parent?: ParentToolCall | undefined;
  turns: number;
  messages: number;
  /** The bytes of its object, as the platform counts them. */
  bytes: number;
  /** Its cost, without the request that this report belongs to. */
  cost: Nanodollars;
  /** Whether its calls wait for approval. */
  paused: 'approval' | null;
  /** Whether it does not exist: it was deleted, or its first turn failed. */
  gone: boolean;
}
