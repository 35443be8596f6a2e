/** What a conversation stores, as its objects have it in memory. */

import type { StoredGrant } from '../../accounts/admission/settle.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';

/** How a turn stands. `failed` never was one: it is kept until it is settled and its log has been read. */
export type TurnStatus = 'running' | 'complete' | 'interrupted' | 'stopped' | 'refused' | 'empty' | 'failed';

/** The prefix of a conversation, as its profile has it. */
export interface HeldPrefix {
  owner: string;
  name: string;
  hash: string;
  /** Used once: letting go of one hold must not touch another. */
  holder: string;
}

/** What a conversation is, beside its messages. */
export interface Profile {
  account: string;
  id: string;
  /** Whether it exists: a first turn that fails leaves nothing. */
  exists: boolean;
  createdAt: number;
  updatedAt: number;
  /** Grows with each change, so that the account's list cannot go back. */
  version: number;
  /** Whether the account has not confirmed the last change that came by no turn. */
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
  /** What the object took up when this was saved. */
  bytes?: number;
  cost: number;
  inputTokens: number;
  outputTokens: number;
  nextTurn: number;
  nextMessage: number;
  /** The first message that is sent: those before it were left out to make room. */
  sentFrom: number;
  /** What the list must do about it; a conversation that is deleted waits for this alone. */
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
  /** When the try that is granted went up. */
  sentAt: number | null;
  /** Until when what is stored tells what a turn can have cost that has died. */
  coversUntil: number | null;
  outcome: RequestOutcome | null;
  settled: boolean;
  cost: number;
  /** Input and output tokens that the upstream reported for it. */
  tokens: number | null;
  /** What of the request, beside the messages, decides how many tokens its prompt has; null if that is not told. */
  frame: string | null;
  sentFrom: number;
  /** Whether it goes on with the turn before it: results of its tool calls, or the rest of a paused answer. */
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
