/** The types of requests and answers that clients and the page need. They import nothing else of the edge. */

export type { runLimits } from './registry/tools/run-limits.schema.ts';

// Extends the types of rows and messages by how an agent's model was chosen.
import type {} from './plugins/agents/choice/chosen-by.schema.ts';

export type { Scope } from './auth/identity/identity.ts';
export type { putClassifier } from './classify/classifiers.schema.ts';
export type { classifierContent } from './classify/classifiers-answers.schema.ts';
export type { classifyRequest } from './classify/classify.schema.ts';
export type { ClassifyAnswer, classifyResults } from './classify/classify-answers.schema.ts';
export type { ConversationPatch, createConversation } from './conversations/object/conversations.schema.ts';
export type {
  approvalRow,
  ConversationRow,
  conversationReport,
  messageRow,
  turnReport,
} from './conversations/object/conversations-answers.schema.ts';
export type { HealthAnswer } from './health/health-answers.schema.ts';
export type { OverviewResponse } from './health/overview-answers.schema.ts';
export type { ErrorBody, ErrorType } from './kit/http/errors.ts';
export type { createListResponse } from './kit/http/page.ts';
export type * as z from './kit/http/zod.ts';
export type { TokenCountResponse } from './messages/count-tokens-answers.schema.ts';
export type { modelAnswer } from './messages/models-answers.schema.ts';
export type { UsageReportGrouping } from './money/account/usage.schema.ts';
export type {
  accountAnswer,
  CreditRow,
  LedgerRequest,
  LedgerRow,
  ListedRequest,
  SpendLimitUsage,
  TokenRow,
  UsageReport,
} from './money/account/usage-answers.schema.ts';
export type { AlertList, AlertRow } from './money/alerts/alerts-answers.schema.ts';
export type { Limits } from './money/budget/limits.schema.ts';
export type { ChangeRow } from './money/changes/changes-answers.schema.ts';
export type { PluginRowFields } from './money/contracts/dimensions.ts';
export type { MintedTokenAnswer } from './money/credentials/tokens-answers.schema.ts';
export type { MessageBatch } from './money/lists/batches-answers.schema.ts';
export type { EscapedPathSegment, PathRemainderBelow, ServedRoutePath } from './paths.ts';
export type { putAgent } from './plugins/agents/agents.schema.ts';
export type { AgentContent } from './plugins/agents/agents-answers.schema.ts';
export type { batchEstimate, deletedBatch } from './plugins/batches/batches-answers.schema.ts';
export type { evaluateRequest } from './plugins/evaluation/evaluation.schema.ts';
export type { evaluationReport } from './plugins/evaluation/evaluation-answers.schema.ts';
export type {
  AccountSpendRow,
  DeploymentReport,
  GroupReport,
} from './plugins/pools/pools-answers.schema.ts';
export type { decisionRequest } from './plugins/runs/approvals/approvals.schema.ts';
export type { runSchema, workerRunSchema } from './plugins/runs/runs.schema.ts';
export type { agentRunSchema } from './plugins/runs/subagents/subagents.schema.ts';
export type { forkRequest } from './plugins/transfer/transfer.schema.ts';
export type {
  EventReplayReport,
  EventReport,
  EventRow,
  WebhookSourceRow,
} from './plugins/webhooks/webhooks-answers.schema.ts';
export type { putPrefix } from './registry/prefixes/prefixes.schema.ts';
export type { PrefixResponse } from './registry/prefixes/prefixes-answers.schema.ts';
export type { NamedResourceRow, VersionRow } from './registry/versions/versions-answers.schema.ts';
