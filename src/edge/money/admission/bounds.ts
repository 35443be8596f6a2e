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
import type { RequestToAdmit } from './metered-request.ts';
import { getMaxThinkingShare } from './request-meter.ts';

/** How a request goes up for one of its models. */
interface RequestVariantForModel {
  /** The name by which the model was asked for, if it is not the body's. */
  nameOfModel: string | undefined;
  /** What is changed of the body for the model. */
  changes: JsonObject;
  /** The prices of `getHoldPrices`. */
  models: ModelTable;
}

/** A count of a request's prompt. */
export interface PromptCount {
  /** Null if the API counts no such prompt. */
  tokens: number | null;
  /** Whether it leaves out what earlier answers have thought, as that of count_tokens does. */
  leavesOutThinking: boolean;
}

/** @returns the most that a request can cost with its present model, and what it is settled by */
export function computeMaximumCostAndTerms(
  {
    body,
    model,
    headers,
    settings,
    streams = false,
  }: Pick<UnansweredRequest, 'body' | 'model' | 'headers' | 'settings' | 'streams'>,
  { nameOfModel, changes, models }: RequestVariantForModel,
  counted?: PromptCount,
): { worstCase: MaximumCost; terms: SettlementTerms } {
  const { ownJson: own, before } = body instanceof RequestBody ? body : { ownJson: body.json, before: NO_FEATURES };
  const { readings = body } = body;
  const nameInBody = typeof own.model === 'string' ? own.model : model;
  const { maximumCost: worstCase, terms } = computeMaximumCost(
    { ...own, ...changes, model },
    {
      bytes: getBodySize(body),
      readings: readings ?? undefined,
      // A bound method, because an arrow function made here would keep the body in memory until the answer has ended.
      lengthOf: body instanceof LongStringBody ? body.getStringByteLength.bind(body) : undefined,
      models,
      betas: parseBetas(headers),
      asked: nameOfModel ?? nameInBody,
      before,
      thinkingShare: getMaxThinkingShare({ settings, model }),
      ...(counted && { count: counted.tokens, leavesOutThinking: counted.leavesOutThinking }),
    },
  );
  return { worstCase, terms: { ...terms, streams: terms.streams || streams } };
}

/**
 * @returns the prices by which a request is held: the dearest of all upstreams that may answer it
 * @throws NoUpstreamError if none can
 */
export function getHoldPrices({
  settings,
  upstream: { pool },
  model,
  headers,
  streams = false,
  routing = { streams },
}: Pick<UnansweredRequest, 'settings' | 'upstream' | 'model' | 'headers' | 'streams' | 'routing'>): ModelTable {
  if (!pool) return settings.models;
  return getModelTableWithHighestPrices(
    settings,
    findUpstreams(pool, new RoutableMessagesCall(headers), { ...routing, model }),
  );
}

/** From what a prompt can cost on, it is counted where nobody has told what it has: a count takes up to three seconds. */
const MIN_COST_TO_COUNT: Nanodollars = 10_000_000;

/** @returns whether a prompt is counted that nobody has answered */
export function isPromptWorthCounting({ countable }: MaximumCost, { promptCost }: SettlementTerms): boolean {
  return countable && promptCost >= MIN_COST_TO_COUNT;
}

/** What is needed of a request to count its prompt. */
export type UnansweredRequest = Pick<RequestToAdmit, 'body' | 'model' | 'headers' | 'settings' | 'upstream'> &
  Partial<Pick<RequestToAdmit, 'streams' | 'routing' | 'count' | 'leavesOutThinking'>>;

/**
 * Counts the prompt of a request whose process has died before anything of the answer came.
 *
 * @returns the most tokens that it has; undefined if it is not counted
 */
export async function countLostPrompt(request: UnansweredRequest): Promise<number | undefined> {
  const models = getHoldPrices(request);
  const { worstCase, terms } = computeMaximumCostAndTerms(request, { nameOfModel: undefined, changes: {}, models });
  if (!isPromptWorthCounting(worstCase, terms)) return undefined;
  return await countUnansweredPrompt(request, { nameOfModel: undefined, changes: {} });
}

/**
 * Counts the prompt of a try that nobody has answered: it would be booked by its bytes. Further tries are held by the count.
 *
 * @returns the most tokens that it has; undefined if they are not counted
 */
export async function countUnansweredPrompt(
  request: UnansweredRequest,
  { nameOfModel, changes }: Omit<RequestVariantForModel, 'models'>,
): Promise<number | undefined> {
  // The body may be released meanwhile.
  const { count, body, model, headers, settings, streams, routing } = request;
  if (count !== undefined || body === RELEASED_BODY || !canAnyUpstreamCountTokens(request)) return undefined;
  const models = getHoldPrices(request);
  // The caller may have left.
  const tokens = await countInputTokensAtUpstream(
    { ...request, signal: undefined, only: routing?.only },
    changes,
  ).catch(() => null);
  request.count = tokens;
  request.leavesOutThinking = true;
  if (tokens === null) return undefined;
  const counted = { tokens, leavesOutThinking: true };
  return computeMaximumCostAndTerms(
    { body, model, headers, settings, streams },
    { nameOfModel, changes, models },
    counted,
  ).terms.promptTokens;
}

/**
 * A call for which upstreams say whether they can take it. It is a class, because object literals with a getter stay in
 * memory until a full garbage collection.
 */
class RoutableMessagesCall {
  readonly method = 'POST';
  readonly path = '/v1/messages';
  readonly #headers: RequestToAdmit['headers'];

  constructor(headers: RequestToAdmit['headers']) {
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
  /** The body as it will go up. */
  body: JsonBody;
  /** The upstream's id of the model. */
  model: string;
}

/** The fields of a Messages request that count_tokens accepts; it refuses all others. */
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
 * @param changed the members that go up in another form than in the body
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
    return await countTokens((more) => createUpstreamBody(body, { ...changes, ...more }), { ...request, admits: true });
  } catch (thrown) {
    if (!(thrown instanceof ApiError) || thrown.status === 429 || request.signal?.aborted) throw thrown;
    return null;
  }
}
