import type { JsonObject } from '../../api-rules/json.ts';
import { signSummary } from '../random/signatures.ts';
import { stringifyWithSortedKeys } from '../request/compaction-blocks.ts';
import type { CompactionRequest, MessageRequest } from '../request/message-request.ts';
import { estimateTokenCount } from '../text/tokens.ts';
import {
  type AnswerGenerationOptions,
  type ComposedAnswer,
  containsTriggerText,
  REFUSAL_DETAILS,
  REFUSAL_TRIGGER,
  type StopReason,
} from './answer.ts';
import type { AnswerBlock } from './answer-blocks.ts';
import { extractPromptContents } from './prompt-contents.ts';
import { composeSummary } from './summary-text.ts';
import { decideThinkingTokens } from './thinking-amount.ts';

/**
 * The prompt that `instructions` replace. The simulator follows this prompt in any case; `instructions` only count as input.
 */
const SUMMARIZATION_PROMPT =
  'Summarize the conversation, so that it can go on from the summary alone. Keep what shall be remembered, what is important, and what always or never holds. Do not call tools.';
const TOKENS_AROUND_PROMPT = 4;

/** Counts the tokens of the prompt that the API puts behind a conversation that it summarizes. */
export function countSummarizationPromptTokens({ instructions = SUMMARIZATION_PROMPT }: CompactionRequest): number {
  return estimateTokenCount(instructions) + TOKENS_AROUND_PROMPT;
}

/**
 * Writes the answer to a request that asks for a summary: one signed block, or nothing where the summary could not be written.
 * The summary is that of `composeSummary`. The same conversation always gets the same summary.
 */
export function composeCompactionAnswer(
  request: MessageRequest,
  compaction: CompactionRequest,
  conditions: AnswerGenerationOptions,
): ComposedAnswer {
  const { remainingWindow: windowLeft, text, stopReason, compaction: form } = conditions;
  // The model's thinking before the summary is billed but not returned, so it only adds to the output tokens.
  const thinkingTokens = conditions.thinking ?? decideThinkingTokens(request, extractPromptContents(request).text);
  const limit = Math.min(request.maxTokens, windowLeft);
  const createCompactionAnswer = (
    reason: StopReason,
    outputTokens: number,
    blocks: AnswerBlock[] = [],
  ): ComposedAnswer => ({
    blocks,
    stopReason: reason,
    stopSequence: null,
    stopDetails: reason === 'refusal' ? REFUSAL_DETAILS : null,
    outputTokens,
    thinkingTokens: 0,
    webSearches: 0,
  });
  if (windowLeft <= 0) return createCompactionAnswer('model_context_window_exceeded', 0);
  if (containsTriggerText(request, REFUSAL_TRIGGER)) return createCompactionAnswer('refusal', 0);
  const content = text ?? composeSummary(request.messages, limit - thinkingTokens);
  const tokens = thinkingTokens + estimateTokenCount(content);
  if (tokens > limit) {
    return createCompactionAnswer(
      windowLeft < request.maxTokens ? 'model_context_window_exceeded' : 'max_tokens',
      Math.max(0, limit),
    );
  }
  // A forced stop reason ends the answer within the summary, so bill half of its tokens and return no block.
  if (stopReason !== undefined) return createCompactionAnswer(stopReason, Math.ceil(tokens / 2));
  if (content === '') return createCompactionAnswer('end_turn', tokens);
  const block =
    form === 'null' ? { ...EMPTY_COMPACTION_BLOCK } : createSignedSummaryBlock(content, compaction, conditions);
  return createCompactionAnswer('compaction', tokens, [createSummaryAnswerBlock(block, tokens, form === 'delta')]);
}

const EMPTY_COMPACTION_BLOCK = { type: 'compaction', content: null, encrypted_content: null };

function createSignedSummaryBlock(
  content: string,
  { prefixes, toolChanges }: CompactionRequest,
  { seed }: AnswerGenerationOptions,
): JsonObject {
  const signature = signSummary({ content, changes: stringifyWithSortedKeys(toolChanges) }, prefixes, seed);
  return { ...EMPTY_COMPACTION_BLOCK, content, signature, tool_changes: toolChanges };
}

/**
 * @param isDelta whether the text comes in a delta, as it does where the API summarizes by itself. A delta has no place for the
 *   signature, so that is in the block's start
 */
function createSummaryAnswerBlock(block: JsonObject, tokens: number, isDelta: boolean): AnswerBlock {
  if (!isDelta) return { start: block, startTokens: tokens, deltas: [], final: block };
  const { content = null, encrypted_content = null } = block;
  const delta = { type: 'compaction_delta', content, encrypted_content };
  return { start: { ...block, content: null }, deltas: [{ delta, tokens }], final: block };
}
