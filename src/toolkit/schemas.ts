/** Exports the zod schemas of requests and answers, and their types. */

export { mintRequest } from '../accounts/tokens/tokens.schema.ts';
export { type MintedTokenAnswer, mintedToken } from '../accounts/tokens/tokens-answers.schema.ts';
export {
  type LedgerRequest,
  type LedgerRow,
  ledgerRequestSchema,
  ledgerRowSchema,
  type QuotaReport,
  quotaReportSchema,
  type TokenRow,
  tokenRowSchema,
  type UsageReport,
  usageReportSchema,
} from '../accounts/usage-answers.schema.ts';
export { putAgent } from '../agents/agents.schema.ts';
export { type AgentContent, agentContent } from '../agents/agents-answers.schema.ts';
export { type ClassifierFields, putClassifier } from '../classification/classifiers.schema.ts';
export { classifierContent } from '../classification/classifiers-answers.schema.ts';
export { classifyRequest } from '../classification/classify.schema.ts';
export {
  type ClassifyAnswer,
  type ClassifyResult,
  classifyAnswer,
  classifyResult,
} from '../classification/classify-answers.schema.ts';
export {
  type ConversationFields,
  type ConversationPatch,
  conversationRequest,
  createConversation,
  forkRequest,
  patchConversation,
  rewindRequest,
} from '../conversations/conversations.schema.ts';
export {
  type ConversationRow,
  conversationReport,
  conversationRow,
} from '../conversations/conversations-answers.schema.ts';
export { callerSchema } from '../identity/caller.ts';
export { type CountAnswer, countAnswer } from '../messages/count-tokens-answers.schema.ts';
export { putPrefix } from '../prefixes/prefixes.schema.ts';
export { type PrefixAnswer, type PrefixStats, prefixAnswer, prefixStats } from '../prefixes/prefixes-answers.schema.ts';
export { type Limits, limitsSchema } from '../settings/limits.schema.ts';
export { countRequest, messagesRequest } from '../upstream/messages.schema.ts';
export { type NamedRow, nameRow, type VersionRow, versionRow } from '../versions/versions-answers.schema.ts';
