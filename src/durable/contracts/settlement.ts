/** The settlement of a request with its account. */

import type { Nanodollars } from '../../pricing/cost.ts';

/** How a request has ended, and what it has cost. */
export interface Settlement {
  requestId: string;
  /** complete, cut, client_gone, refused_upstream, …: goes into the row as it is. */
  status: string;
  /** By `cost()`; 0 where the upstream refused. */
  cost: Nanodollars;
  tokens?: Partial<Tokens> | undefined;
  /** Whether the cost is not the upstream's final word. */
  estimated?: boolean | undefined;
  stage?: string | undefined;
  answeredBy?: string | undefined;
  stopReason?: string | undefined;
  errorType?: string | undefined;
  upstreamRequestId?: string | undefined;
  /** Where there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  ttftMs?: number | undefined;
  ms?: number | undefined;
  /** The beginning of the row, used where the account has no row of this request any more. */
  opening?: Partial<Opening> | undefined;
  /** When the request began, in milliseconds since 1970: one that began before an erasure is not recorded again. */
  startedAt?: number | undefined;
  /** The calls of tools whose results it has taken up, by the names of the tools. */
  tools?: Readonly<Record<string, CalledTool>> | undefined;
  /** The conversation after this request. It is noted in the same call, whatever the outcome of the settlement. */
  conversation?: ConversationReport | undefined;
}

/** How often a tool was called, how often that failed, and how long it took in all, in milliseconds. */
export type CalledTool = readonly [calls: number, errors: number, ms: number];

/** What an account answers to a settlement. */
export interface Settled {
  /** `late` replaced an orphan's estimate; `unheld` was recorded without a hold; `duplicate` and `erased` changed nothing. */
  outcome: 'settled' | 'late' | 'unheld' | 'duplicate' | 'erased';
  cost: Nanodollars;
  overHold: boolean;
}

/** Tokens that a request used, by kind. */
export interface Tokens {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite5m: number;
  cacheWrite1h: number;
  thinking: number;
  webSearches: number;
}

/** What is known of a request when it is admitted. */
export interface Opening {
  route: string;
  model: string;
  unpriced: boolean;
  conversation: string | null;
  prefix: string | null;
  agent: string | null;
  token: string | null;
  /** The group whose pool pays too. */
  group: string | null;
  /** As `identity/tags.ts` writes them. */
  tags: string | null;
  /** A hash of the end user that the request named. */
  user: string | null;
}

/** The call that a subagent's conversation answers, as lists tell it. */
export interface ListedParent {
  /** The id of a conversation, and of a call that its run has made. */
  conversation: string;
  toolUseId: string;
}

/** The state of a conversation after a change; versions only grow, so a report that comes late changes nothing. */
export interface ConversationReport {
  id: string;
  version: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  title: string | null;
  /** Of a subagent's. */
  parent?: ListedParent | undefined;
  turns: number;
  messages: number;
  /** What its object takes up, as the platform counts it; a version before this one did not tell. */
  bytes?: number | undefined;
  /** What it has cost, without the request that the report comes with; a version before this one did not tell. */
  cost?: Nanodollars | undefined;
  /** Whether calls of it wait for approval; a version before this one did not tell. */
  paused?: 'approval' | null | undefined;
  /** Whether it does not exist: it was deleted, or its first turn failed. */
  gone: boolean;
}
