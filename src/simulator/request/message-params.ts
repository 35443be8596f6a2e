import { hasBeta, hasNewerBeta } from './betas.ts';
import { findSummary } from './compaction-blocks.ts';
import { checkSummarizable, checkSummaryConflicts, readCompaction } from './compaction-params.ts';
import { readCacheLifetime, readContentBlocks } from './content-blocks.ts';
import { checkConversation, isThinking, lastTurnStartOf } from './conversation-rules.ts';
import { ApiError, invalidRequestError } from './errors.ts';
import {
  readOptionalBoolean,
  readOptionalChoice,
  readOptionalNumber,
  readOptionalString,
  readRequiredInteger,
  readRequiredList,
  readRequiredObject,
  readRequiredString,
  readRequiredTag,
  rejectExtraKeys,
} from './fields.ts';
import { type JsonObject, jsonToText, readMember } from './json.ts';
import { rejectUnknown } from './known-members.ts';
import type {
  Judgement,
  MessageRequest,
  Prompt,
  Protocol,
  RequestMessage,
  Thinking,
  Transformation,
} from './message-request.ts';
import {
  checkByModel,
  checkEffort,
  checkModelSampling,
  checkNoAnswer,
  checkThinkingType,
  decideSpeed,
  readFallbacks,
  rejectsFeature,
} from './model-rules.ts';
import { requireServingModel, type SimulatedModel } from './models.ts';
import { readSafeguards } from './safeguards.ts';
import { computeToolChanges } from './tool-changes.ts';
import { readToolChoice, readToolDefinitions } from './tool-definitions.ts';

function readMessages(body: JsonObject, protocol: Protocol): RequestMessage[] {
  const list = readRequiredList(body.messages, 'messages');
  if (list.length === 0) throw invalidRequestError('messages: at least one message is required');
  if (list.length > 100_000) {
    throw invalidRequestError(`messages: List should have at most 100000 items after validation, not ${list.length}`);
  }
  return list.map((entry, index) => {
    const path = `messages.${index}`;
    const message = readRequiredObject(entry, path);
    const roleValue = message.role;
    if (roleValue === undefined) throw invalidRequestError(`${path}.role: Field required`);
    const role = readOptionalChoice(roleValue, ['user', 'assistant', 'system'], `${path}.role`);
    if (role === undefined) throw invalidRequestError(`${path}.role: Input should be 'user', 'assistant' or 'system'`);
    const effort = role === 'system' ? readEffort(message, `${path}.output_config`) : undefined;
    const content = effort === undefined ? message.content : (message.content ?? []);
    return { role, blocks: readContentBlocks(content, `${path}.content`, protocol), effort };
  });
}

function readSystem(body: JsonObject): JsonObject[] {
  const system = body.system;
  if (system === undefined || system === null || system === '') return [];
  if (typeof system === 'string') return [{ type: 'text', text: system }];
  if (!Array.isArray(system)) throw invalidRequestError('system: Input should be a valid list');
  return system.map((entry, index) => {
    const path = `system.${index}`;
    const block = readRequiredObject(entry, path);
    if (block.type !== 'text') throw invalidRequestError(`${path}.type: Input should be 'text'`);
    if (readRequiredString(block.text, `${path}.text`) === '') {
      throw invalidRequestError('system: text content blocks must be non-empty');
    }
    readCacheLifetime(block.cache_control, `${path}.cache_control`);
    return block;
  });
}

function readThinking(body: JsonObject, protocol: Protocol, model: SimulatedModel): Thinking {
  const value = body.thinking;
  const byDefault = model.omits_thinking ? 'omitted' : 'summarized';
  if (value === undefined || value === null) {
    if ((model.thinking?.default ?? 'off') === 'off') return { type: 'disabled' };
    return { type: 'adaptive', display: byDefault, onMismatch: undefined };
  }
  const thinking = readRequiredObject(value, 'thinking');
  const type = readRequiredTag(thinking, ['adaptive', 'between_tools', 'disabled', 'enabled'], 'thinking');
  checkThinkingType(type, readEffort(body, 'output_config'), model);
  if (type === 'disabled' || type === 'between_tools') {
    rejectExtraKeys(thinking, new Set(['type']), `thinking.${type}`);
    return type === 'disabled' ? { type } : { type: 'disabled', between_tools: true };
  }
  const shown = thinking.display;
  const updates = hasBeta(protocol, 'thinking-display-updates-2026-08-18') ? (['updates'] as const) : [];
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

function readEffort({ output_config }: JsonObject, path: string): string | undefined {
  const { effort } = readRequiredObject(output_config ?? {}, path);
  return readOptionalChoice(effort, ['low', 'medium', 'high', 'xhigh', 'max'], `${path}.effort`);
}

function readOutputConfig(body: JsonObject): { effort: string | undefined; outputSchema: JsonObject | undefined } {
  const config = readRequiredObject(body.output_config ?? {}, 'output_config');
  const effort = readEffort(body, 'output_config');
  const inConfig = config.format ?? null;
  // The name that the parameter had while it was a beta.
  const format = inConfig ?? body.output_format ?? null;
  const path = inConfig === null ? 'output_format' : 'output_config.format';
  if (format === null) return { effort, outputSchema: undefined };
  const object = readRequiredObject(format, path);
  readRequiredTag(object, ['json_schema'], path);
  return { effort, outputSchema: readRequiredObject(object.schema, `${path}.json_schema.schema`) };
}

function readStopSequences(body: JsonObject): string[] {
  const value = body.stop_sequences;
  if (value === undefined || value === null) return [];
  return readRequiredList(value, 'stop_sequences').map((entry, index) => {
    const sequence = readRequiredString(entry, `stop_sequences.${index}`);
    if (sequence.trim() === '')
      throw invalidRequestError('stop_sequences: each stop sequence must contain non-whitespace');
    return sequence;
  });
}

function checkSampling(body: JsonObject, thinking: Thinking, protocol: Protocol, model: SimulatedModel): void {
  if (protocol.version === '2026-10-21') {
    const sampling = ['temperature', 'top_p', 'top_k'].find((key) => readMember(body, key) !== undefined);
    if (sampling !== undefined) throw invalidRequestError(`${sampling}: Extra inputs are not permitted`);
  }
  const temperature = readOptionalNumber(body.temperature, 'temperature', 1);
  const topP = readOptionalNumber(body.top_p, 'top_p', 1);
  const topK = readOptionalNumber(body.top_k, 'top_k', Number.POSITIVE_INFINITY);
  if (topK !== undefined) readRequiredInteger(topK, 'top_k', 0);
  checkModelSampling({ temperature, topP, topK }, model);
  if (thinking.type === 'disabled') return;
  const documentation =
    'Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking';
  if (temperature !== undefined && temperature !== 1) {
    throw invalidRequestError(`\`temperature\` may only be set to 1 when thinking is enabled. ${documentation}`);
  }
  if (topP !== undefined && topP < 0.95) {
    throw invalidRequestError(
      `\`top_p\` must be greater than or equal to 0.95 or unset when thinking is enabled. ${documentation}`,
    );
  }
  if (topK !== undefined)
    throw invalidRequestError(`\`top_k\` must be unset when thinking is enabled. ${documentation}`);
}

function checkMetadata(body: JsonObject): void {
  const metadata = readRequiredObject(body.metadata ?? {}, 'metadata');
  const user = readOptionalString(metadata.user_id, 'metadata.user_id') ?? '';
  if (user.length > 256) throw invalidRequestError('metadata.user_id: String should have at most 256 characters');
  rejectExtraKeys(metadata, new Set(['user_id']), 'metadata');
}

/**
 * Refuses to continue a thread, because the simulator keeps none. The official SDK treats this answer as a lost thread, and
 * sends the whole conversation again.
 */
function checkThread(body: JsonObject): void {
  const value = body.thread;
  if (value === undefined || value === null) return;
  const thread = readRequiredObject(value, 'thread');
  if (readRequiredTag(thread, ['create', 'continue'], 'thread') === 'create') return;
  const id = readRequiredString(thread.previous_message_id, 'thread.continue.previous_message_id');
  const message = `thread: no usable Thread state was found for previous_message_id ${id.slice(0, 100)}`;
  throw new ApiError(404, message, {}, { error_code: 'thread_not_found' });
}

/** @returns the end user whom the thinking of a request belongs to; empty if it names none */
function endUserOf({ user_profile_id }: JsonObject, { profile }: Protocol): string {
  return jsonToText(user_profile_id ?? profile ?? '');
}

/**
 * Leaves out the blocks that the model does not see.
 * @param strips whether it sees no thinking of earlier turns
 */
function withoutHiddenBlocks(
  messages: RequestMessage[],
  mismatches: ReadonlyMap<JsonObject, Transformation>,
  strips = false,
): RequestMessage[] {
  const turn = strips ? lastTurnStartOf(messages) : 0;
  if (mismatches.size === 0 && turn === 0) return messages;
  const isShown = (block: JsonObject, index: number) =>
    mismatches.get(block)?.type !== 'thinking_dropped' && !(index < turn && isThinking(block));
  return messages.map((message, index) => ({
    ...message,
    blocks: message.blocks.filter((block) => isShown(block, index)),
  }));
}

/** Reads what counts and messages have in common, for a model that serves. */
function readPrompt(
  body: JsonObject,
  { models, protocol, now }: Judgement,
): Prompt & { thinking: Thinking; effort: string | undefined } {
  const model = requireServingModel(models, readRequiredString(body.model, 'model'), now);
  const thinking = readThinking(body, protocol, model);
  return {
    model,
    tools: readToolDefinitions(body.tools),
    system: readSystem(body),
    messages: readMessages(body, protocol),
    ...readOutputConfig(body),
    automaticCaching: readCacheLifetime(body.cache_control, 'cache_control'),
    thinking,
  };
}

/**
 * Reads the body of `/v1/messages/count_tokens`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function readCountRequest(body: JsonObject, judgement: Judgement): Prompt {
  const { protocol } = judgement;
  const prompt = readPrompt(body, judgement);
  if (!hasNewerBeta(protocol)) rejectUnknown(body, 'count', '', protocol);
  readToolChoice(body.tool_choice, prompt);
  checkEffort(prompt.effort, prompt.model);
  const { mismatches } = checkConversation(prompt, { ...judgement, user: endUserOf(body, protocol) });
  checkByModel(prompt, judgement, false);
  return { ...prompt, messages: withoutHiddenBlocks(prompt.messages, mismatches, true) };
}

/**
 * Reads the body of `/v1/messages`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function readMessageRequest(body: JsonObject, judgement: Judgement): MessageRequest {
  const { protocol, now, inBatch = false } = judgement;
  readRequiredString(body.model, 'model');
  const maxTokens = readRequiredInteger(body.max_tokens, 'max_tokens', 0);
  const asksForSummary = readCompaction(body, protocol);
  const prompt = readPrompt(body, judgement);
  const { thinking, model } = prompt;
  const [fault] = judgement.refusedSchemas(body);
  if (fault) throw invalidRequestError(fault.problem);
  const stream = readOptionalBoolean(body.stream, 'stream') ?? false;
  const stopSequences = readStopSequences(body);
  checkSampling(body, thinking, protocol, model);
  checkMetadata(body);
  readOptionalChoice(body.service_tier, ['auto', 'standard_only'], 'service_tier');
  const tier = readOptionalChoice(body.speed, ['standard', 'fast'], 'speed');
  const inferenceGeo = readOptionalChoice(body.inference_geo, ['global', 'us'], 'inference_geo');
  const safeguards = readSafeguards(body.safeguards);
  if (!hasNewerBeta(protocol)) rejectUnknown(body, 'create', '', protocol);
  checkThread(body);

  const longBatch = inBatch && hasBeta(protocol, 'output-300k-2026-03-24') ? model.batch_max_tokens : undefined;
  const mostTokens = longBatch ?? model.max_tokens;
  if (maxTokens > mostTokens) {
    throw invalidRequestError(
      `max_tokens: ${maxTokens} > ${mostTokens}, which is the maximum allowed number of output tokens for ${model.id}`,
    );
  }
  const isInterleaved = hasBeta(protocol, 'interleaved-thinking');
  if (thinking.type === 'enabled' && thinking.budgetTokens >= maxTokens && !isInterleaved) {
    throw invalidRequestError(
      '`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size',
    );
  }
  const choice = readToolChoice(body.tool_choice, prompt);
  if (maxTokens === 0) checkNoAnswer(body, prompt, choice.type);
  checkEffort(prompt.effort, model);
  const compacts = asksForSummary !== undefined;
  const speed = decideSpeed(tier, model, protocol, now);
  if ((inferenceGeo ?? 'global') !== 'global' && rejectsFeature(model, 'geo'))
    throw invalidRequestError('inference_geo: not supported for this model.');
  const fallbacks = readFallbacks(body.fallbacks, model, judgement);
  if (compacts) checkSummarizable(prompt.messages);
  checkSummaryConflicts(body, compacts, typeof findSummary(prompt.messages)?.signature === 'string');
  const user = endUserOf(body, protocol);
  const { mismatches, prefixes, ...checked } = checkConversation(prompt, { ...judgement, user, compacts });
  const effort = checkByModel(prompt, judgement, compacts);
  const compaction = asksForSummary && { ...asksForSummary, prefixes, toolChanges: computeToolChanges(prompt) };
  const messages = withoutHiddenBlocks(prompt.messages, mismatches, model.strips_thinking);
  const transformations = hasBeta(protocol, 'thinking-binding-controls') ? [...mismatches.values()] : undefined;
  const own = { maxTokens, stream, stopSequences, toolChoice: choice, safeguards, speed, inferenceGeo, fallbacks };
  return { ...prompt, ...own, effort, messages, ...checked, transformations, compaction };
}
