import type { DecisionRequest } from '../../conversations/approvals.schema.ts';
import type {
  ConversationFields,
  ConversationPatch,
  HistoryQuery,
  StopQuery,
  View,
} from '../../conversations/conversations.schema.ts';
import type { ApiError } from '../../http/errors.ts';
import type { Identity } from '../../identity/caller.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { PlainHeaders } from '../../upstream/headers.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import type { ListedParent } from './settlement.ts';

/** A conversation's object, as others call it; what each method does stands at the object. */
export interface ConversationObject extends Rpc.DurableObjectBranded {
  turn(call: string, sent: TurnRequest['body']): Promise<PackedAnswer>;
  prompt(request: PromptRequest): Promise<Result<ReadableStream<Uint8Array>> | undefined>;
  resume(after: string | undefined): Resumed;
  stop(only?: StopQuery): Promise<Result<CrossingText>>;
  read(): Result<CrossingText>;
  turnAccount(id: string): Result<CrossingText>;
  turnOutcome(key: string, isAwaited: boolean): Promise<TurnOutcome | undefined>;
  cancel(turn: string): Promise<Result<CrossingText>>;
  approvals(): Result<CrossingText>;
  decide(decision: CalledDecision): Result<DecisionAnswer>;
  messages(page: HistoryQuery): Result<ReadableStream<Uint8Array>>;
  export(view?: View): Result<ReadableStream<Uint8Array>>;
  create(
    place: ConversationPlace,
    fields: Omit<ConversationFields, 'system' | 'tools' | 'messages'>,
    texts: { system?: CrossingText; tools?: CrossingText; messages?: CrossingText },
  ): Promise<Result<CrossingText>>;
  patch(patch: ConversationPatch): Result<CrossingText>;
  rewind(before: string): Result<CrossingText>;
  fork(to: string, at: string | undefined): Promise<Result<CrossingText>>;
  backup(): Result<ReadableStream<Uint8Array>>;
  adopt(place: ConversationPlace, lines: ReadableStream<Uint8Array>): Promise<Result<CrossingText>>;
  erase(): Promise<boolean>;
  subagentOutcome(key: string): Promise<SubagentOutcome | undefined>;
  stopSubagent(key: string): Promise<SubagentOutcome | undefined>;
}

/** A decision about a call that waits for approval. */
export interface CalledDecision extends DecisionRequest {
  /** The id of the approval. */
  id: string;
  isAdmin: boolean;
  requestId: string;
}

/** The answer to a decision: the call, or with 202 the turn that goes on. */
export interface DecisionAnswer {
  status: 200 | 202;
  turn: string;
  body: string;
}

/** Which conversation is meant, and by whom. */
export interface ConversationPlace {
  account: string;
  id: string;
}

/** The call that a subagent's conversation answers. */
export interface ParentCall extends ListedParent {
  /** How deep it is: a run that a client has begun is at 1, its subagents are at 2. */
  depth: number;
  /** How long that conversation is kept: its subagents no longer. Null takes the deployment's time. */
  retentionSeconds: number | null;
}

/** What a turn has come to, for whoever has begun it and is no client. */
export interface TurnOutcome {
  turn: string;
  status: 'complete' | 'stopped' | 'interrupted' | 'refused' | 'running' | 'failed';
  /** Why its run has paused. */
  paused: string | null;
  stop_reason: string | null;
  /** What was said last. */
  text: string;
  error: { type: string; message: string } | null;
  cost_usd: number;
}

/** What a subagent's turn has come to. */
export interface SubagentOutcome extends TurnOutcome {
  /** With its own subagents; null where it runs, or the account has not said it yet. */
  cost: Nanodollars | null;
}

/** A turn's request, as the edge sends it to a conversation. */
export interface TurnRequest {
  place: ConversationPlace;
  requestId: string;
  route: string;
  identity: Identity;
  /** The caller's body, a JSON object; as a stream where it is too long for a call. */
  body: CrossingText;
  /** The SHA-256 of the body. */
  hash: string;
  /** The header `idempotency-key`. */
  key: string | undefined;
  /** Whether an official client says that it has sent the same before. */
  retried: boolean;
  /** Whether the same call was lost before: it must not begin a second turn. */
  again: boolean;
  stream: boolean;
  /** Whether the turn is in the background: nobody waits for its answer, and its end is told. */
  background?: boolean | undefined;
  /** Where that is told, and what waits for approval; absent where the setting TURN_DELIVER_URL says it. */
  deliverUrl?: string | undefined;
  prefix?: string | undefined;
  agent?: string | undefined;
  /** Who has stored the tool that is this agent: the agent is theirs or the deployment's; absent: the account's own may be. */
  agentOwner?: string | undefined;
  /** The models that it says may step in. */
  fallbacks?: readonly string[] | undefined;
  /** As they go up, but for the deployment's key. */
  headers: PlainHeaders;
  query: string;
  /** The call of a run that it answers; absent in what a client has sent. */
  parent?: ParentCall | undefined;
}

/** The request for a conversation's next prompt, which is to be counted. */
export type PromptRequest = Pick<TurnRequest, 'place' | 'identity' | 'body' | 'prefix' | 'agent'>;

/** An error as it crosses from the object to the edge. */
export interface WireError {
  type: ApiError['type'];
  message: string;
  status: number;
  headers: Record<string, string>;
  logged: string;
}

export type TurnAnswer =
  /** `first` are the events that have been shown already: so they come with the answer, and not by the stream. */
  | { kind: 'stream'; turn: string; headers: Record<string, string>; first?: string; body: ReadableStream<Uint8Array> }
  | { kind: 'ended'; turn: string; headers: Record<string, string>; events: string; trailer: TurnSummary }
  | {
      kind: 'whole';
      turn: string;
      status: number;
      headers: Record<string, string>;
      body: string;
      trailer?: TurnSummary;
    }
  | { kind: 'error'; error: WireError };

/** A turn's answer on its way to the edge. A complete one is packed into a text, which costs less to carry. */
export type PackedAnswer = Exclude<TurnAnswer, { kind: 'ended' }> | string;

/** The answer to a client that resumes a turn. */
export type Resumed =
  | { kind: 'stream'; turn: string; body: ReadableStream<Uint8Array> }
  | { kind: 'none' | 'gone' | 'unknown' }
  | { kind: 'error'; error: WireError };

/** A text as it crosses between the edge and an object: a call carries 32 MB, and two bytes a character at the worst. */
export type CrossingText = string | ReadableStream<Uint8Array>;

/** The answer to what changes or reads a conversation: JSON text, or why not. */
export type Result<T> = { ok: true; value: T } | { ok: false; error: WireError };

/** The turn's summary for the edge's log line and headers; it follows the end of a stream. */
export interface TurnSummary {
  outcome: RequestOutcome;
  nanodollars: Nanodollars;
}
