/** The shapes of what goes in and comes out: zod schemas, and their types. */
export { type ClassifierFields, classifierContent, putClassifier } from '../schemas/classifiers.ts';
export {
  type ClassifyAnswer,
  type ClassifyResult,
  classifyAnswer,
  classifyRequest,
  classifyResult,
} from '../schemas/classify.ts';
export {
  type ConversationFields,
  type ConversationPatch,
  type ConversationRow,
  conversationReport,
  conversationRequest,
  conversationRow,
  createConversation,
  forkRequest,
  patchConversation,
  rewindRequest,
} from '../schemas/conversations.ts';
export { type CountAnswer, countAnswer } from '../schemas/counts.ts';
export { callerSchema } from '../schemas/identity.ts';
export { type Limits, limitsSchema } from '../schemas/limits.ts';
export { countRequest, messagesRequest } from '../schemas/messages.ts';
export { type PrefixAnswer, type PrefixStats, prefixAnswer, prefixStats, putPrefix } from '../schemas/prefixes.ts';
export { type MintedTokenAnswer, mintedToken, mintRequest } from '../schemas/tokens.ts';
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
} from '../schemas/usage.ts';
export { type NamedRow, nameRow, type VersionRow, versionRow } from '../schemas/versions.ts';
