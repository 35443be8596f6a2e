import type { Digest } from '../random/digest.ts';
import { summaryIn } from './compaction-blocks.ts';
import { checkBesideSummary, checkSummarizable, readCompaction } from './compaction-params.ts';
import { cacheLifetime, contentBlocks } from './content-blocks.ts';
import { checkConversation } from './conversation-rules.ts';
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
import { asText, isObject, type JsonObject, member } from './json.ts';
import { refuseUnknown } from './known-members.ts';
import type { MessageRequest, Prompt, Protocol, RequestMessage, Thinking, Transformation } from './message-request.ts';
import { type SimulatedModel, servingModel } from './models.ts';
import { readSafeguards } from './safeguards.ts';
import { toolChanges } from './tool-changes.ts';
import { toolChoice, toolDefinitions } from './tool-definitions.ts';

/** What decides how a body is judged. */
export interface Judgement {
  models: readonly SimulatedModel[];
  protocol: Protocol;
  /** Milliseconds since the epoch. */
  now: number;
  /** The seed of signatures. */
  seed: Digest;
}

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
    const configures = role === 'system' && readEffort(message, `${path}.output_config`) !== undefined;
    const content = configures ? (message.content ?? []) : message.content;
    return { role, blocks: contentBlocks(content, `${path}.content`, protocol), configures };
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

function readThinking(body: JsonObject, protocol: Protocol): Thinking {
  const value = body.thinking;
  if (value === undefined || value === null) return { type: 'disabled' };
  const thinking = requiredObject(value, 'thinking');
  const type = requiredTag(thinking, ['adaptive', 'between_tools', 'disabled', 'enabled'], 'thinking');
  if (type === 'disabled' || type === 'between_tools') return { type: 'disabled' };
  const shown = thinking.display;
  const displays = ['summarized', 'omitted', ...(protocol.beta ? (['updates'] as const) : [])] as const;
  const display = optionalChoice(shown, displays, `thinking.${type}.display`) ?? 'summarized';
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

function checkSampling(body: JsonObject, thinking: Thinking, protocol: Protocol): void {
  if (protocol.version === '2026-10-21') {
    const given = ['temperature', 'top_p', 'top_k'].find((key) => member(body, key) !== undefined);
    if (given !== undefined) throw invalid(`${given}: Extra inputs are not permitted`);
  }
  const temperature = optionalNumber(body.temperature, 'temperature', 1);
  const topP = optionalNumber(body.top_p, 'top_p', 1);
  const topK = optionalNumber(body.top_k, 'top_k', Number.POSITIVE_INFINITY);
  if (topK !== undefined) requiredInteger(topK, 'top_k', 0);
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
 * sends
 * the whole conversation again.
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
function endUserOf({ user_profile_id, metadata }: JsonObject, { profile }: Protocol): string {
  return asText(user_profile_id ?? profile ?? (isObject(metadata) ? metadata.user_id : '') ?? '');
}

/** Leaves out the blocks that the model does not see. */
function shownMessages(messages: RequestMessage[], found: ReadonlyMap<JsonObject, Transformation>): RequestMessage[] {
  if (found.size === 0) return messages;
  const isShown = (block: JsonObject) => found.get(block)?.type !== 'thinking_dropped';
  return messages.map((message) => ({ ...message, blocks: message.blocks.filter(isShown) }));
}

function readPrompt(body: JsonObject, protocol: Protocol): Prompt & { thinking: Thinking; effort: string | undefined } {
  const thinking = readThinking(body, protocol);
  return {
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
export function readCountRequest(body: JsonObject, { models, protocol, now, seed }: Judgement): Prompt {
  const model = requiredString(body.model, 'model');
  const prompt = readPrompt(body, protocol);
  if (!protocol.beta) refuseUnknown(body, 'count', '');
  const serving = servingModel(models, model, now);
  const { messages, thinking } = prompt;
  toolChoice(body.tool_choice, prompt.tools, thinking);
  const user = endUserOf(body, protocol);
  const { mismatches } = checkConversation(messages, { thinking, protocol, seed, model: serving, user });
  return { ...prompt, messages: shownMessages(messages, mismatches) };
}

/**
 * Reads the body of `/v1/messages`.
 * @throws ApiError 400 in the API's words, 404 for an unknown or retired model.
 */
export function readMessageRequest(body: JsonObject, { models, protocol, now, seed }: Judgement): MessageRequest {
  const id = requiredString(body.model, 'model');
  const maxTokens = requiredInteger(body.max_tokens, 'max_tokens', 0);
  checkThread(body);
  const asksForSummary = readCompaction(body, protocol);
  const prompt = readPrompt(body, protocol);
  const { thinking } = prompt;
  const stream = optionalBoolean(body.stream, 'stream') ?? false;
  const stopSequences = readStopSequences(body);
  checkSampling(body, thinking, protocol);
  checkMetadata(body);
  optionalChoice(body.service_tier, ['auto', 'standard_only'], 'service_tier');
  const speed = optionalChoice(body.speed, ['standard', 'fast'], 'speed');
  const inferenceGeo = optionalString(body.inference_geo, 'inference_geo');
  const safeguards = readSafeguards(body.safeguards);
  if (!protocol.beta) refuseUnknown(body, 'create', '');

  const model = servingModel(models, id, now);
  if (maxTokens > model.max_tokens) {
    throw invalid(
      `max_tokens: ${maxTokens} > ${model.max_tokens}, which is the maximum allowed number of output tokens for ${model.id}`,
    );
  }
  if (thinking.type === 'enabled' && thinking.budgetTokens >= maxTokens) {
    throw invalid(
      '`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size',
    );
  }
  const choice = toolChoice(body.tool_choice, prompt.tools, thinking);
  const compacts = asksForSummary !== undefined;
  if (compacts) checkSummarizable(prompt.messages);
  checkBesideSummary(body, compacts, typeof summaryIn(prompt.messages)?.signature === 'string');
  const bound = { thinking, protocol, seed, model, user: endUserOf(body, protocol), compacts };
  const { mismatches, prefixes, ...checked } = checkConversation(prompt.messages, bound);
  const compaction = asksForSummary && { ...asksForSummary, prefixes, toolChanges: toolChanges(prompt) };
  const messages = shownMessages(prompt.messages, mismatches);
  const transformations = protocol.tellsMismatches ? [...mismatches.values()] : undefined;
  const asked = { model, maxTokens, stream, stopSequences, toolChoice: choice, safeguards, speed, inferenceGeo };
  return { ...prompt, ...asked, messages, ...checked, transformations, compaction };
}
