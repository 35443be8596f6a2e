import type { PlainHeaders } from '../../claude/headers.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { Identity } from '../../gate/identity/caller.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { BudgetLeft } from '../../money/admission/budget-left.ts';
import type { ListedParent } from '../../money/contracts/settlement.ts';
import type {
  ConversationFields,
  ConversationPatch,
  HistoryQuery,
  StopQuery,
  View,
} from '../conversations/conversations.schema.ts';

declare module '../../kit/rooms/bindings.ts' {
  interface Bindings {
    CONVERSATION: DurableObjectNamespace<ConversationObject>;
  }
}

/** A caller whose token is bound, for calls that must see what it may ask. */
export type BoundCaller = Pick<Identity, 'account' | 'only'>;

/** The methods of a conversation's object. The object says what each one does. */
export interface ConversationObject extends Rpc.DurableObjectBranded {
  turn(call: string, sent: TurnRequest['body']): Promise<PackedAnswer>;
  prompt(request: PromptRequest): Promise<CountedPrompt | undefined>;
  wake(): void;
  checkCredential(): Promise<void>;
  resume(after: string | undefined, by?: BoundCaller, show?: string): Resumed;
  stop(only?: StopQuery, by?: BoundCaller): Promise<Result<CrossingText>>;
  read(): Result<CrossingText>;
  turnReport(id: string): Result<CrossingText>;
  turnOutcome(key: string, isAwaited: boolean): Promise<TurnOutcome | undefined>;
  cancel(turn: string): Promise<Result<CrossingText>>;
  part<T>(room: string, method: string, ...args: readonly unknown[]): Promise<Result<T>>;
  messages(page: HistoryQuery, by?: BoundCaller): Result<ReadableStream<Uint8Array>>;
  export(view?: View): Promise<Result<ReadableStream<Uint8Array>>>;
  create(
    place: ConversationPlace,
    fields: CreatedFields,
    texts: { system?: CrossingText; tools?: CrossingText; messages?: CrossingText },
  ): Promise<Result<CrossingText>>;
  patch(patch: ConversationPatch): Result<CrossingText>;
  rewind(before: string): Result<CrossingText>;
  fork(to: string, at: string | undefined, by?: BoundCaller): Promise<Result<CrossingText>>;
  backup(): Promise<Result<ReadableStream<Uint8Array>>>;
  adopt(place: ConversationPlace, lines: ReadableStream<Uint8Array>): Promise<Result<CrossingText>>;
  erase(place?: ConversationPlace, ends?: boolean): Promise<boolean>;
}

/** A decision about a call that waits for approval. */
export interface CalledDecision {
  decision: 'approve' | 'deny';
  /** Why it is denied. */
  reason?: string | undefined;
  /** The input in place of the model's, as JSON text. */
  input?: string | undefined;
  id: string;
  /** Who decides, if the token is bound. */
  by?: BoundCaller | undefined;
  isAdmin: boolean;
  requestId: string;
}

/** The answer to a decision: the call, or with 202 the turn that goes on. */
export interface DecisionAnswer {
  status: 200 | 202;
  turn: string;
  body: string;
}

/** The account and the id of a conversation. */
export interface ConversationPlace {
  account: string;
  id: string;
}

/** The call that a subagent's conversation answers. */
export interface ParentCall extends ListedParent {
  /** How deep it is. A run that a client has begun is at 1, its subagents are at 2. */
  depth: number;
  /**
   * Seconds for which the calling conversation is kept. Its subagents are not kept longer. Null: the deployment's retention.
   */
  retentionSeconds: number | null;
}

/** The outcome of a turn, for code that has begun it (and is not a client). */
export interface TurnOutcome {
  turn: string;
  status: 'complete' | 'stopped' | 'interrupted' | 'refused' | 'running' | 'failed';
  /** Why its run has paused. */
  paused: string | null;
  stop_reason: string | null;
  /** The text of the last answer. */
  text: string;
  error: { type: string; message: string } | null;
  cost_usd: number;
}

/** The agent that a request names, and whose it may be. */
export interface AskedAgent {
  agent?: string | undefined;
  /**
   * The account that stored the tool for this agent. The agent then belongs to it or to the deployment. Absent: the caller's
   * own.
   */
  agent_owner?: string | undefined;
  /** The versions of the agent that the caller's token lists. Absent: none. */
  agent_listed?: readonly string[] | undefined;
}

/** What a new conversation may begin with. */
export interface AskedBeginning extends AskedAgent {
  prefix?: string | undefined;
}

/** What a request asks of the edge, by the names of its members. */
export interface AskedMembers extends AskedBeginning {
  /** Whether the turn is in the background. Then nobody waits for its answer, and its end is sent as an event. */
  background?: boolean | undefined;
  /** Whether a turn in the background goes up again after a crash, even if it may have run. */
  retry?: boolean | undefined;
  /** The address for this event, and for approvals that wait; absent for that of the setting TURN_DELIVER_URL. */
  deliver_url?: string | undefined;
  /** How much of its answer is shown. */
  show?: string | undefined;
  /** The model that the request names by a header, for an agent that allows it. */
  model?: string | undefined;
  /** The models that may step in, according to the request. */
  fallback_models?: readonly string[] | undefined;
}

/** A turn's request, as the edge sends it to a conversation. */
export interface TurnRequest {
  place: ConversationPlace;
  requestId: string;
  route: string;
  identity: Identity;
  /** The caller's body, a JSON object; as a stream if it is too long for a call. */
  body: CrossingText;
  /** The SHA-256 of the body. */
  hash: string;
  /** The header `idempotency-key`. */
  key: string | undefined;
  /** Whether an official client says that this is a retry. */
  retried: boolean;
  /** Whether the same call was lost before. Then it must not begin a second turn. */
  again: boolean;
  stream: boolean;
  asked: AskedMembers;
  /** The headers as they go up, without the deployment's key. */
  headers: PlainHeaders;
  query: string;
  /** The call of a run that it answers; absent in a client's request. */
  parent?: ParentCall | undefined;
}

/** What a turn that has begun needs of its request, even after a crash. */
export type BegunRequest = Omit<TurnRequest, 'body' | 'again' | 'retried'>;

/** What a conversation is created with, and by whom. Its texts cross by themselves. */
export type CreatedFields = Omit<ConversationFields, 'system' | 'tools' | 'messages'> &
  AskedBeginning &
  Partial<Pick<TurnRequest, 'identity'>>;

/** A request for a conversation's next prompt, to count its tokens. */
export type PromptRequest = Pick<TurnRequest, 'place' | 'identity' | 'body'> & { asked: AskedBeginning };

/** A prompt to count, and the betas that its agent needs. */
export type CountedPrompt = Result<ReadableStream<Uint8Array>> & { betas?: readonly string[] | undefined };

/** An error as it crosses from the object to the edge. */
export interface WireError {
  type: ApiError['type'];
  message: string;
  status: number;
  headers: Record<string, string>;
  logged: string;
  upstreamSaid?: string | undefined;
}

export type TurnAnswer =
  /** `first` are the events that have been shown already. They come with the answer, and the stream has the rest. */
  | { kind: 'stream'; turn: string; headers: Record<string, string>; first?: string; body: ReadableStream<Uint8Array> }
  | { kind: 'ended'; turn: string; headers: Record<string, string>; events: string; trailer: TurnSummary }
  | {
      kind: 'whole';
      turn: string;
      status: number;
      headers: Record<string, string>;
      body: string;
      trailer?: TurnSummary | undefined;
    }
  /** `isEnd` where the answer had begun: then the error may be in the upstream's words. */
  | { kind: 'error'; error: WireError; isEnd?: boolean };

/** A turn's answer on its way to the edge. A complete one is packed into a text, which costs less to pass. */
export type PackedAnswer = Exclude<TurnAnswer, { kind: 'ended' }> | string;

/** The answer to a client that resumes a turn. */
export type Resumed =
  | { kind: 'stream'; turn: string; body: ReadableStream<Uint8Array> }
  | { kind: 'none' | 'gone' | 'unknown' }
  | { kind: 'error'; error: WireError };

/** A text on its way between the edge and an object. A call carries at most 32 MB, with up to two bytes per character. */
export type CrossingText = string | ReadableStream<Uint8Array>;

/** The answer to a call that changes or reads a conversation: JSON text, or the error. */
export type Result<T> = { ok: true; value: T } | { ok: false; error: WireError };

/** The turn's summary, for the edge's log line and headers. It follows the end of a stream. */
export interface TurnSummary {
  outcome: RequestOutcome;
  nanodollars: Nanodollars;
  /** What it leaves of the caller's own budget; absent if nothing limits that, and once the turn has ended. */
  budget?: BudgetLeft;
}
