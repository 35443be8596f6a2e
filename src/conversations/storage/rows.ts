/** The rows of a conversation as objects in memory, and how they are read and written. Times are milliseconds since 1970. */

import type { StoredGrant } from '../../accounts/admission/settle.ts';
import { membersOf, type RawRow } from '../../durable/columns.ts';
import type { ParentCall } from '../../durable/contracts/conversation.ts';
import { type FormatName, readFormat } from '../../durable/stored-format.ts';
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

/** The version of an agent that a conversation has a copy of. */
export interface HeldAgent {
  owner: string;
  name: string;
  hash: string;
}

/** @returns a version as requests and ledgers name it. */
export function refOf({ name, hash }: Pick<HeldPrefix, 'name' | 'hash'>): string {
  return `${name}@${hash}`;
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
  /** Absent in conversations that are older than prefixes. */
  prefix?: HeldPrefix | null;
  /** Absent in conversations that are older than agents. */
  agent?: HeldAgent | null;
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
  /**
   * The number of the newest turn whose messages, cost and tokens are in here: of a run the steps after its first are stored
   * with its end. Absent in what an earlier version stored.
   */
  through?: number;
  /** The number of the first message that is sent; earlier ones are left out. */
  sentFrom: number;
  /** What the account is to be told of whether calls wait for approval. Absent while none ever has. */
  paused?: 'approval' | null;
  /** Of a subagent's conversation: the call that it answers. */
  parent?: ParentCall;
  /** Whether it is deleted, and the row only waits until the account has confirmed that. */
  deleted: boolean;
}

/** How long a turn can be resumed and attached to after its end; a failed one is not known any more then. */
export const GRACE_MS = 10 * 60_000;

/** A turn. Its members are the columns of its table. */
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
  /** When the admitted try went up. */
  sentAt: number | null;
  /** Until when the stored rows limit the cost of a turn that a crash interrupts. */
  coversUntil: number | null;
  outcome: RequestOutcome | null;
  /** Whether nothing is to be settled any more. Of a complete step its run's own row says it, for all of them together. */
  settled: boolean;
  cost: number;
  /** Input and output tokens as the upstream reported them. */
  tokens: number | null;
  /** What decides the tokens of its prompt beside the messages; null where that is not known. */
  frame: string | null;
  sentFrom: number;
  /** Whether it continues the turn before it: with results of tool calls, or the rest of a paused answer. */
  follows: boolean;
  /** Its events; of a step the number of the last one before it, while it runs. */
  events: number;
  /**
   * The number of its run: its own, of the turn that a client sees and that has the log; another one's, of a step, which has
   * the messages. Null in a turn that is no run.
   */
  run: number | null;
  /** Why its run has paused; absent where nothing is known of that. */
  paused?: string | null;
  /** 1 for a turn in the background: its end is told. */
  background?: 1 | null;
  /** Where that is told, if the request has said so. */
  deliverUrl?: string | null;
  /** Of a step the calls that the edge makes, as JSON text: stored with its end, before any of them is made. */
  calls?: string | null;
}

/** A message, and what is told of its turn. */
export interface MessageRow {
  seq: number;
  turn: number;
  id: string;
  role: string;
  createdAt: number;
  text: string;
  /** `edge`: a user's message that no client has sent, between two steps of a run; `import`: it came with others; else null. */
  origin: 'edge' | 'import' | null;
  status: TurnStatus;
  cost: number;
  outcome: RequestOutcome | null;
  model: string;
  run: number | null;
  /** Of a step the id of its run, which clients know. */
  turnId: string;
}

/** What decides how a message is shown. `text` reads a user's, and nothing of an answer. */
export interface MessageOutline extends Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'run'> {
  text(): string;
}

/** A message as it is stored when its turn begins. */
export type NewMessage = Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'createdAt' | 'text'> &
  Partial<Pick<MessageRow, 'origin'>>;

/** @returns a turn from its row. */
export function turnOf(row: RawRow): TurnRow {
  const turn = membersOf(row) as unknown as TurnRow;
  const { settled, follows, grant, outcome } = row;
  const json = {
    grant: storedJson<StoredGrant>('grant', grant),
    outcome: storedJson<RequestOutcome>('outcome', outcome),
  };
  return { ...turn, ...json, settled: settled === 1, follows: follows === 1 };
}

/** @returns a message from its row; `divided` reads a text that is too long for the row, by the message's number. */
export function messageRowOf(row: RawRow, divided: (seq: number) => string): MessageRow {
  const message = membersOf(row) as unknown as MessageRow;
  const text = message.text ?? divided(message.seq);
  return { ...message, text, outcome: storedJson<RequestOutcome>('outcome', row.outcome) };
}

function storedJson<T>(name: FormatName, value: SqlStorageValue | undefined): T | null {
  return typeof value === 'string' ? readFormat<T | null>(name, value) : null;
}
