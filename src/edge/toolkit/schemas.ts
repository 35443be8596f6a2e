/** Exports the zod schemas of requests and answers, and their types. */

import * as z from '../kit/http/zod.ts';
import {
  ledgerRequestSchema as requestOfCore,
  ledgerRowSchema as rowOfCore,
} from '../money/account/usage-answers.schema.ts';
import { OF_CHOICE } from '../plugins/agents/choice/chosen-by.schema.ts';

export const ledgerRowSchema = z.extend(rowOfCore, OF_CHOICE.shown);
export const ledgerRequestSchema = z.extend(requestOfCore, {
  ...OF_CHOICE.shown,
  tries: z.array(ledgerRowSchema),
});

export { callerSchema } from '../auth/identity/caller.ts';
export { type ClassifierFields, putClassifier } from '../classify/classifiers.schema.ts';
export { classifierContent } from '../classify/classifiers-answers.schema.ts';
export { classifyRequest } from '../classify/classify.schema.ts';
export {
  type ClassifyAnswer,
  type ClassifyResult,
  classifyAnswer,
  classifyResult,
} from '../classify/classify-answers.schema.ts';
export { countRequest, messagesRequest } from '../claude/messages.schema.ts';
export {
  type ConversationFields,
  type ConversationPatch,
  conversationRequest,
  createConversation,
  patchConversation,
  rewindRequest,
} from '../conversations/object/conversations.schema.ts';
export {
  type ConversationRow,
  conversationReport,
  conversationRow,
} from '../conversations/object/conversations-answers.schema.ts';
export { countAnswer, type TokenCountResponse } from '../messages/count-tokens-answers.schema.ts';
export {
  type LedgerRequest,
  type LedgerRow,
  type QuotaReport,
  quotaReportSchema,
  type TokenRow,
  tokenRowSchema,
  type UsageReport,
  usageReportSchema,
} from '../money/account/usage-answers.schema.ts';
export { type Limits, limitsSchema } from '../money/budget/limits.schema.ts';
export { mintRequest } from '../money/credentials/tokens.schema.ts';
export { type MintedTokenAnswer, mintedToken } from '../money/credentials/tokens-answers.schema.ts';
export { putAgent } from '../plugins/agents/agents.schema.ts';
export { type AgentContent, agentContent } from '../plugins/agents/agents-answers.schema.ts';
export { forkRequest } from '../plugins/transfer/transfer.schema.ts';
export { putPrefix } from '../registry/prefixes/prefixes.schema.ts';
export {
  type PrefixResponse,
  prefixAnswer,
} from '../registry/prefixes/prefixes-answers.schema.ts';
export {
  type NamedResourceRow,
  nameRow,
  type VersionRow,
  versionRow,
} from '../registry/versions/versions-answers.schema.ts';
