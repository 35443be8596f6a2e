/** Decides what becomes of a request on the way to a model that its caller did not name. No I/O. */

import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import {
  EFFORTS,
  type Effort,
  type Model,
  type ModelTable,
  supportsFastMode,
  THINKING_TYPES,
} from '../models/models.ts';
import { computeMinTokensForText, isThinkingOff, TEXT_TOKENS } from './minimal-thinking.ts';

const MIN_THINKING_BUDGET = 1_024;
const DISPLAYS: ReadonlySet<unknown> = new Set(['summarized', 'omitted', undefined, null]);

/**
 * Adapts a request to a model. `thinking` becomes the nearest kind that the model supports, an effort the highest supported one
 * that is not above it; nothing else is changed.
 *
 * @param row undefined for an unknown model: its requests are not changed
 * @param from the original model: thinking that only the new model adds needs tokens
 * @param keepsEffort whether an effort is rejected that would be changed, or that no model has
 * @returns the members that are changed; and what the model refuses of the others, with what it takes
 */
export function adaptRequestForModel(
  row: Model | undefined,
  body: JsonObject,
  from = row,
  keepsEffort = false,
  now = Date.now(),
): { changes: JsonObject; refused?: { member: string; reason: string } | undefined } {
  if (!row?.thinking) return { changes: {} };
  const { types, default: byDefault, off_efforts } = row.thinking;
  const { thinking, output_config: config, tool_choice: choice, temperature, top_p, top_k, speed, messages } = body;
  const most = typeof body.max_tokens === 'number' ? body.max_tokens : row.max_tokens;
  const near = findNearestThinking(types, thinking, Math.min(computeMinTokensForText(from, body), most - TEXT_TOKENS));
  const changes: JsonObject = near === thinking ? {} : { thinking: near };
  const type = isObject(near) ? near.type : byDefault;
  const isOff = isThinkingOff(type);
  const thinks = !isOff && type !== 'off';
  const { effort, format = body.output_format } = isObject(config) ? config : {};
  const efforts = isOff ? off_efforts : row.efforts;
  const level = EFFORTS.indexOf(effort as Effort);
  const isLower = level >= 0 && !efforts.includes(effort as Effort);
  const lower = efforts.findLast((one) => EFFORTS.indexOf(one) < level);
  if (isLower) changes.output_config = { ...(config as JsonObject), effort: lower };

  const rejectsParameter = (parameter: Model['refuses'][number]) => row.refuses.includes(parameter);
  const forces = isObject(choice) && (choice.type === 'any' || choice.type === 'tool');
  const least = rejectsParameter('sampling') ? 0.99 : thinks ? 0.95 : 0;
  const highest = rejectsParameter('top_p_1') ? 0.99 : 1;
  const isWithin = !isSpecified(temperature) && Number(top_p) >= least && Number(top_p) <= highest;
  const needed = computeMinTokensForText(row, { ...body, ...changes });
  // When a thinking budget replaces an effort, `max_tokens` must also leave tokens for text.
  const comesIn =
    (row !== from && computeMinTokensForText(from, body) === TEXT_TOKENS) || (near !== thinking && type === 'enabled');
  const refusals: [boolean, member: string, reason: string][] = [
    [
      keepsEffort && (isLower || (isSpecified(effort) && level < 0)),
      'output_config.effort',
      efforts.join(', ') || 'none',
    ],
    [forces && (!row.forced_tools || type === 'enabled'), 'tool_choice', 'auto and none'],
    [
      hasPrefill(messages) && (thinks || rejectsParameter('prefill')),
      'messages',
      'messages that end with a user message',
    ],
    [least > 0 && (temperature ?? 1) !== 1, 'temperature', '1'],
    [isSpecified(top_p) && !isWithin, 'top_p', `${least} to ${highest}, without a temperature`],
    [least > 0 && isSpecified(top_k), 'top_k', 'none'],
    [(speed ?? 'standard') !== 'standard' && !supportsFastMode(row, now), 'speed', 'standard'],
    [isSpecified(format) && !row.structured_output, 'output_config.format', 'none'],
    [thinks && comesIn && most < needed, 'max_tokens', `${needed} or more with thinking`],
  ];
  const refused = refusals.find(([isRefused]) => isRefused);
  return { changes, refused: refused && { member: refused[1], reason: refused[2] } };
}

/**
 * Checks a stored resource against every model with which it can be used. Resources that were stored earlier are used without
 * this check.
 *
 * @param names the models, as the deployment calls them; first its own, undefined if it has none
 * @throws ApiError 400 that names a member, a model that rejects it, and what that takes
 */
export function rejectUnsupportedParameters(
  models: ModelTable,
  names: readonly (string | undefined)[],
  body: JsonObject,
): void {
  const rows = names.map((name) => (name === undefined ? undefined : models.findRow(name)));
  for (const row of rows) {
    const { refused } = adaptRequestForModel(row, body, rows[0], true);
    if (row && refused)
      throw createInvalidRequestError(
        `${refused.member}: this value is not supported by ${row.id} (supported: ${refused.reason}). Change it, or use another model.`,
      );
  }
}

export function describeChanges(changes: JsonObject): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, JSON.stringify(value)]));
}

/** @returns what is nearest to a request's `thinking`. @param budget how much it may think where that must be said */
function findNearestThinking(types: readonly string[], thinking: unknown, budget: number): unknown {
  if (!isObject(thinking)) return thinking;
  const { type, display } = thinking;
  const isKnown = DISPLAYS.has(display);
  if (types.includes(String(type)) || !THINKING_TYPES.some((one) => one === type)) {
    const { display: _, ...others } = thinking;
    return isKnown ? thinking : others;
  }
  const near = types.find((one) => isThinkingOff(one) === isThinkingOff(type)) ?? types[0];
  return {
    type: near,
    ...(near === 'enabled' && { budget_tokens: Math.max(MIN_THINKING_BUDGET, budget) }),
    ...(!isThinkingOff(near) && isKnown && { display }),
  };
}

function isSpecified(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** @returns whether the last message begins the answer. Any model may continue after a result of the API's own tools. */
function hasPrefill(messages: unknown): boolean {
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : undefined;
  if (!isObject(last) || last.role !== 'assistant') return false;
  const block: unknown = Array.isArray(last.content) ? last.content.at(-1) : undefined;
  return !(isObject(block) && String(block.type).endsWith('_tool_result'));
}
