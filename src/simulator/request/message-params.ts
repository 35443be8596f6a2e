import { hasBeta, hasNewerBeta } from './betas.ts';
import { summaryIn } from './compaction-blocks.ts';
import { checkBesideSummary, checkSummarizable, readCompaction } from './compaction-params.ts';
import { cacheLifetime, contentBlocks } from './content-blocks.ts';
import { checkConversation, isThinking, startOfTurn } from './conversation-rules.ts';
import { ApiError, invalid } from './errors.ts';
import {
  optionalBoolean,
  optionalChoice,
  optionalNumber,
  optionalString,
  refuseExtras,
  requiredInteger,
  requiredList,
  requiredObject,
  requiredString,
  requiredTag,
} from './fields.ts';
import { asText, type JsonObject, member } from './json.ts';
import { refuseUnknown } from './known-members.ts';
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
  lacks,
  readFallbacks,
  speedOf,
} from './model-rules.ts';
import { type SimulatedModel, servingModel } from './models.ts';
import { readSafeguards } from './safeguards.ts';
import { toolChanges } from './tool-changes.ts';
import { toolChoice, toolDefinitions } from './tool-definitions.ts';

function readMessages(body: JsonObject, protocol: Protocol): RequestMessage[] {
  const list = requiredList(body.messages, 'messages');
  if (list.length === 0) throw invalid('messages: at least one message is required');
  if (list.length > 100_000) {
    throw invalid(`messages: List should have at most 100000 items after validation, not ${list.length}`);
  }
  return list.map((entry, index) => {
    const path = `messages.${index}`;
    const message = requiredObject(entry, path);
    const roleValue = message.role;
    if (roleValue === undefined) throw invalid(`${path}.role: Field required`);
    const role = optionalChoice(roleValue, ['user', 'assistant', 'system'], `${path}.role`);
    if (role === undefined) throw invalid(`${path}.role: Input should be 'user', 'assistant' or 'system'`);
    const effort = role === 'system' ? readEffort(message, `${path}.output_config`) : undefined;
    const content = effort === undefined ? message.content : (message.content ?? []);
    return { role, blocks: contentBlocks(content, `${path}.content`, protocol), effort };
  });
}

function readSystem(body: JsonObject): JsonObject[] {
  const system = body.system;
  if (system === undefined || system === null || system === '') return [];
  if (typeof system === 'string') return [{ type: 'text', text: system }];
  if (!Array.isArray(system)) throw invalid('system: Input should be a valid list');
  return system.map((entry, index) => {
    const path = `system.${index}`;
    const block = requiredObject(entry, path);
    if (block.type !== 'text') throw invalid(`${path}.type: Input should be 'text'`);
    if (requiredString(block.text, `${path}.text`) === '') {
      throw invalid('system: text content blocks must be non-empty');
    }
    cacheLifetime(block.cache_control, `${path}.cache_control`);
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
  const thinking = requiredObject(value, 'thinking');
  const type = requiredTag(thinking, ['adaptive', 'between_tools', 'disabled', 'enabled'], 'thinking');
  checkThinkingType(type, readEffort(body, 'output_config'), model);
  if (type === 'disabled' || type === 'between_tools') {
    refuseExtras(thinking, new Set(['type']), `thinking.${type}`);
    return type === 'disabled' ? { type } : { type: 'disabled', between_tools: true };
  }
  const shown = thinking.display;
  const updates = hasBeta(protocol, 'thinking-display-updates-2026-08-18') ? (['updates'] as const) : [];
  const display = optionalChoice(shown, ['summarized', 'omitted', ...updates], `thinking.${type}.display`) ?? byDefault;
  const { prefix_mismatch_behavior } = requiredObject(thinking.block_binding ?? {}, `thinking.${type}.block_binding`);
  const path = `thinking.${type}.block_binding.prefix_mismatch_behavior`;
  const active = { display, onMismatch: optionalChoice(prefix_mismatch_behavior, ['error', 'drop_block'], path) };
  if (type === 'adaptive') return { type, ...active };
  const budgetTokens = requiredInteger(thinking.budget_tokens, 'thinking.enabled.budget_tokens', 1024);
  return { type, budgetTokens, ...active };
}

function readEffort({ output_config }: JsonObject, path: string): string | undefined {
  const { effort } = requiredObject(output_config ?? {}, path);
  return optionalChoice(effort, ['low', 'medium', 'high', 'xhigh', 'max'], `${path}.effort`);
}

function readOutputConfig(body: JsonObject): { effort: string | undefined; outputSchema: JsonObject | undefined } {
  const config = requiredObject(body.output_config ?? {}, 'output_config');
  const effort = readEffort(body, 'output_config');
  const inConfig = config.format ?? null;
  // The name that the parameter had while it was a beta.
  const format = inConfig ?? body.output_format ?? null;
  const path = inConfig === null ? 'output_format' : 'output_config.format';
  if (format === null) return { effort, outputSchema: undefined };
  const object = requiredObject(format, path);
  requiredTag(object, ['json_schema'], path);
  return { effort, outputSchema: requiredObject(object.schema, `${path}.json_schema.schema`) };
}

function readStopSequences(body: JsonObject): string[] {
  const value = body.stop_sequences;
  if (value === undefined || value === null) return [];
  return requiredList(value, 'stop_sequences').map((entry, index) => {
    const sequence = requiredString(entry, `stop_sequences.${index}`);
    if (sequence.trim() === '') throw invalid('stop_sequences: each stop sequence must contain non-whitespace');
    return sequence;
  });
}

function checkSampling(body: JsonObject, thinking: Thinking, protocol: Protocol, model: SimulatedModel): void {
  if (protocol.version === '2026-10-21') {
    const sampling = ['temperature', 'top_p', 'top_k'].find((key) => member(body, key) !== undefined);
    if (sampling !== undefined) throw invalid(`${sampling}: Extra inputs are not permitted`);
  }
  const temperature = optionalNumber(body.temperature, 'temperature', 1);
  const topP = optionalNumber(body.top_p, 'top_p', 1);
  const topK = optionalNumber(body.top_k, 'top_k', Number.POSITIVE_INFINITY);
  if (topK !== undefined) requiredInteger(topK, 'top_k', 0);
  checkModelSampling({ temperature, topP, topK }, model);
  if (thinking.type === 'disabled') return;
  const documentation =
    'Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking';
  if (temperature !== undefined && temperature !== 1) {
    throw invalid(`\`temperature\` may only be set to 1 when thinking is enabled. ${documentation}`);
  }
  if (topP !== undefined && topP < 0.95) {
    throw invalid(
      `\`top_p\` must be greater than or equal to 0.95 or unset when thinking is enabled. ${documentation}`,
    );
  }
  if (topK !== undefined) throw invalid(`\`top_k\` must be unset when thinking is enabled. ${documentation}`);
}

function checkMetadata(body: JsonObject): void {
  const metadata = requiredObject(body.metadata ?? {}, 'metadata');
  const user = optionalString(metadata.user_id, 'metadata.user_id') ?? '';
  if (user.length > 256) throw invalid('metadata.user_id: String should have at most 256 characters');
  refuseExtras(metadata, new Set(['user_id']), 'metadata');
}

/**
 * Refuses to continue a thread, because the simulator keeps none. The official SDK treats this answer as a lost thread, and
 * sends the whole conversation again.
 */
function checkThread(body: JsonObject): void {
  const value = body.thread;
  if (value === undefined || value === null) return;
  const thread = requiredObject(value, 'thread');
  if (requiredTag(thread, ['create', 'continue'], 'thread') === 'create') return;
  const id = requiredString(thread.previous_message_id, 'thread.continue.previous_message_id');
  const message = `thread: no usable Thread state was found for previous_message_id ${id.slice(0, 100)}`;
  throw new ApiError(404, message, {}, { error_code: 'thread_not_found' });
}

/** @returns the end user whom the thinking of a request belongs to; empty if it names none */
function endUserOf({ user_profile_id }: JsonObject, { profile }: Protocol): string {
  return asText(user_profile_id ?? profile ?? '');
}

/**
 * Leaves out the blocks that the model does not see.
 * @param strips whether it sees no thinking of earlier turns
 */
function shownMessages(
  messages: RequestMessage[],
  found: ReadonlyMap<JsonObject, Transformation>,
  strips = false,
): RequestMessage[] {
  const turn = strips ? startOfTurn(messages) : 0;
  if (found.size === 0 && turn === 0) return messages;
  const isShown = (block: JsonObject, index: number) =>
    found.get(block)?.type !== 'thinking_dropped' && !(index < turn && isThinking(block));
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
  const model = servingModel(models, requiredString(body.model, 'model'), now);
  const thinking = readThinking(body, protocol, model);
  return {
    model,
    tools: toolDefinitions(body.tools),
    system: readSystem(body),
    messages: readMessages(body, protocol),
    ...readOutputConfig(body),
    automaticCaching: cacheLifetime(body.cache_control, 'cache_control'),
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
  if (!hasNewerBeta(protocol)) refuseUnknown(body, 'count', '', protocol);
  toolChoice(body.tool_choice, prompt);
  checkEffort(prompt.effort, prompt.model);
  const { mismatches } = checkConversation(prompt, { ...judgement, user: endUserOf(body, protocol) });
  checkByModel(prompt, judgement, false);
  return { ...prompt, messages: shownMessages(prompt.messages, mismatches, true) };
}

/**
 * Reads the body of `/v1/messages`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function readMessageRequest(body: JsonObject, judgement: Judgement): MessageRequest {
  const { protocol, now, inBatch = false } = judgement;
  requiredString(body.model, 'model');
  const maxTokens = requiredInteger(body.max_tokens, 'max_tokens', 0);
  const asksForSummary = readCompaction(body, protocol);
  const prompt = readPrompt(body, judgement);
  const { thinking, model } = prompt;
  const [fault] = judgement.refusedSchemas(body);
  if (fault) throw invalid(fault.says);
  const stream = optionalBoolean(body.stream, 'stream') ?? false;
  const stopSequences = readStopSequences(body);
  checkSampling(body, thinking, protocol, model);
  checkMetadata(body);
  optionalChoice(body.service_tier, ['auto', 'standard_only'], 'service_tier');
  const tier = optionalChoice(body.speed, ['standard', 'fast'], 'speed');
  const inferenceGeo = optionalChoice(body.inference_geo, ['global', 'us'], 'inference_geo');
  const safeguards = readSafeguards(body.safeguards);
  if (!hasNewerBeta(protocol)) refuseUnknown(body, 'create', '', protocol);
  checkThread(body);

  const longBatch = inBatch && hasBeta(protocol, 'output-300k-2026-03-24') ? model.batch_max_tokens : undefined;
  const mostTokens = longBatch ?? model.max_tokens;
  if (maxTokens > mostTokens) {
    throw invalid(
      `max_tokens: ${maxTokens} > ${mostTokens}, which is the maximum allowed number of output tokens for ${model.id}`,
    );
  }
  const isInterleaved = hasBeta(protocol, 'interleaved-thinking');
  if (thinking.type === 'enabled' && thinking.budgetTokens >= maxTokens && !isInterleaved) {
    throw invalid(
      '`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size',
    );
  }
  const choice = toolChoice(body.tool_choice, prompt);
  if (maxTokens === 0) checkNoAnswer(body, prompt, choice.type);
  checkEffort(prompt.effort, model);
  const compacts = asksForSummary !== undefined;
  const speed = speedOf(tier, model, protocol, now);
  if ((inferenceGeo ?? 'global') !== 'global' && lacks(model, 'geo'))
    throw invalid('inference_geo: not supported for this model.');
  const fallbacks = readFallbacks(body.fallbacks, model, judgement);
  if (compacts) checkSummarizable(prompt.messages);
  checkBesideSummary(body, compacts, typeof summaryIn(prompt.messages)?.signature === 'string');
  const user = endUserOf(body, protocol);
  const { mismatches, prefixes, ...checked } = checkConversation(prompt, { ...judgement, user, compacts });
  const effort = checkByModel(prompt, judgement, compacts);
  const compaction = asksForSummary && { ...asksForSummary, prefixes, toolChanges: toolChanges(prompt) };
  const messages = shownMessages(prompt.messages, mismatches, model.strips_thinking);
  const transformations = hasBeta(protocol, 'thinking-binding-controls') ? [...mismatches.values()] : undefined;
  const own = { maxTokens, stream, stopSequences, toolChoice: choice, safeguards, speed, inferenceGeo, fallbacks };
  return { ...prompt, ...own, effort, messages, ...checked, transformations, compaction };
}
