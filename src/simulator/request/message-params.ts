import { isBetaRequested } from '../../api-rules/betas.ts';
import { type JsonObject, jsonToText, readOwnMember } from '../../api-rules/json.ts';
import { findMaxTokensFault } from '../../api-rules/max-tokens.ts';
import { findLeadingSummary } from './compaction-blocks.ts';
import { parseCompactionRequest, rejectSummaryConflicts, requireSummarizable } from './compaction-params.ts';
import { parseCacheControlLifetime, readContentBlocks } from './content-blocks.ts';
import { findLastTurnStart, isThinkingBlock, validateConversation } from './conversation-rules.ts';
import { ApiError, createInvalidRequestError } from './errors.ts';
import {
  readOptionalBoolean,
  readOptionalChoice,
  readOptionalNumber,
  readOptionalString,
  readRequiredInteger,
  readRequiredList,
  readRequiredObject,
  readRequiredString,
  readRequiredType,
  rejectUnknownKeys,
} from './fields.ts';
import type {
  MessageRequest,
  RequestMessage,
  RequestProtocol,
  RequestValidationContext,
  ThinkingConfig,
  ThinkingTransformation,
  ValidatedPrompt,
} from './message-request.ts';
import {
  parseFallbackModels,
  rejectAnswerOptionsForZeroTokens,
  rejectsFeature,
  requireSupportedEffort,
  requireSupportedSampling,
  requireSupportedSpeed,
  requireSupportedThinkingType,
  validatePromptForModel,
} from './model-rules.ts';
import { requireServingModel, type SimulatedModel } from './models.ts';
import { validateFields } from './request-fields.ts';
import { parseSafeguardTypes } from './safeguards.ts';
import { computeNetToolChanges } from './tool-changes.ts';
import { parseToolChoice, parseToolDefinitions } from './tool-definitions.ts';

function parseMessages(body: JsonObject, protocol: RequestProtocol): RequestMessage[] {
  const list = readRequiredList(body.messages, 'messages');
  if (list.length === 0) throw createInvalidRequestError('messages: at least one message is required');
  if (list.length > 100_000) {
    throw createInvalidRequestError(
      `messages: List should have at most 100000 items after validation, not ${list.length}`,
    );
  }
  return list.map((entry, index) => {
    const path = `messages.${index}`;
    const message = readRequiredObject(entry, path);
    const roleValue = message.role;
    if (roleValue === undefined) throw createInvalidRequestError(`${path}.role: Field required`);
    const role = readOptionalChoice(roleValue, ['user', 'assistant', 'system'], `${path}.role`);
    if (role === undefined)
      throw createInvalidRequestError(`${path}.role: Input should be 'user', 'assistant' or 'system'`);
    const effort = role === 'system' ? parseEffort(message, `${path}.output_config`) : undefined;
    const content = effort === undefined ? message.content : (message.content ?? []);
    return { role, blocks: readContentBlocks(content, `${path}.content`, protocol), effort };
  });
}

function parseSystem(body: JsonObject): JsonObject[] {
  const system = body.system;
  if (system === undefined || system === null || system === '') return [];
  if (typeof system === 'string') return [{ type: 'text', text: system }];
  if (!Array.isArray(system)) throw createInvalidRequestError('system: Input should be a valid list');
  return system.map((entry, index) => {
    const path = `system.${index}`;
    const block = readRequiredObject(entry, path);
    if (block.type !== 'text') throw createInvalidRequestError(`${path}.type: Input should be 'text'`);
    if (readRequiredString(block.text, `${path}.text`) === '') {
      throw createInvalidRequestError('system: text content blocks must be non-empty');
    }
    parseCacheControlLifetime(block.cache_control, `${path}.cache_control`);
    return block;
  });
}

function parseThinking(body: JsonObject, protocol: RequestProtocol, model: SimulatedModel): ThinkingConfig {
  const value = body.thinking;
  const byDefault = model.omits_thinking ? 'omitted' : 'summarized';
  if (value === undefined || value === null) {
    if ((model.thinking?.default ?? 'off') === 'off') return { type: 'disabled' };
    return { type: 'adaptive', display: byDefault, onMismatch: undefined };
  }
  const thinking = readRequiredObject(value, 'thinking');
  const type = readRequiredType(thinking, ['adaptive', 'between_tools', 'disabled', 'enabled'], 'thinking');
  requireSupportedThinkingType(type, parseEffort(body, 'output_config'), model);
  if (type === 'disabled' || type === 'between_tools') {
    rejectUnknownKeys(thinking, new Set(['type']), `thinking.${type}`);
    return type === 'disabled' ? { type } : { type: 'disabled', between_tools: true };
  }
  const shown = thinking.display;
  const updates = isBetaRequested(protocol, 'thinking-display-updates-2026-08-18') ? (['updates'] as const) : [];
  const display =
    readOptionalChoice(shown, ['summarized', 'omitted', ...updates], `thinking.${type}.display`) ?? byDefault;
  const { prefix_mismatch_behavior } = readRequiredObject(
    thinking.block_binding ?? {},
    `thinking.${type}.block_binding`,
  );
  const path = `thinking.${type}.block_binding.prefix_mismatch_behavior`;
  const active = { display, onMismatch: readOptionalChoice(prefix_mismatch_behavior, ['error', 'drop_block'], path) };
  if (type === 'adaptive') return { type, ...active };
  const budgetTokens = readRequiredInteger(thinking.budget_tokens, 'thinking.enabled.budget_tokens', 1024);
  return { type, budgetTokens, ...active };
}

function parseEffort({ output_config }: JsonObject, path: string): string | undefined {
  const { effort } = readRequiredObject(output_config ?? {}, path);
  return readOptionalChoice(effort, ['low', 'medium', 'high', 'xhigh', 'max'], `${path}.effort`);
}

function parseOutputConfig(body: JsonObject): { effort: string | undefined; outputSchema: JsonObject | undefined } {
  const config = readRequiredObject(body.output_config ?? {}, 'output_config');
  const effort = parseEffort(body, 'output_config');
  const inConfig = config.format ?? null;
  // Accept `output_format`, too, which was the name of `output_config.format` during its beta.
  const format = inConfig ?? body.output_format ?? null;
  const path = inConfig === null ? 'output_format' : 'output_config.format';
  if (format === null) return { effort, outputSchema: undefined };
  const object = readRequiredObject(format, path);
  readRequiredType(object, ['json_schema'], path);
  return { effort, outputSchema: readRequiredObject(object.schema, `${path}.json_schema.schema`) };
}

function parseStopSequences(body: JsonObject): string[] {
  const value = body.stop_sequences;
  if (value === undefined || value === null) return [];
  return readRequiredList(value, 'stop_sequences').map((entry, index) => {
    const sequence = readRequiredString(entry, `stop_sequences.${index}`);
    if (sequence.trim() === '')
      throw createInvalidRequestError('stop_sequences: each stop sequence must contain non-whitespace');
    return sequence;
  });
}

function validateSamplingParams(
  body: JsonObject,
  thinking: ThinkingConfig,
  protocol: RequestProtocol,
  model: SimulatedModel,
): void {
  if (protocol.version === '2026-10-21') {
    const sampling = ['temperature', 'top_p', 'top_k'].find((key) => readOwnMember(body, key) !== undefined);
    if (sampling !== undefined) throw createInvalidRequestError(`${sampling}: Extra inputs are not permitted`);
  }
  const temperature = readOptionalNumber(body.temperature, 'temperature', 1);
  const topP = readOptionalNumber(body.top_p, 'top_p', 1);
  const topK = readOptionalNumber(body.top_k, 'top_k', Number.POSITIVE_INFINITY);
  if (topK !== undefined) readRequiredInteger(topK, 'top_k', 0);
  requireSupportedSampling({ temperature, topP, topK }, model);
  if (thinking.type === 'disabled') return;
  const documentation =
    'Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking';
  if (temperature !== undefined && temperature !== 1) {
    throw createInvalidRequestError(`\`temperature\` may only be set to 1 when thinking is enabled. ${documentation}`);
  }
  if (topP !== undefined && topP < 0.95) {
    throw createInvalidRequestError(
      `\`top_p\` must be greater than or equal to 0.95 or unset when thinking is enabled. ${documentation}`,
    );
  }
  if (topK !== undefined)
    throw createInvalidRequestError(`\`top_k\` must be unset when thinking is enabled. ${documentation}`);
}

function validateMetadata(body: JsonObject): void {
  const metadata = readRequiredObject(body.metadata ?? {}, 'metadata');
  const user = readOptionalString(metadata.user_id, 'metadata.user_id') ?? '';
  if (user.length > 256) throw createInvalidRequestError('metadata.user_id: String should have at most 256 characters');
  rejectUnknownKeys(metadata, new Set(['user_id']), 'metadata');
}

/**
 * Rejects to continue a thread, because the simulator keeps none. The official SDK treats this answer as a lost thread, and
 * sends the whole conversation again.
 */
function rejectThreadContinuation(body: JsonObject): void {
  const value = body.thread;
  if (value === undefined || value === null) return;
  const thread = readRequiredObject(value, 'thread');
  if (readRequiredType(thread, ['create', 'continue'], 'thread') === 'create') return;
  const id = readRequiredString(thread.previous_message_id, 'thread.continue.previous_message_id');
  const message = `thread: no usable Thread state was found for previous_message_id ${id.slice(0, 100)}`;
  throw new ApiError(404, message, {}, { error_code: 'thread_not_found' });
}

/** @returns the end user whom the thinking of a request belongs to; empty if it names none */
function getEndUser({ user_profile_id }: JsonObject, { profile }: RequestProtocol): string {
  return jsonToText(user_profile_id ?? profile ?? '');
}

/**
 * Leaves out the blocks that the model does not see.
 * @param strips whether it sees no thinking of earlier turns
 */
function removeHiddenBlocks(
  messages: RequestMessage[],
  mismatches: ReadonlyMap<JsonObject, ThinkingTransformation>,
  strips = false,
): RequestMessage[] {
  const turn = strips ? findLastTurnStart(messages) : 0;
  if (mismatches.size === 0 && turn === 0) return messages;
  const isVisibleToModel = (block: JsonObject, index: number) =>
    mismatches.get(block)?.type !== 'thinking_dropped' && !(index < turn && isThinkingBlock(block));
  return messages.map((message, index) => ({
    ...message,
    blocks: message.blocks.filter((block) => isVisibleToModel(block, index)),
  }));
}

/** Reads what counts and messages have in common, for a model that serves. */
function parsePrompt(
  body: JsonObject,
  { models, protocol, now }: RequestValidationContext,
): ValidatedPrompt & { thinking: ThinkingConfig; effort: string | undefined } {
  const model = requireServingModel(models, readRequiredString(body.model, 'model'), now);
  const thinking = parseThinking(body, protocol, model);
  return {
    model,
    tools: parseToolDefinitions(body.tools),
    system: parseSystem(body),
    messages: parseMessages(body, protocol),
    ...parseOutputConfig(body),
    automaticCaching: parseCacheControlLifetime(body.cache_control, 'cache_control'),
    thinking,
  };
}

/**
 * Reads the body of `/v1/messages/count_tokens`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function parseCountTokensRequest(body: JsonObject, judgement: RequestValidationContext): ValidatedPrompt {
  const { protocol } = judgement;
  const prompt = parsePrompt(body, judgement);
  validateFields(body, 'MessageCountTokensParams', protocol);
  parseToolChoice(body.tool_choice, prompt);
  requireSupportedEffort(prompt.effort, prompt.model);
  const { mismatches } = validateConversation(prompt, { ...judgement, user: getEndUser(body, protocol) });
  validatePromptForModel(prompt, judgement, false);
  return { ...prompt, messages: removeHiddenBlocks(prompt.messages, mismatches, true) };
}

/**
 * Reads the body of `/v1/messages`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function parseMessageRequest(body: JsonObject, judgement: RequestValidationContext): MessageRequest {
  const { protocol, now, inBatch = false } = judgement;
  readRequiredString(body.model, 'model');
  const maxTokens = readRequiredInteger(body.max_tokens, 'max_tokens', 0);
  const asksForSummary = parseCompactionRequest(body, protocol);
  const prompt = parsePrompt(body, judgement);
  const { thinking, model } = prompt;
  const [fault] = judgement.refusedSchemas(body);
  if (fault) throw createInvalidRequestError(fault.problem);
  const stream = readOptionalBoolean(body.stream, 'stream') ?? false;
  const stopSequences = parseStopSequences(body);
  validateSamplingParams(body, thinking, protocol, model);
  validateMetadata(body);
  readOptionalChoice(body.service_tier, ['auto', 'standard_only'], 'service_tier');
  const tier = readOptionalChoice(body.speed, ['standard', 'fast'], 'speed');
  const inferenceGeo = readOptionalChoice(body.inference_geo, ['global', 'us'], 'inference_geo');
  const safeguards = parseSafeguardTypes(body.safeguards);
  validateFields(body, 'MessageCreateParams', protocol);
  rejectThreadContinuation(body);

  const longBatch = inBatch && isBetaRequested(protocol, 'output-300k-2026-03-24') ? model.batch_max_tokens : undefined;
  const tooMany = findMaxTokensFault(maxTokens, { id: model.id, max_tokens: longBatch ?? model.max_tokens });
  if (tooMany !== undefined) throw createInvalidRequestError(tooMany);
  const isInterleaved = isBetaRequested(protocol, 'interleaved-thinking');
  if (thinking.type === 'enabled' && thinking.budgetTokens >= maxTokens && !isInterleaved) {
    throw createInvalidRequestError(
      '`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size',
    );
  }
  const choice = parseToolChoice(body.tool_choice, prompt);
  if (maxTokens === 0) rejectAnswerOptionsForZeroTokens(body, prompt, choice.type);
  requireSupportedEffort(prompt.effort, model);
  const compacts = asksForSummary !== undefined;
  const speed = requireSupportedSpeed(tier, model, protocol, now);
  if ((inferenceGeo ?? 'global') !== 'global' && rejectsFeature(model, 'geo'))
    throw createInvalidRequestError('inference_geo: not supported for this model.');
  const fallbacks = parseFallbackModels(body.fallbacks, model, judgement);
  if (compacts) requireSummarizable(prompt.messages);
  rejectSummaryConflicts(body, compacts, typeof findLeadingSummary(prompt.messages)?.signature === 'string');
  const user = getEndUser(body, protocol);
  const { mismatches, prefixes, ...checked } = validateConversation(prompt, { ...judgement, user, compacts });
  const effort = validatePromptForModel(prompt, judgement, compacts);
  const compaction = asksForSummary && { ...asksForSummary, prefixes, toolChanges: computeNetToolChanges(prompt) };
  const messages = removeHiddenBlocks(prompt.messages, mismatches, model.strips_thinking);
  const transformations = isBetaRequested(protocol, 'thinking-binding-controls') ? [...mismatches.values()] : undefined;
  const own = { maxTokens, stream, stopSequences, toolChoice: choice, safeguards, speed, inferenceGeo, fallbacks };
  return { ...prompt, ...own, effort, messages, ...checked, transformations, compaction };
}
