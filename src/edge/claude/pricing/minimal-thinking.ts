import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { type Effort, getModelLifecycle, type Model, type ModelTable } from '../models/models.ts';
import { toValidCountOrZero } from './cost.ts';

/** How a request has a model answer with as little thinking as possible. */
export interface MinimalThinking {
  /** The request's `thinking`; undefined if it has none. */
  thinking: { type: string } | undefined;
  /** The effort that it requests; undefined if it names none. */
  effort: Effort | undefined;
  /** Whether the model may think anyway, and so needs more tokens. */
  mayThink: boolean;
}

/** @returns how a request for this model leaves thinking out. A model that is not in the table may think. */
export function getMinimalThinking(row: Model | undefined): MinimalThinking {
  const rules = row?.thinking;
  if (rules?.default === 'off') return { thinking: undefined, effort: undefined, mayThink: false };
  const type = rules?.types.find(isThinkingOff);
  return type === undefined
    ? { thinking: undefined, effort: row?.efforts[0], mayThink: true }
    : { thinking: { type }, effort: undefined, mayThink: false };
}

export function isThinkingOff(type: unknown): boolean {
  return type === 'disabled' || type === 'between_tools';
}

const NAMED_MODELS = 3;

/** @returns the cheapest models that answer without thinking, in words for a caller */
export function describeNonThinkingModels({ rows }: ModelTable): string {
  const fit = rows.filter((row) => !getMinimalThinking(row).mayThink && getModelLifecycle(row) === 'active');
  const cheapest = fit.sort((left, right) => left.prices.input - right.prices.input).slice(0, NAMED_MODELS);
  return cheapest.map(({ id }) => id).join(', ');
}

/** The least tokens of an answer that are of use: for a text alone, and for one after thinking, by effort. */
export const TEXT_TOKENS = 256;
const TEXT_TOKENS_BY_EFFORT: Readonly<Record<string, number>> = { low: 1_024, medium: 2_048, high: 4_096 };
const TOKENS_ABOVE = 8_192;

/**
 * @param row undefined for an unknown model: it is assumed to think only if the request enables thinking
 * @param asked the fields of the request that determine its thinking
 * @returns the fewest `max_tokens` that leave tokens for text
 */
export function computeMinTokensForText(
  row: Model | undefined,
  { thinking, output_config: config }: JsonObject,
): number {
  const { type = row?.thinking?.default ?? 'off', budget_tokens } = isObject(thinking) ? thinking : {};
  if (type === 'enabled') return toValidCountOrZero(budget_tokens) + TEXT_TOKENS;
  if (type !== 'adaptive' && type !== 'always') return TEXT_TOKENS;
  const { effort } = isObject(config) ? config : {};
  return TEXT_TOKENS_BY_EFFORT[String(effort ?? row?.default_effort ?? 'high')] ?? TOKENS_ABOVE;
}
