/** The types of requests and answers, taken from the server's schemas and the API's types. */

import type {
  ContentBlockParam,
  MessageCountTokensParams,
  MessageCreateParamsBase,
  MessageParam,
  Tool,
  ToolUnion,
} from '@anthropic-ai/sdk/resources/messages';
import type { MessageBatchIndividualResponse } from '@anthropic-ai/sdk/resources/messages/batches';
import type {
  AgentContent,
  agentRunSchema,
  approvalRow,
  batchEstimate,
  ClassifyAnswer,
  ConversationPatch,
  ConversationRow,
  classifierContent,
  classifyRequest,
  classifyResults,
  conversationReport,
  createConversation,
  createListResponse,
  decisionRequest,
  deletedBatch,
  evaluateRequest,
  evaluationReport,
  forkRequest,
  LedgerRow,
  ListedRequest,
  MessageBatch,
  messageRow,
  NamedResourceRow,
  PluginRowFields,
  PrefixResponse,
  putAgent,
  putClassifier,
  putPrefix,
  runLimits,
  runSchema,
  TokenCountResponse,
  turnReport,
  UsageReport,
  UsageReportGrouping,
  VersionRow,
  workerRunSchema,
  z,
} from '../edge/answers.ts';

export type {
  ClassifyAnswer,
  ConversationPatch,
  ConversationRow,
  LedgerRow,
  ListedRequest,
  NamedResourceRow,
  PrefixResponse,
  TokenCountResponse,
  UsageReport,
  VersionRow,
};

/** The fields with which Sluice extends the Messages API. */
interface SluiceRequestFields {
  /** The conversation that keeps the history, so that only new messages are sent. It begins with its first turn. */
  conversation?: string;
  /** `name` or `name@version`: the stored beginning of the prompt. */
  prefix?: string;
  /** `name` or `name@version`: the stored agent that answers. A conversation keeps it. */
  agent?: string;
  /** Of the agent’s tools only these are offered; with `approval` each call of one waits for an approval. */
  agent_tools?: (string | { name: string; approval?: 'always' })[];
  /**
   * In a conversation: `cancel` answers calls that have no result with an error, so that the conversation continues with a
   * plain message.
   */
  on_pending_tools?: 'refuse' | 'cancel';
  /** In a conversation: `text` omits the tool calls of the edge and the API from the answer. */
  show?: 'all' | 'text';
}

type EdgeToolRunner = 'worker' | z.input<typeof workerRunSchema | typeof runSchema | typeof agentRunSchema>;

/**
 * A tool that the edge calls itself: at a URL, by its name in the edge's own code, or as the task of an agent. The last two bring
 * what is left out.
 */
export type EdgeTool =
  | (Tool & { run: EdgeToolRunner })
  | (Partial<Tool> &
      Pick<Tool, 'name'> & { run: Extract<EdgeToolRunner, string | { worker: true } | { agent: string }> });

/** A tool that these types do not know, as of a beta. */
export interface UnknownTool {
  type: string;
  run?: never;
  [member: string]: unknown;
}

/** A message, also with blocks that these types do not know. */
export interface RequestMessage extends Pick<MessageParam, 'role'> {
  content: string | (ContentBlockParam | { type: string; [member: string]: unknown })[];
}

/** Unknown fields are sent unchanged. */
interface UntypedRequestFields {
  [member: string]: unknown;
}

/** The limits of a run: of an answer whose tools the edge calls. */
export type RunLimits = z.input<typeof runLimits>;

/** The members of a request that are known. */
export interface TypedRequestFields
  extends Omit<MessageCreateParamsBase, 'model' | 'max_tokens' | 'stream' | 'tools' | 'messages'>,
    Partial<Pick<MessageCreateParamsBase, 'model' | 'max_tokens'>>,
    RunLimits,
    SluiceRequestFields {
  messages: RequestMessage[];
  tools?: (ToolUnion | EdgeTool | UnknownTool)[];
}

/** A request to the Messages API; a conversation, a prefix or an agent may give the model and `max_tokens`. */
export type MessageRequest = TypedRequestFields & UntypedRequestFields;

/** A request for a turn in the background. */
export interface BackgroundRequest extends TypedRequestFields, UntypedRequestFields {
  conversation: string;
  /** Whether it is sent again after a crash of the edge, though it may have run: then each attempt is paid. */
  retry?: boolean;
  /** The URL to which the end of the turn is reported, signed. The deployment must allow its host. */
  deliver_url?: string;
}

export interface CountRequest
  extends Omit<MessageCountTokensParams, 'model' | 'tools' | 'messages'>,
    Partial<Pick<MessageCountTokensParams, 'model'>>,
    Pick<SluiceRequestFields, 'conversation' | 'prefix' | 'agent'>,
    Pick<TypedRequestFields, 'messages' | 'tools'>,
    UntypedRequestFields {}

/** A call of the edge, as an answer shows it. */
export interface EdgeCall {
  type: 'mcp_tool_use';
  id: string;
  name: string;
  input: unknown;
  server_name: 'edge';
}

/** The result of a call of the edge: a list of texts. An image is shown as its kind and size. */
export interface EdgeToolResultBlock {
  type: 'mcp_tool_result';
  tool_use_id: string;
  is_error: boolean;
  content: { type: 'text'; text: string }[];
}

/** One request of a batch. */
export interface BatchItem {
  /** 1 to 64 letters, digits, `_` and `-`, once in a batch: its result has the same. */
  custom_id: string;
  params: Omit<TypedRequestFields, 'conversation'> & UntypedRequestFields;
}

export interface BatchRequest {
  /** 1 to 100,000. */
  requests: BatchItem[];
  /** The address to which its end is delivered, signed. */
  deliver_url?: string;
}

export interface Batch extends MessageBatch {
  /** The cost of all items; null until the batch has ended. */
  cost_usd: number | null;
  /** What to do, while it is unknown whether the upstream has created the batch. */
  unknown?: string;
}
export type BatchResult = MessageBatchIndividualResponse;
export type BatchDeletion = z.output<typeof deletedBatch>;
/** The maximum cost of a batch, and whether the budget covers it. */
export type BatchEstimate = z.output<typeof batchEstimate>;

/** The page of a list. `after_id` and `before_id` are ids of rows of another page. */
export interface PageRequest {
  /** 1 to 1,000 (20). */
  limit?: number;
  after_id?: string;
  before_id?: string;
}

export interface ListConversationsOptions extends PageRequest {
  /** The subagents that runs of this conversation have called; without it all conversations that are no subagent's. */
  parent?: string;
}

export interface ListMessagesOptions extends PageRequest {
  /** Whether to add the question of the running turn, as rows with the status `running`. */
  pending?: boolean;
  /** `empty`: a conversation that does not exist yet has no messages, and is no error. */
  if_absent?: 'empty';
  /** `shown`: the steps of a run as the one message that it was. */
  view?: 'stored' | 'shown';
}

export type Page<T> = ReturnType<typeof createListResponse<T>>;

export type ConversationCreation = z.input<typeof createConversation>;
export type ConversationFork = z.input<typeof forkRequest>;
export type Conversation = z.output<typeof conversationReport>;
/** A summary that is sent, or has been sent, in the place of a conversation's oldest messages. */
export type ConversationSummary = NonNullable<Conversation['summaries']>[number];
export type ConversationMessage = z.output<typeof messageRow> & Pick<PluginRowFields, keyof PluginRowFields>;
/** The report of a turn: its requests to the model, and the tool calls that the edge ran. */
export type ConversationTurn = z.output<typeof turnReport>;
/** A call that waits for approval, or has waited. */
export type Approval = z.output<typeof approvalRow>;
export type ApprovalDecision = z.input<typeof decisionRequest>;
/** The lines of an export, without the last one, which marks it as complete. */
export type ConversationLine = Conversation | ConversationMessage;

export type AgentPut = z.input<(typeof putAgent)['fields']> | z.input<(typeof putAgent)['pointer']>;
/** A version as it is stored: of tools with `run` only those of its owner with the scope `tools`, and admins, see where they are. */
export type StoredAgent = AgentContent;
export type PrefixPut = z.input<(typeof putPrefix)['fields']> | z.input<(typeof putPrefix)['pointer']>;
export type StoredPrefix = Pick<PrefixResponse, 'type' | 'name' | 'version'> &
  Pick<NamedResourceRow, 'owner'> &
  z.output<(typeof putPrefix)['fields']>;

export type ClassifyRequest = Omit<z.input<typeof classifyRequest>, 'stream' | 'batch' | 'deliver_url'>;
/** The answer to a request: one for `input`, a list of results for `inputs`. */
export type ClassifyResponse<R extends ClassifyRequest> = R extends { inputs: object }
  ? z.output<typeof classifyResults>
  : ClassifyAnswer;
export type ClassifierPut = z.input<(typeof putClassifier)['fields']> | z.input<(typeof putClassifier)['pointer']>;
export type StoredClassifier = z.output<typeof classifierContent>;
export type EvaluateRequest = Omit<z.input<typeof evaluateRequest>, 'stream'>;
export type Evaluation = z.output<typeof evaluationReport>;

/** Days are `YYYY-MM-DD`, in UTC, or times in ISO 8601; `to` is exclusive. */
export interface UsageRequest {
  from?: string;
  to?: string;
  group_by?: UsageReportGrouping;
  /** Only this value of the grouping. */
  key?: string;
  /** How many are listed at most. The total is that of all. */
  limit?: number;
  /** Another account; an admin may ask. */
  account?: string;
  /** `empty`: an unknown account counts as one that was never used, instead of as an error. */
  if_absent?: 'empty';
}

/** Which rows of the ledger are listed: all, those that failed, or in place of them what a limit has rejected, with its reasons. */
export interface ListRequestsOptions extends Pick<UsageRequest, 'from' | 'to' | 'account' | 'if_absent'> {
  /** An admin who names no account gets those of all. */
  outcome?: 'refused' | 'failed';
  /** Only those with the credential of this jti. */
  token?: string;
}
