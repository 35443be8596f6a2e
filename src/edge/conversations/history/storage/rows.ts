/** The rows of a conversation as objects in memory, and how they are read and written. Times are milliseconds since 1970. */

import type { RequestOutcome } from '../../../claude/outcome.ts';
import { type SqliteRow, toMembers } from '../../../durable/columns.ts';
import type { SqlTables } from '../../../durable/tables.ts';
import type { StoredGrant } from '../../../money/admission/price-outcome.ts';
import type { LoweredBy } from '../../../money/contracts/lowered-by.schema.ts';
import type { ParentToolCall } from '../../../money/contracts/settlement.ts';
import type { HistorySetting } from '../history.schema.ts';
import type { ModelSelectionReason } from './chosen-by.schema.ts';
import { DamagedRow, parseStored } from './damaged-row.ts';
import { parseNotes, type TurnNotes } from './turn-notes.ts';

/**
 * The status of a turn. A `failed` turn is not part of the history. Its row stays until it is settled and its log expires.
 */
const STATUSES = ['running', 'complete', 'interrupted', 'stopped', 'refused', 'empty', 'failed'] as const;
export type TurnStatus = (typeof STATUSES)[number];

/** The version of a prefix that a conversation holds. */
export interface RetainedPrefix {
  owner: string;
  name: string;
  hash: string;
  /** The id of the hold. It is used only once, so that its release cannot end another hold. */
  holder: string;
}

/** The version of an agent that a conversation has a copy of. */
export type RetainedAgent = Omit<RetainedPrefix, 'holder'>;

/** @returns a version as requests and the ledger name it: `name@hash`. */
export function formatVersionReference({ name, hash }: Pick<RetainedPrefix, 'name' | 'hash'>): string {
  return `${name}@${hash}`;
}

/** A model, by the name that the agent has for it, and how it was chosen. */
export interface ModelSelection {
  model: string;
  by: ModelSelectionReason;
}

/** How the model of a turn was chosen. */
export interface TurnWithModelSelection extends ModelSelection {
  /** The number of the turn; in a run, that of the run. */
  turn: number;
  hash: string;
}

/** The call that a subagent's conversation answers. */
export interface ParentCall extends ParentToolCall {
  /** How deep it is. A run that a client has begun is at 1, its subagents are at 2. */
  depth: number;
  /**
   * Seconds for which the calling conversation is kept. Its subagents are not kept longer. Null: the deployment's retention.
   */
  retentionSeconds: number | null;
}

/** The tables of a conversation, with its profile. Without one there may be no tables. */
export type ConversationTables = SqlTables & { readonly uncheckedProfile: ConversationProfile | undefined };

/** Everything about a conversation except its turns and messages. */
export interface ConversationProfile {
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
  prefix: RetainedPrefix | null;
  agent: RetainedAgent | null;
  retentionSeconds: number | null;
  history: HistorySetting | null;
  turns: number;
  messages: number;
  /** The bytes of the object's database when this was saved. */
  bytes: number;
  cost: number;
  inputTokens: number;
  outputTokens: number;
  nextTurn: number;
  nextMessage: number;
  /** The ids of the answers before message `from`: concatenated short hashes, of which two may be equal. Absent at first. */
  answerIds?: { from: number; marks: string };
  /**
   * The number of the newest turn whose messages, cost and tokens are included here. (The stored profile lags behind during a
   * run: its later steps are added at its end.)
   */
  through: number;
  /** The first message of the prompt: its number, or a summary's id below zero. Earlier messages are left out. */
  sentFrom: number;
  /** Whether calls wait for approval, as it is reported to the account. */
  paused: 'approval' | null;
  /**
   * How models were chosen, oldest first: for the first and the last turn of each. Absent where the agent does not choose.
   */
  choices?: readonly TurnWithModelSelection[];
  /**
   * Set if turns were removed, or left out when the conversation was copied. Then a new question may repeat a removed one.
   */
  asksAgain?: true;
  /** The ids of calls that were shown but are not in the history, since the API would refuse them. */
  leftOut?: readonly string[];
  /**
   * The number of the first turn whose thinking is sent again: what came before is bound to blocks that the API has rejected.
   * Absent while none was.
   */
  thinkingFrom?: number;
  /** The betas that blocks of the history need. Absent if there are none. */
  betas?: readonly string[];
  /** The names of the tools of this version of the agent that the API has rejected. They are not sent. Absent if there are none. */
  omittedTools?: { version: string; names: readonly string[] };
  /** The call that this conversation answers, if it is a subagent's. */
  parent?: ParentCall;
  /** Whether it is deleted. Then the row stays only until the account has confirmed the deletion. */
  deleted: boolean;
}

/** Milliseconds after its end in which a turn can still be resumed and attached to. After that a failed turn is forgotten. */
export const GRACE_MS = 10 * 60_000;

/** The container in which the code of an answer runs. It expires at this time (RFC 3339), if the API reports one. */
export interface CodeContainer {
  id: string;
  expires_at?: string;
}

/** How a turn's request ended, and whose limit has lowered its `max_tokens`, if one has. */
export interface StoredOutcome extends RequestOutcome {
  lowered_by?: LoweredBy;
  /** Until when its answer may have been read after its end; milliseconds since 1970. */
  read_until?: number;
  /** The container of its answer. Only the row of the turn has it. */
  container?: CodeContainer;
}

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
  /** When the admitted attempt was sent. */
  sentAt: number | null;
  /** Until when the stored rows limit the cost of a turn that a crash interrupts. */
  coversUntil: number | null;
  outcome: StoredOutcome | null;
  /**
   * Whether the account has confirmed the settlement, or there is nothing to settle. For complete steps, the row of the run
   * stores this.
   */
  settled: boolean;
  cost: number;
  /** Input and output tokens as the upstream reported them. */
  tokens: number | null;
  /** Identifies what determines the length of its prompt except the messages (see `createPromptFrameKey`); null if unknown. */
  frame: string | null;
  sentFrom: number;
  /** Whether it continues the turn before it: with results of tool calls, or the rest of a paused answer. */
  follows: boolean;
  /** The number of its events. While a step runs: the number of the last event before the step. */
  events: number;
  /**
   * The number of its run; null if the turn is not a run. In the row of the run itself it is the row's own number: clients
   * see this row, and it has the log. In the row of a step it is the run's number: steps have the messages.
   */
  run: number | null;
  /** 1 for a turn in the background: its end is sent as an event. */
  background: 1 | null;
  /** What plugins store about it; in the row of a step, what views show about its run. */
  notes: TurnNotes | null;
}

/** The fields that a turn does not have at its beginning. */
export const BLANK_TURN = {
  grant: null,
  sentAt: null,
  coversUntil: null,
  outcome: null,
  cost: 0,
  tokens: null,
  events: 0,
  run: null,
  background: null,
  notes: null,
} as const satisfies Partial<TurnRow>;

/** A message, with the fields of its turn that views show. */
export interface MessageRow extends Pick<TurnRow, 'status' | 'cost' | 'outcome' | 'model' | 'run' | 'notes'> {
  seq: number;
  turn: number;
  id: string;
  role: string;
  createdAt: number;
  /** The message as it is sent. */
  text: string;
  /** The message as it is shown, where it is sent otherwise. Null if that is the same. */
  shown: string | null;
  /**
   * `edge`: a user's message that the edge made, between two steps of a run. `import`: it came with an import. Null
   * otherwise.
   */
  origin: 'edge' | 'import' | null;
  /** The id of its turn as clients know it: for a step, the id of its run. */
  turnId: string;
}

/** What decides how a message is shown. `text` reads the text of a user's message; for an answer it reads nothing. */
export interface MessageOutline extends Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'run'> {
  readUserText(): string;
}

/** A message as it is stored at the beginning of its turn. */
export type NewMessage = Pick<MessageRow, 'seq' | 'turn' | 'id' | 'role' | 'createdAt' | 'text'> &
  Partial<Pick<MessageRow, 'origin' | 'shown'>>;

/**
 * @returns the columns that only few turns need at their beginning, such as those in the background: fewer columns are written
 */
export function selectRareTurnColumns({ background, notes }: TurnRow): Partial<TurnRow> {
  return { ...(background ? { background } : {}), ...(notes ? { notes } : {}) };
}

/** @returns a turn from its row. @throws DamagedRow if that cannot be read */
export function parseTurnRow(row: SqliteRow): TurnRow {
  const turn = toMembers<TurnRow>(row);
  const { settled, follows, grant, outcome, notes } = row;
  if (!STATUSES.includes(turn.status)) throw new DamagedRow('the status of a turn');
  const json = {
    grant: parseStoredJsonColumn<StoredGrant>('grant', grant),
    outcome: parseStoredJsonColumn<StoredOutcome>('outcome', outcome),
    notes: parseNotes(notes),
  };
  return { ...turn, ...json, settled: settled === 1, follows: follows === 1 };
}

/**
 * @param divided reads a text that is too long for the row, by the message's number
 * @param shownOf reads the text that is shown, in the same way
 * @returns a message from its row
 */
export function parseMessageRow(
  row: SqliteRow,
  divided: (seq: number) => string,
  shownOf: (seq: number) => string,
): MessageRow {
  const message = toMembers<MessageRow>(row);
  const text = message.text ?? divided(message.seq);
  const shown = row.shown === 1 ? shownOf(message.seq) : null;
  return {
    ...message,
    text,
    shown,
    outcome: parseStoredJsonColumn<StoredOutcome>('outcome', row.outcome),
    notes: parseNotes(row.notes),
  };
}

function parseStoredJsonColumn<T>(name: 'grant' | 'outcome', value: SqlStorageValue | undefined): T | null {
  return typeof value === 'string' ? parseStored<T>(`the ${name} of a turn`, value) : null;
}
