/** Finds out the most that a request can cost with one model: by its body, and by a count of its prompt. */
import { type CountOptions, canAnyUpstreamCountTokens, countTokens } from '../../claude/count-tokens.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { ModelTable } from '../../claude/models/models.ts';
import { describeChanges } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import { NO_FEATURES } from '../../claude/pricing/prompt-features.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import { createUpstreamBody } from '../../claude/request/upstream-body.ts';
import { findUpstreams } from '../../claude/upstreams/pool.ts';
import { getModelTableWithHighestPrices } from '../../claude/upstreams/prices.ts';
import { type JsonBody, RELEASED_BODY } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { parseCommaList } from '../../kit/http/headers/comma-list.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { getBodySize } from '../../kit/http/read-json.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { getMaxThinkingShare } from './attempt-settlement.ts';
import type { BillingContext } from './request-to-bill.ts';
import type { RequestVariant } from './request-variant.ts';

/** A count of a request's prompt. */
export interface PromptCount {
  /** Null if the API counts no such prompt. */
  tokens: number | null;
  /** Whether it leaves out what earlier answers have thought, as that of count_tokens does. */
  leavesOutThinking: boolean;
}

/** Computes the maximum cost of a variant, and the terms by which it is settled. @param models the prices of `getHoldPrices` */
export function computeMaximumCostAndTerms(
  { headers, settings, streams = false }: CountableContext,
  { body, model, nameOfModel, changes }: CountableVariant,
  models: ModelTable,
  counted?: PromptCount,
): { maximumCost: MaximumCost; terms: SettlementTerms } {
  const { ownJson: own, before } = body instanceof RequestBody ? body : { ownJson: body.json, before: NO_FEATURES };
  // If it is not known where keys are repeated, they may be repeated anywhere in the body. Null: no key is repeated.
  const { readings = body } = body;
  const nameInBody = typeof own.model === 'string' ? own.model : model;
  const { maximumCost, terms } = computeMaximumCost(
    { ...own, ...changes, model },
    {
      bytes: getBodySize(body),
      readings: readings ?? undefined,
      // Pass a bound method. An arrow function created here would keep `body`, and with it the whole request, in memory until
      // the response has ended.
      lengthOf: body instanceof LongStringBody ? body.getStringByteLength.bind(body) : undefined,
      models,
      betas: parseBetas(headers),
      asked: nameOfModel ?? nameInBody,
      before,
      thinkingShare: getMaxThinkingShare({ settings, model }),
      ...(counted && { count: counted.tokens, leavesOutThinking: counted.leavesOutThinking }),
    },
  );
  return { maximumCost, terms: { ...terms, streams: terms.streams || streams } };
}

/**
 * @returns the prices by which a request is held: the highest of all upstreams that may answer it
 * @throws NoUpstreamError if none can
 */
export function getHoldPrices(
  { settings, upstream: { pool }, headers, streams = false, routing = { streams } }: CountableContext,
  model: string,
): ModelTable {
  if (!pool) return settings.models;
  return getModelTableWithHighestPrices(
    settings,
    findUpstreams(pool, new RoutableMessagesCall(headers), { ...routing, model }),
  );
}

/**
 * The cost from which an unreported prompt is counted. A cheaper one is not worth the call, which takes up to three seconds.
 */
const MIN_COST_TO_COUNT: Nanodollars = 10_000_000;

/** @returns whether to count the prompt of a request to which no response has arrived */
export function isPromptWorthCounting({ countable }: MaximumCost, { promptCost }: SettlementTerms): boolean {
  return countable && promptCost >= MIN_COST_TO_COUNT;
}

type CountableContext = Pick<BillingContext, 'headers' | 'settings' | 'upstream' | 'streams' | 'routing'>;
type CountableVariant = Pick<RequestVariant, 'body' | 'model' | 'nameOfModel' | 'changes'>;

/**
 * Counts the prompt of a request whose process died before anything of the response arrived.
 *
 * @returns the maximum number of its tokens; undefined if it is not counted
 */
export async function countLostPrompt(
  context: CountableContext,
  { body, model }: Pick<RequestVariant, 'body' | 'model'>,
): Promise<number | undefined> {
  const variant: RequestVariant = { body, model, changes: {} };
  const { maximumCost, terms } = computeMaximumCostAndTerms(context, variant, getHoldPrices(context, model));
  if (!isPromptWorthCounting(maximumCost, terms)) return undefined;
  return (await countUnansweredPrompt(context, variant))?.promptTokens;
}

/**
 * Counts the prompt of an attempt without a response, which would be booked by its bytes.
 *
 * @returns `count` as in a variant, by which later attempts are held, and the maximum number of tokens of the prompt; undefined
 *   where nothing is counted
 */
export async function countUnansweredPrompt(
  context: CountableContext,
  variant: RequestVariant,
): Promise<{ count: number | null; promptTokens: number | undefined } | undefined> {
  const { tokenCount, body, model, changes } = variant;
  const { settings, upstream, routing } = context;
  // Skip counting if the prompt was counted before, or if the body was released meanwhile.
  if (tokenCount !== undefined || body === RELEASED_BODY || !canAnyUpstreamCountTokens({ settings, upstream, model }))
    return undefined;
  const models = getHoldPrices(context, model);
  // Count without the caller's signal: the caller may have disconnected, and the prompt must be counted anyway.
  const tokens = await countInputTokensAtUpstream(
    { ...context, body, model, requiredUpstream: routing?.requiredUpstream, signal: undefined },
    changes,
  ).catch(() => null);
  if (tokens === null) return { count: null, promptTokens: undefined };
  const { terms } = computeMaximumCostAndTerms(context, variant, models, { tokens, leavesOutThinking: true });
  return { count: tokens, promptTokens: terms.promptTokens };
}

/**
 * A call for which upstreams say whether they can take it. It is a class, because object literals with a getter stay in
 * memory until a full garbage collection.
 */
class RoutableMessagesCall {
  readonly method = 'POST';
  readonly path = '/v1/messages';
  readonly #headers: BillingContext['headers'];

  constructor(headers: BillingContext['headers']) {
    this.#headers = headers;
  }

  /**
   * Copies the headers only when they are read: few kinds of upstream do, and the copy costs more than the rest of the
   * choice.
   */
  get headers(): PlainHeaders {
    return this.#headers instanceof Headers ? Object.fromEntries(this.#headers) : this.#headers;
  }
}

function parseBetas(headers: Headers | PlainHeaders): string[] {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  return parseCommaList(betas ?? '');
}

interface CountableRequest extends CountOptions {
  /** The body as it will be sent. */
  body: JsonBody;
  /** The model as the Claude API names it: an alias is already resolved. */
  model: string;
}

/** The fields of a Messages request that count_tokens accepts; it rejects all others. */
const COUNTED_FIELDS: ReadonlySet<string> = new Set([
  'messages',
  'model',
  'system',
  'tools',
  'tool_choice',
  'thinking',
  'output_config',
  'output_format',
  'cache_control',
  'context_management',
  'mcp_servers',
  'speed',
]);

/**
 * Asks the upstream to count the input.
 *
 * @param changed the members that are sent in another form than in the body
 * @returns the number of tokens; null if the upstream does not count it
 * @throws ApiError 429 if the upstream limits the deployment, and when the caller has left
 */
export async function countInputTokensAtUpstream(
  request: CountableRequest,
  changed: JsonObject,
): Promise<number | null> {
  const { body, model } = request;
  const rest = Object.keys(body.json).filter((key) => !COUNTED_FIELDS.has(key));
  const changes = describeChanges({ ...changed, ...Object.fromEntries(rest.map((key) => [key, undefined])) });
  if (body.json.model !== model) changes.model = JSON.stringify(model);
  try {
    return await countTokens((more) => createUpstreamBody(body, { ...changes, ...more }), {
      ...request,
      isForAdmission: true,
    });
  } catch (thrown) {
    if (!(thrown instanceof ApiError) || thrown.status === 429 || request.signal?.aborted) throw thrown;
    return null;
  }
}
