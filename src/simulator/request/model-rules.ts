import { hasBeta } from './betas.ts';
import { invalidRequestError } from './errors.ts';
import { readRequiredList, readRequiredObject, readRequiredString } from './fields.ts';
import { checkImageSide } from './image-size.ts';
import { isObject, type Json, type JsonObject, jsonToText, objectItemsOf } from './json.ts';
import type { Prompt, Protocol, RequestMessage, Thinking } from './message-request.ts';
import { requireServingModel, type SimulatedModel } from './models.ts';

// What a model refuses, in the API's words. A model of which nothing is known refuses nothing.

/** Tells whether a model does not take something. */
export function rejectsFeature({ refuses = [] }: SimulatedModel, feature: string): boolean {
  return refuses.includes(feature);
}

export function checkEffort(effort: string | undefined, { efforts }: SimulatedModel): void {
  if (effort === undefined || efforts === undefined || efforts.includes(effort)) return;
  if (efforts.length === 0) throw invalidRequestError('This model does not support the effort parameter.');
  throw invalidRequestError(
    `This model does not support effort level '${effort}'. Supported levels: ${efforts.toSorted().join(', ')}.`,
  );
}

/** Checks a type of thinking that the API knows, beside the request's effort. */
export function checkThinkingType(type: string, effort: string | undefined, { thinking }: SimulatedModel): void {
  if (!thinking) return;
  const { types, off_efforts } = thinking;
  if (types.includes(type)) {
    const isOff = type === 'disabled' || type === 'between_tools';
    if (!isOff || effort === undefined || off_efforts.includes(effort)) return;
    throw invalidRequestError(
      `output_config.effort '${effort}' is not supported when thinking is disabled on this model. Use effort 'high' or below, or enable thinking.`,
    );
  }
  if (type === 'adaptive') throw invalidRequestError('adaptive thinking is not supported on this model');
  if (type === 'between_tools')
    throw invalidRequestError('"thinking.type.between_tools" is not supported for this model.');
  throw invalidRequestError(
    type === 'disabled' && types.includes('between_tools')
      ? 'To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead of {"type": "disabled"}. It leaves out the thinking before an answer. Notes between calls of tools stay.'
      : `"thinking.type.${type}" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`,
  );
}

export function checkModelSampling(
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
  if (refused) throw invalidRequestError(`\`${refused[0]}\` is deprecated for this model.`);
  if (model.thinking && temperature !== undefined && topP !== undefined) {
    throw invalidRequestError('temperature and top_p cannot both be specified for this model. Please use only one.');
  }
}

/** @returns the speed of the answer */
export function decideSpeed(
  effort: string | undefined,
  model: SimulatedModel,
  protocol: Protocol,
  now: number,
): string | undefined {
  const { fast, fast_until, thinking } = model;
  if (effort !== 'fast' || !thinking) return effort;
  if (fast === 'standard') return fast;
  const hasEnded = fast_until ? Date.parse(fast_until) <= now : false;
  if (fast === undefined || hasEnded) throw invalidRequestError('speed: fast mode is not supported for this model.');
  if (fast !== 'beta' || hasBeta(protocol, 'fast-mode-2026-02-01')) return effort;
  throw invalidRequestError('speed: fast mode of this model requires anthropic-beta: fast-mode-2026-02-01');
}

/** @returns the models that answer what the first one refuses */
export function readFallbacks(
  value: Json | undefined,
  model: SimulatedModel,
  { models, now }: { models: readonly SimulatedModel[]; now: number },
): SimulatedModel[] {
  if (value === undefined || value === null) return [];
  const takesAny = !rejectsFeature(model, 'fallbacks');
  // What Claude would choose itself is not known: here it is the next one of its table.
  if (value === 'default') return takesAny ? models.filter((one) => one.id !== model.id).slice(0, 1) : [];
  if (!takesAny) throw invalidRequestError('fallbacks: not supported for this model.');
  const list = readRequiredList(value, 'fallbacks');
  if (list.length > 3)
    throw invalidRequestError(`fallbacks: List should have at most 3 items after validation, not ${list.length}`);
  return list.map((entry, index) => {
    const path = `fallbacks.${index}`;
    return requireServingModel(models, readRequiredString(readRequiredObject(entry, path).model, `${path}.model`), now);
  });
}

function checkTools(tools: readonly JsonObject[], model: SimulatedModel, models: readonly SimulatedModel[]): void {
  for (const [index, { type, model: advisor }] of tools.entries()) {
    if (model.refused_tools?.includes(jsonToText(type))) {
      throw invalidRequestError(
        `'${model.id}' does not support tool types: ${type}. Did you mean one of 'computer_toolset_20260801'?`,
      );
    }
    if (!jsonToText(type).startsWith('advisor_')) continue;
    const { id = '' } = models.find((one) => one.id === advisor || one.aliases?.includes(jsonToText(advisor))) ?? {};
    if (model.refused_advisors?.includes(id)) {
      throw invalidRequestError(`tools.${index}.model: '${id}' cannot advise '${model.id}'.`);
    }
  }
}

function isServerToolBlock(block: JsonObject | undefined): boolean {
  return /^(?!tool_).*(?:_tool_result|_tool_use)$/.test(jsonToText(block?.type));
}

function checkSystemMessages(messages: readonly RequestMessage[], model: SimulatedModel, protocol: Protocol): void {
  for (const [index, { role, effort }] of messages.entries()) {
    if (role !== 'system') continue;
    const path = `messages.${index}`;
    if (effort !== undefined && rejectsFeature(model, 'effort')) {
      throw invalidRequestError(
        'output_config.effort requires a model that supports per-turn effort; this model does not',
      );
    }
    const lacksBeta = rejectsFeature(model, 'plain_system') && !hasBeta(protocol, 'mid-conversation-system-2026-04-07');
    if (rejectsFeature(model, 'system') || lacksBeta)
      throw invalidRequestError(`${path}.role: 'system' is not supported for this model.`);
    const before = messages[index - 1];
    const isBehind =
      before?.role === 'user' || (before?.role === 'assistant' && isServerToolBlock(before.blocks.at(-1)));
    if (!isBehind || (messages[index + 1]?.role ?? 'assistant') !== 'assistant') {
      throw invalidRequestError(
        `${path}: a \`system\` message must follow a \`user\` message, and be the last or before an \`assistant\` message.`,
      );
    }
  }
}

/** Checks the efforts within the messages. @returns the one of the answer */
function finalEffortOf({ effort, messages, model, thinking }: ThinkingPrompt): string | undefined {
  let now = effort;
  for (const [index, { effort: next }] of messages.entries()) {
    if (next === undefined) continue;
    checkEffort(next, model);
    const before = now ?? model.default_effort ?? 'high';
    if (model.thinking && thinking.type === 'disabled' && next !== before) {
      throw invalidRequestError(
        `messages.${index}: output_config.effort '${next}' differs from the '${before}' in effect before it; effort cannot change when thinking is disabled on this model.`,
      );
    }
    now = next;
  }
  return now;
}

/** @returns whether the last message begins the answer. What a paused turn ends with does not. */
function hasPrefill(messages: readonly RequestMessage[]): boolean {
  const last = messages.findLast(({ role }) => role !== 'system');
  const block = last?.blocks.at(-1);
  return last?.role === 'assistant' && !isServerToolBlock(block) && block?.type !== 'compaction';
}

function checkPrefill(messages: readonly RequestMessage[], thinking: Thinking, model: SimulatedModel): void {
  if (!hasPrefill(messages)) return;
  if (rejectsFeature(model, 'prefill')) {
    throw invalidRequestError(
      'This model does not support assistant message prefill. The conversation must end with a user message.',
    );
  }
  if (model.thinking && thinking.type !== 'disabled') {
    throw invalidRequestError('messages: the final `assistant` message cannot be prefilled when thinking is enabled.');
  }
}

function listBlocks(messages: readonly RequestMessage[]): JsonObject[] {
  return messages.flatMap(({ blocks }) => blocks.flatMap((block) => [block, ...objectItemsOf(block.content)]));
}

/** Images of many in a request may have this side, in pixels. */
const IMAGE_COUNT_THRESHOLD = 20;
const MAX_SIDE_OF_MANY_IMAGES = 2_000;

function checkImages(messages: readonly RequestMessage[], { max_input_tokens, thinking }: SimulatedModel): void {
  const images = listBlocks(messages).filter(({ type }) => type === 'image');
  const most = thinking && max_input_tokens <= 200_000 ? 100 : 600;
  if (images.length > most)
    throw invalidRequestError(`messages: at most ${most} images are allowed, not ${images.length}`);
  if (images.length > IMAGE_COUNT_THRESHOLD)
    for (const image of images) checkImageSide(image, 'messages', MAX_SIDE_OF_MANY_IMAGES);
}

function checkFormat({ outputSchema, messages }: Prompt): void {
  if (outputSchema === undefined) return;
  if (hasPrefill(messages))
    throw invalidRequestError('output_config.format: not supported with assistant message prefill.');
  if (listBlocks(messages).some(({ citations }) => isObject(citations) && citations.enabled === true)) {
    throw invalidRequestError('output_config.format: not supported with citations.');
  }
}

/** Refuses documents of which only some may be cited. */
function checkCitations(messages: readonly RequestMessage[]): void {
  const documents = listBlocks(messages).filter(({ type }) => type === 'document');
  const cited = documents.filter(({ citations }) => isObject(citations) && citations.enabled === true);
  if (cited.length === 0 || cited.length === documents.length) return;
  throw invalidRequestError('messages: citations must be enabled on all or none of the documents within a request.');
}

type ThinkingPrompt = Prompt & { thinking: Thinking; effort: string | undefined };

/**
 * Checks a prompt by what its model takes.
 *
 * @param compacts whether it asks for a summary, which may end with an answer
 * @returns the effort of its answer
 * @throws ApiError 400 in the API's words
 */
export function checkByModel(
  prompt: ThinkingPrompt,
  { models, protocol }: { models: readonly SimulatedModel[]; protocol: Protocol },
  compacts: boolean,
): string | undefined {
  const { tools, model, messages, thinking } = prompt;
  checkTools(tools, model, models);
  checkSystemMessages(messages, model, protocol);
  if (!compacts) checkPrefill(messages, thinking, model);
  checkImages(messages, model);
  checkFormat(prompt);
  checkCitations(messages);
  return finalEffortOf(prompt);
}

/** Checks that a request without an answer asks for none of what an answer would have. */
export function checkNoAnswer(body: JsonObject, { thinking, outputSchema }: ThinkingPrompt, choice: string): void {
  const wanted = {
    stream: body.stream === true,
    'thinking.enabled': thinking.type === 'enabled',
    'output_config.format': outputSchema !== undefined,
    tool_choice: choice === 'any' || choice === 'tool',
  };
  const [refused] = Object.entries(wanted).find(([, isAsked]) => isAsked) ?? [];
  if (refused !== undefined) throw invalidRequestError(`max_tokens: 0 cannot be combined with \`${refused}\`.`);
}

/** Refuses what messages may have, and items of batches not. */
export function checkBatchItem(params: JsonObject): void {
  for (const name of ['speed', 'fallbacks']) {
    if ((params[name] ?? null) !== null) throw invalidRequestError(`${name}: not supported in message batches`);
  }
  if (params.max_tokens === 0) throw invalidRequestError('max_tokens: 0 is not supported in message batches');
}
