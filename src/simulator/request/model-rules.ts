import { isBetaRequested } from '../../api-rules/betas.ts';
import { filterObjects, isJsonObject, type Json, type JsonObject, jsonToText } from '../../api-rules/json.ts';
import { createInvalidRequestError } from './errors.ts';
import { readRequiredList, readRequiredObject, readRequiredString } from './fields.ts';
import { requireImageSideWithin } from './image-size.ts';
import type { RequestMessage, RequestProtocol, ThinkingConfig, ValidatedPrompt } from './message-request.ts';
import { requireServingModel, type SimulatedModel } from './models.ts';
import { countPdfPages } from './pdf-pages.ts';

// These functions reject features that a model does not support, with the API's wording. A model without known rules supports
// everything.

/** Checks whether a model rejects a feature. */
export function rejectsFeature({ refuses = [] }: SimulatedModel, feature: string): boolean {
  return refuses.includes(feature);
}

export function requireSupportedEffort(effort: string | undefined, { efforts }: SimulatedModel): void {
  if (effort === undefined || efforts === undefined || efforts.includes(effort)) return;
  if (efforts.length === 0) throw createInvalidRequestError('This model does not support the effort parameter.');
  throw createInvalidRequestError(
    `This model does not support effort level '${effort}'. Supported levels: ${efforts.toSorted().join(', ')}.`,
  );
}

/** Checks a type of thinking that the API knows, beside the request's effort. */
export function requireSupportedThinkingType(
  type: string,
  effort: string | undefined,
  { thinking }: SimulatedModel,
): void {
  if (!thinking) return;
  const { types, off_efforts } = thinking;
  if (types.includes(type)) {
    const isOff = type === 'disabled' || type === 'between_tools';
    if (!isOff || effort === undefined || off_efforts.includes(effort)) return;
    throw createInvalidRequestError(
      `output_config.effort '${effort}' is not supported when thinking is disabled on this model. Use effort 'high' or below, or enable thinking.`,
    );
  }
  if (type === 'adaptive') throw createInvalidRequestError('adaptive thinking is not supported on this model');
  if (type === 'between_tools')
    throw createInvalidRequestError('"thinking.type.between_tools" is not supported for this model.');
  throw createInvalidRequestError(
    type === 'disabled' && types.includes('between_tools')
      ? 'To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead of {"type": "disabled"}. It leaves out the thinking before an answer. Notes between calls of tools stay.'
      : `"thinking.type.${type}" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`,
  );
}

export function requireSupportedSampling(
  { temperature, topP, topK }: Readonly<Record<'temperature' | 'topP' | 'topK', number | undefined>>,
  model: SimulatedModel,
): void {
  const isOne = topP === 1 && !rejectsFeature(model, 'top_p_1');
  const changed = {
    temperature: temperature !== undefined && temperature !== 1,
    top_p: topP !== undefined && !isOne && (topP < 0.99 || topP === 1),
    top_k: topK !== undefined,
  };
  const refused = Object.entries(changed).find(([, isChanged]) => isChanged && rejectsFeature(model, 'sampling'));
  if (refused) throw createInvalidRequestError(`\`${refused[0]}\` is deprecated for this model.`);
  if (model.thinking && temperature !== undefined && topP !== undefined) {
    throw createInvalidRequestError(
      'temperature and top_p cannot both be specified for this model. Please use only one.',
    );
  }
}

/** @returns the speed of the answer */
export function requireSupportedSpeed(
  effort: string | undefined,
  model: SimulatedModel,
  protocol: RequestProtocol,
  now: number,
): string | undefined {
  const { fast, fast_until, thinking } = model;
  if (effort !== 'fast' || !thinking) return effort;
  if (fast === 'standard') return fast;
  const hasEnded = fast_until ? Date.parse(fast_until) <= now : false;
  if (fast === undefined || hasEnded)
    throw createInvalidRequestError('speed: fast mode is not supported for this model.');
  if (fast !== 'beta' || isBetaRequested(protocol, 'fast-mode-2026-02-01')) return effort;
  throw createInvalidRequestError('speed: fast mode of this model requires anthropic-beta: fast-mode-2026-02-01');
}

/** @returns the models that answer what the first one rejects */
export function parseFallbackModels(
  value: Json | undefined,
  model: SimulatedModel,
  { models, now }: { models: readonly SimulatedModel[]; now: number },
): SimulatedModel[] {
  if (value === undefined || value === null) return [];
  const takesAny = !rejectsFeature(model, 'fallbacks');
  // With `"default"` the API chooses the fallback model by rules that are not published, so use the first other model of the
  // table.
  if (value === 'default') return takesAny ? models.filter((one) => one.id !== model.id).slice(0, 1) : [];
  if (!takesAny) throw createInvalidRequestError('fallbacks: not supported for this model.');
  const list = readRequiredList(value, 'fallbacks');
  if (list.length > 3)
    throw createInvalidRequestError(`fallbacks: List should have at most 3 items after validation, not ${list.length}`);
  return list.map((entry, index) => {
    const path = `fallbacks.${index}`;
    return requireServingModel(models, readRequiredString(readRequiredObject(entry, path).model, `${path}.model`), now);
  });
}

function requireSupportedTools(
  tools: readonly JsonObject[],
  model: SimulatedModel,
  models: readonly SimulatedModel[],
): void {
  for (const [index, { type, model: advisor }] of tools.entries()) {
    if (model.refused_tools?.includes(jsonToText(type))) {
      throw createInvalidRequestError(
        `'${model.id}' does not support tool types: ${type}. Did you mean one of 'computer_toolset_20260801'?`,
      );
    }
    if (!jsonToText(type).startsWith('advisor_')) continue;
    const { id = '' } = models.find((one) => one.id === advisor || one.aliases?.includes(jsonToText(advisor))) ?? {};
    if (model.refused_advisors?.includes(id)) {
      throw createInvalidRequestError(`tools.${index}.model: '${id}' cannot advise '${model.id}'.`);
    }
  }
}

function isServerToolBlock(block: JsonObject | undefined): boolean {
  return /^(?!tool_).*(?:_tool_result|_tool_use)$/.test(jsonToText(block?.type));
}

function validateSystemMessages(
  messages: readonly RequestMessage[],
  model: SimulatedModel,
  protocol: RequestProtocol,
): void {
  for (const [index, { role, effort }] of messages.entries()) {
    if (role !== 'system') continue;
    if (effort !== undefined && rejectsFeature(model, 'effort')) {
      throw createInvalidRequestError(
        'output_config.effort requires a model that supports per-turn effort; this model does not',
      );
    }
    const lacksBeta =
      rejectsFeature(model, 'plain_system') && !isBetaRequested(protocol, 'mid-conversation-system-2026-04-07');
    // This wording is the API's own; see
    // https://github.com/anthropics/skills/blob/main/skills/claude-api/shared/prompt-caching.md.
    if (rejectsFeature(model, 'system') || lacksBeta)
      throw createInvalidRequestError(`role 'system' is not supported on this model`);
    if (messages[index - 1]?.role !== 'system') requireSystemMessagePlacement(messages, index);
  }
}

/**
 * Checks where consecutive system messages stand. Those that only set the effort may stand anywhere, except beside one that has
 * content; see https://platform.claude.com/docs/en/build-with-claude/effort-per-message.
 *
 * @param first the index of the first of them
 */
function requireSystemMessagePlacement(messages: readonly RequestMessage[], first: number): void {
  let end = first;
  let hasContent = false;
  for (; messages[end]?.role === 'system'; end += 1) hasContent ||= messages[end]?.blocks.length !== 0;
  if (!hasContent) return;
  if (first === 0) {
    throw createInvalidRequestError(
      "messages.0: use the top-level 'system' parameter for the initial system prompt; the directive-only form (content: [] with output_config) is accepted at any position",
    );
  }
  const before = messages[first - 1];
  const isBehind = before?.role === 'user' || (before?.role === 'assistant' && isServerToolBlock(before.blocks.at(-1)));
  if (!isBehind || (messages[end]?.role ?? 'assistant') !== 'assistant') {
    throw createInvalidRequestError(
      `messages.${first}: a \`system\` message must follow a \`user\` message, and be the last or before an \`assistant\` message.`,
    );
  }
}

/**
 * Checks the efforts within the messages. One that follows new input of the user applies to its answer, and any other one from
 * the next new input on; see https://platform.claude.com/docs/en/build-with-claude/effort-per-message.
 *
 * @returns the effort of the answer
 */
function getFinalEffort({ effort, messages, model, thinking }: PromptWithThinking): string | undefined {
  let now = effort;
  let next = effort;
  for (const [index, message] of messages.entries()) {
    if (isNewInput(message)) now = next;
    const { effort: changed } = message;
    if (changed === undefined) continue;
    requireSupportedEffort(changed, model);
    const before = next ?? model.default_effort ?? 'high';
    if (model.thinking && thinking.type === 'disabled' && changed !== before) {
      throw createInvalidRequestError(
        `messages.${index}: output_config.effort '${changed}' differs from the '${before}' in effect before it; effort cannot change when thinking is disabled on this model.`,
      );
    }
    next = changed;
    if (isNewInput(messages[index - 1])) now = changed;
  }
  return now;
}

/** @returns whether a message is input of the user that is more than results of tools */
function isNewInput(message: RequestMessage | undefined): boolean {
  return message?.role === 'user' && message.blocks.some(({ type }) => type !== 'tool_result');
}

/** @returns whether the last message begins the answer. What a paused turn ends with does not. */
function hasAssistantPrefill(messages: readonly RequestMessage[]): boolean {
  const last = messages.findLast(({ role }) => role !== 'system');
  const block = last?.blocks.at(-1);
  return last?.role === 'assistant' && !isServerToolBlock(block) && block?.type !== 'compaction';
}

function requireSupportedPrefill(
  messages: readonly RequestMessage[],
  thinking: ThinkingConfig,
  model: SimulatedModel,
): void {
  if (!hasAssistantPrefill(messages)) return;
  if (rejectsFeature(model, 'prefill')) {
    throw createInvalidRequestError(
      'This model does not support assistant message prefill. The conversation must end with a user message.',
    );
  }
  if (model.thinking && thinking.type !== 'disabled') {
    throw createInvalidRequestError(
      'messages: the final `assistant` message cannot be prefilled when thinking is enabled.',
    );
  }
}

/** @returns the blocks of messages, and those in their content, as errors name them */
function listNestedBlocksWithPaths(messages: readonly RequestMessage[]): { block: JsonObject; path: string }[] {
  return messages.flatMap(({ blocks }, message) =>
    blocks.flatMap((block, index) => {
      const path = `messages.${message}.content.${index}`;
      const inner = filterObjects(block.content).map((one, at) => ({ block: one, path: `${path}.content.${at}` }));
      return [{ block, path }, ...inner];
    }),
  );
}

function listNestedBlocks(messages: readonly RequestMessage[]): JsonObject[] {
  return listNestedBlocksWithPaths(messages).map(({ block }) => block);
}

/**
 * In a request with more images than this, the longest side is lower:
 * https://platform.claude.com/docs/en/build-with-claude/vision.md
 */
const IMAGE_COUNT_THRESHOLD = 20;
const MAX_SIDE_OF_MANY_IMAGES = 2_000;

function requireImagesWithinLimits(
  messages: readonly RequestMessage[],
  { max_input_tokens, thinking }: SimulatedModel,
): void {
  const images = listNestedBlocksWithPaths(messages).filter(({ block }) => block.type === 'image');
  const most = thinking && max_input_tokens <= 200_000 ? 100 : 600;
  if (images.length > most)
    throw createInvalidRequestError(`messages: at most ${most} images are allowed, not ${images.length}`);
  const pages = listNestedBlocks(messages).reduce((sum, { source }) => sum + countSourcePages(source), 0);
  if (pages > most) throw createInvalidRequestError(`messages: A maximum of ${most} PDF pages may be provided.`);
  if (images.length > IMAGE_COUNT_THRESHOLD)
    for (const { block, path } of images) requireImageSideWithin(block, path, MAX_SIDE_OF_MANY_IMAGES);
}

function countSourcePages(source: Json | undefined): number {
  const isPdf = isJsonObject(source) && source.type === 'base64' && source.media_type === 'application/pdf';
  return isPdf && typeof source.data === 'string' ? countPdfPages(source.data) : 0;
}

function validateOutputFormat({ outputSchema, messages }: ValidatedPrompt): void {
  if (outputSchema === undefined) return;
  if (hasAssistantPrefill(messages))
    throw createInvalidRequestError('output_config.format: not supported with assistant message prefill.');
  if (listNestedBlocks(messages).some(({ citations }) => isJsonObject(citations) && citations.enabled === true)) {
    throw createInvalidRequestError('output_config.format: not supported with citations.');
  }
}

/** Rejects documents, or search results, of which only some may be cited. */
function requireConsistentCitations(messages: readonly RequestMessage[]): void {
  const blocks = listNestedBlocks(messages);
  for (const [kind, name] of [
    ['document', 'documents'],
    ['search_result', 'search results'],
  ]) {
    const sources = blocks.filter(({ type }) => type === kind);
    const cited = sources.filter(({ citations }) => isJsonObject(citations) && citations.enabled === true);
    if (cited.length === 0 || cited.length === sources.length) continue;
    throw createInvalidRequestError(
      `messages: citations must be enabled on all or none of the ${name} within a request.`,
    );
  }
}

type PromptWithThinking = ValidatedPrompt & { thinking: ThinkingConfig; effort: string | undefined };

/**
 * Checks that the model supports a prompt.
 *
 * @param compacts whether it requests a summary; then the last message may be the assistant's
 * @returns the effort of its answer
 * @throws ApiError 400 in the API's words
 */
export function validatePromptForModel(
  prompt: PromptWithThinking,
  { models, protocol }: { models: readonly SimulatedModel[]; protocol: RequestProtocol },
  compacts: boolean,
): string | undefined {
  const { tools, model, messages, thinking } = prompt;
  requireSupportedTools(tools, model, models);
  validateSystemMessages(messages, model, protocol);
  if (!compacts) requireSupportedPrefill(messages, thinking, model);
  requireImagesWithinLimits(messages, model);
  validateOutputFormat(prompt);
  requireConsistentCitations(messages);
  return getFinalEffort(prompt);
}

/** Rejects options of an answer in a request without one (`max_tokens: 0`). */
export function rejectAnswerOptionsForZeroTokens(
  body: JsonObject,
  { thinking, outputSchema }: PromptWithThinking,
  choice: string,
): void {
  const wanted = {
    stream: body.stream === true,
    'thinking.enabled': thinking.type === 'enabled',
    'output_config.format': outputSchema !== undefined,
    tool_choice: choice === 'any' || choice === 'tool',
  };
  const [refused] = Object.entries(wanted).find(([, isAsked]) => isAsked) ?? [];
  if (refused !== undefined) throw createInvalidRequestError(`max_tokens: 0 cannot be combined with \`${refused}\`.`);
}

/** Rejects what messages may have, and items of batches not. */
export function rejectUnsupportedBatchParams(params: JsonObject): void {
  for (const name of ['speed', 'fallbacks']) {
    if ((params[name] ?? null) !== null) throw createInvalidRequestError(`${name}: not supported in message batches`);
  }
  if (params.max_tokens === 0) throw createInvalidRequestError('max_tokens: 0 is not supported in message batches');
}
