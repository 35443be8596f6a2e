/** The rows of a conversation as objects in memory. */

import type { StoredGrant } from '../../accounts/admission/settle.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';

/** The status of a turn. A `failed` one is no part of the history; its row stays until it is settled and its log expires. */
export type TurnStatus = 'running' | 'complete' | 'interrupted' | 'stopped' | 'refused' | 'empty' | 'failed';

/** The version of a prefix that a conversation holds. */
export interface HeldPrefix {
  owner: string;
  name: string;
  hash: string;
  /** The id of the hold, used once: its release must not end another one. */
  holder: string;
}

/** Everything of a conversation but its turns and messages. */
export interface Profile {
  account: string;
  id: string;
  /** Whether the conversation exists; false while its first turn runs, and after it failed. */
  exists: boolean;
  createdAt: number;
  updatedAt: number;
  /** Grows with each change, so that an old report cannot replace a newer one. */
  version: number;
  /** Whether the account has not confirmed the last change that was not a turn. */
  unreported: boolean;
  title: string | null;
  metadata: Record<string, unknown> | null;
  model: string | null;
  maxTokens: number | null;
  /** Absent in what was created before there were prefixes. */
  prefix?: HeldPrefix | null;
  retentionSeconds: number | null;
  history: { max_tokens: number; strategy: 'error' | 'truncate' } | null;
  turns: number;
  messages: number;
  /** The bytes of the object's database when this was saved. */
  bytes?: number;
  cost: number;
  inputTokens: number;
  outputTokens: number;
  nextTurn: number;
  nextMessage: number;
  /** The number of the first message that is sent; earlier ones are left out. */
  sentFrom: number;
  /** Whether it is deleted, and the row only waits until the account has confirmed that. */
  deleted: boolean;
}

export interface TurnRow {
  seq: number;
  id: string;
  requestId: string;
  key: string | null;
  hash: string;
  status: TurnStatus;
  route: string;
  model: string;
  beganAt: number;
  endedAt: number | null;
  grant: StoredGrant | null;
  /** When the admitted try went up; milliseconds since 1970. */
  sentAt: number | null;
  /** Until when the stored rows bound the cost of a turn that a crash interrupts; milliseconds since 1970. */
  coversUntil: number | null;
  outcome: RequestOutcome | null;
  settled: boolean;
  cost: number;
  /** Input and output tokens as the upstream reported them. */
  tokens: number | null;
  /** What decides the tokens of its prompt beside the messages; null where that is not known. */
  frame: string | null;
  sentFrom: number;
  /** Whether it continues the turn before it: with results of tool calls, or the rest of a paused answer. */
  follows: boolean;
  events: number;
}

export interface MessageRow {
  seq: number;
  turn: number;
  id: string;
  role: string;
  createdAt: number;
  text: string;
  status: TurnStatus;
  cost: number;
  outcome: RequestOutcome | null;
}
