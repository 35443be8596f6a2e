import type { Identity, RestrictedCaller } from '../../auth/identity/caller.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { MessageDefaults } from '../../config/message-defaults.ts';
import type { RequestedAgentOwner } from '../history/guard.ts';
import type { ParentCall } from '../history/storage/rows.ts';
import type { SerializedApiError } from '../views/turn-answer.ts';
import type { ConversationFields } from './conversations.schema.ts';

/** A decision about a call that waits for approval. */
export interface ApprovalDecisionRequest {
  decision: 'approve' | 'deny';
  /** Why it is denied. */
  reason?: string | undefined;
  /** The input in place of the model's, as JSON text. */
  input?: string | undefined;
  id: string;
  /** The caller that decides, if its token is restricted. */
  by?: RestrictedCaller | undefined;
  isAdmin: boolean;
  requestId: string;
}

/** The response to a decision: the call, or with 202 the turn that continues. */
export interface ApprovalDecisionResult {
  status: 200 | 202;
  turn: string;
  body: string;
}

/** The account and the id of a conversation. */
export interface ConversationKey {
  account: string;
  id: string;
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

/** The prefix or agent with which a new conversation may begin. */
export interface InitialContextOptions extends RequestedAgentOwner {
  prefix?: string | undefined;
  /** Used if neither the request nor its prefix or agent sets them. A new conversation stores them. */
  defaults?: MessageDefaults | undefined;
}

/** The parameters of a request that the edge itself handles, by their names. */
export interface EdgeRequestOptions extends InitialContextOptions {
  /** Whether the turn runs in the background. Then no caller waits for its answer, and its end is sent as an event. */
  background?: boolean | undefined;
  /** Whether a turn in the background is sent again after a crash, even if it may have run. */
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

/** The call of the edge that requests a turn. */
export interface TurnRequestMetadata {
  /** The id of the request. */
  id: string;
  route: string;
  /** The SHA-256 of the body. */
  hash: string;
  /** The header `idempotency-key`. */
  key: string | undefined;
  /** Whether an official client reports that this is a retry. */
  isClientRetry: boolean;
  /** Whether the Worker repeats this call, because the first one was lost. Then it must not begin a second turn. */
  isResent: boolean;
  stream: boolean;
}

/** A turn's request, as the edge sends it to a conversation. */
export interface TurnRequest {
  conversationKey: ConversationKey;
  call: TurnRequestMetadata;
  /** Who sends it, with the hash of the end user. */
  caller: Identity;
  /** The caller's body, a JSON object; as a stream if it is too long for a call. */
  body: RpcText;
  /** The parameters that the edge itself handles, from the body and the headers. */
  edgeOptions: EdgeRequestOptions;
  /** The headers as they are sent, without the deployment's key. */
  headers: PlainHeaders;
  query: string;
  /** The call of a run that it answers; absent in a client's request. */
  parent?: ParentCall | undefined;
}

/** The part of a request that its turn needs after it has begun, even after a crash. */
export type StartedTurnRequest = Omit<TurnRequest, 'body' | 'call'> & {
  call: Omit<TurnRequestMetadata, 'isResent' | 'isClientRetry'>;
};

/** The fields of a new conversation, and its caller. System prompt, tools and messages are sent as separate texts. */
export type NewConversationFields = Omit<ConversationFields, 'system' | 'tools' | 'messages'> &
  InitialContextOptions &
  Partial<Pick<TurnRequest, 'caller'>>;

/** A request for a conversation's next prompt, to count its tokens. */
export type NextPromptRequest = Pick<TurnRequest, 'conversationKey' | 'caller' | 'body'> & {
  edgeOptions: InitialContextOptions;
};

/** A prompt to count, and the betas that its agent needs. */
export type PromptToCount = RpcResult<ReadableStream<Uint8Array>> & { betas?: readonly string[] | undefined };

/** The answer to a client that resumes a turn. */
export type TurnResumeResult =
  | { kind: 'stream'; turn: string; body: ReadableStream<Uint8Array> }
  | { kind: 'none' | 'gone' | 'unknown' }
  | { kind: 'error'; error: SerializedApiError };

/** A text on its way between the edge and an object. A call carries at most 32 MB, with up to two bytes per character. */
export type RpcText = string | ReadableStream<Uint8Array>;

/** The answer to a call that changes or reads a conversation: JSON text, or the error. */
export type RpcResult<T> = { ok: true; value: T } | { ok: false; error: SerializedApiError };
