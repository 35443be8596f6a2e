/** The shapes of what goes in and comes out: zod schemas, and their types. */
export { classifierContent } from '../schemas/answers/classifiers.ts';
export {
  type ClassifyAnswer,
  type ClassifyResult,
  classifyAnswer,
  classifyResult,
} from '../schemas/answers/classify.ts';
export { type ConversationRow, conversationReport, conversationRow } from '../schemas/answers/conversations.ts';
export { type CountAnswer, countAnswer } from '../schemas/answers/counts.ts';
export { type PrefixAnswer, type PrefixStats, prefixAnswer, prefixStats } from '../schemas/answers/prefixes.ts';
export { type MintedTokenAnswer, mintedToken } from '../schemas/answers/tokens.ts';
export {
  type LedgerRequest,
  type LedgerRow,
  ledgerRequestSchema,
  ledgerRowSchema,
  type StandingReport,
  standingSchema,
  type TokenRow,
  tokenRowSchema,
  type UsageReport,
  usageReportSchema,
} from '../schemas/answers/usage.ts';
export { type NamedRow, nameRow, type VersionRow, versionRow } from '../schemas/answers/versions.ts';
export { type ClassifierFields, putClassifier } from '../schemas/classifiers.ts';
export { classifyRequest } from '../schemas/classify.ts';
export {
  type ConversationFields,
  type ConversationPatch,
  conversationRequest,
  createConversation,
  forkRequest,
  patchConversation,
  rewindRequest,
} from '../schemas/conversations.ts';
export { callerSchema } from '../schemas/identity.ts';
export { type Limits, limitsSchema } from '../schemas/limits.ts';
export { countRequest, messagesRequest } from '../schemas/messages.ts';
export { putPrefix } from '../schemas/prefixes.ts';
export { mintRequest } from '../schemas/tokens.ts';
