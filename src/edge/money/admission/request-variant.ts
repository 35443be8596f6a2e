/** The forms in which a request can be sent: for each model that may answer it, with the body for that model. */

import { adaptRequestForModel } from '../../claude/pricing/adapt-for-model.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { findToolsWithSettableMaxUses, setMaxUsesOfTools } from '../../claude/request/max-uses.ts';
import { getJsonWithoutHistory } from '../../claude/request/request-body.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import type { BillingContext, RequestToBill } from './request-to-bill.ts';

/** A request as one model can answer it. A variant never changes: each function here returns another one. */
export interface RequestVariant {
  readonly body: JsonBody;
  /** The model as the Claude API names it: an alias is already resolved. */
  readonly model: string;
  /** The name by which the model was requested, if it is not the body's. */
  readonly nameOfModel?: string | undefined;
  /** The changes of the body for the model. */
  readonly changes: JsonObject;
  /** The model that was requested first; absent unless a fallback model has replaced it. */
  readonly originalModel?: string | undefined;
  /** The fallback models that are left, as the caller or the limits name them; absent until either has named them. */
  readonly fallbackModels?: readonly string[] | undefined;
  /** The maximum number of input tokens; null if the API counts no such prompt, absent if it was not counted. */
  readonly tokenCount?: number | null | undefined;
  /** Whether `tokenCount` is that of count_tokens, which omits the thinking of earlier responses. */
  readonly leavesOutThinking?: boolean | undefined;
  /** The positions of the tools whose uses may be limited, and the minimum number of uses of all tools. */
  readonly limitableTools?: { readonly positions: readonly number[]; readonly minUses: number } | undefined;
  /** The limit for which the uses of the API's own tools were lowered. */
  readonly loweredBy?: LoweredBy | undefined;
}

export function createFirstVariant({ body, model, fallbackModels, tokenCount }: RequestToBill): RequestVariant {
  return { body, model, fallbackModels, tokenCount, changes: {} };
}

/**
 * Finds the tools whose number of uses an account may limit. In a conversation there are none, because its cache and its
 * thinking depend on unchanged tools.
 */
export function withLimitableTools(
  { conversation }: Pick<BillingContext, 'conversation'>,
  variant: RequestVariant,
  { serverTools }: MaximumCost,
): RequestVariant {
  if (variant.limitableTools || serverTools?.leastUses === undefined) return variant;
  const positions = conversation === undefined ? findToolsWithSettableMaxUses(variant.body) : [];
  return { ...variant, limitableTools: { positions, minUses: serverTools.leastUses } };
}

/** @returns the minimum number of uses to which the API's own tools can be limited; undefined where they cannot be */
export function getMinToolUses(
  { limitableTools, loweredBy }: RequestVariant,
  { serverTools }: MaximumCost,
): number | undefined {
  // If a message adds a tool (`lacksMaxUses`), its `max_uses` cannot be changed. After the other tools were limited once,
  // limiting them further does not help.
  if (loweredBy && serverTools?.lacksMaxUses) return undefined;
  return limitableTools && limitableTools.positions.length > 0 ? limitableTools.minUses : undefined;
}

/** Limits the tools without `max_uses`, so that all tools together have at most the number of uses that the budget pays for. */
export function limitToolUses(
  variant: RequestVariant,
  { uses, loweredBy }: Extract<AdmissionDecision, { outcome: 'fewer_uses' }>,
): RequestVariant {
  const { positions, minUses } = variant.limitableTools ?? { positions: [], minUses: 0 };
  const max_uses = 1 + Math.floor((uses - minUses) / positions.length);
  return {
    ...variant,
    body: setMaxUsesOfTools(variant.body, positions, max_uses),
    loweredBy: { ...loweredBy, max_uses },
  };
}

/** @returns whether a fallback model is left that accepts the request */
export function hasFallbackModel(context: BillingContext, variant: RequestVariant): boolean {
  return findFallbackModel(context, variant) !== undefined;
}

/** @returns the variant for the next fallback model that accepts the request; undefined if there is none */
export async function createFallbackVariant(
  context: BillingContext,
  variant: RequestVariant,
): Promise<RequestVariant | undefined> {
  const found = findFallbackModel(context, variant);
  if (!found) return undefined;
  const { model } = found;
  return {
    ...variant,
    ...found,
    body: context.buildBodyForModel ? await context.buildBodyForModel(model) : variant.body,
    originalModel: variant.originalModel ?? variant.model,
    // Discard the count: it was made with the tokenizer of the model before. `null` stays, because it means that no upstream
    // can count.
    tokenCount: variant.tokenCount === null ? null : undefined,
  };
}

function findFallbackModel(
  { buildBodyForModel, settings: { models } }: BillingContext,
  { fallbackModels = [], body, model: present, originalModel = present }: RequestVariant,
): Required<Pick<RequestVariant, 'nameOfModel' | 'model' | 'changes' | 'fallbackModels'>> | undefined {
  for (const [index, nameOfModel] of fallbackModels.entries()) {
    const model = models.resolveAlias(nameOfModel);
    // `buildBodyForModel` builds Sluice's own requests separately for each model, so they need no adaptation.
    const row = buildBodyForModel ? undefined : models.findRow(model);
    const { changes, refused } = adaptRequestForModel(row, getJsonWithoutHistory(body), models.findRow(originalModel));
    if (model !== present && !refused)
      return { nameOfModel, model, changes, fallbackModels: fallbackModels.slice(index + 1) };
  }
  return undefined;
}
