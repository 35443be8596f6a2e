/** What an account is told when a request has ended. */
import type { Nanodollars } from '../../pricing/cost.ts';

/** What became of a request. */
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
  ttftMs?: number | undefined;
  ms?: number | undefined;
  /** For a request that this account never admitted, or does not know any more. */
  opening?: Partial<Opening> | undefined;
  startedAt?: number | undefined;
  /** What became of the conversation by it: noted in the same call, whatever becomes of the settlement. */
  conversation?: ConversationReport | undefined;
}

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
  token: string | null;
}

/** The state of a conversation after a change; versions only grow, so a report that comes late changes nothing. */
export interface ConversationReport {
  id: string;
  version: number;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  title: string | null;
  turns: number;
  messages: number;
  /** What its object takes up, as the platform counts it; a version before this one did not tell. */
  bytes?: number | undefined;
  /** It does not exist any more, or never came to be. */
  gone: boolean;
}
