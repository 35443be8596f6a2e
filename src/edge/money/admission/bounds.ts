/** Finds out the most that a request can cost with one model: by its body, and by a count of its prompt. */
import { type CountOptions, countTokens, mayCount } from '../../claude/count-tokens.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import { NO_FEATURES } from '../../claude/pricing/prompt-features.ts';
import { changedTexts } from '../../claude/pricing/takes.ts';
import { worstCaseOf } from '../../claude/pricing/worst-case.ts';
import { bodyUp } from '../../claude/request/body-up.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import { type UpstreamPool, upstreamsFor } from '../../claude/upstreams/pool.ts';
import { dearestAt } from '../../claude/upstreams/prices.ts';
import { type JsonBody, RELEASED } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { commaSeparated } from '../../kit/http/headers/comma-list.ts';
import { LongBody } from '../../kit/http/long-body.ts';
import { sizeOf } from '../../kit/http/read-json.ts';
import type { Json } from '../../kit/json/object.ts';
import type { MeterRequest } from './metered-request.ts';
import type { ModelChoice } from './model-choice.ts';

/** @returns what computes the worst case of the present model, with a count of its tokens or without one, and its prices */
export function boundsOf({ request, asked: named, changes }: ModelChoice) {
  const { settings, body, model, upstream, routing } = request;
  const { own, before } = body instanceof RequestBody ? body : { own: body.json, before: NO_FEATURES };
  const { readings = body } = body;
  const models = upstream.pool ? dearestAt(settings, ableUpstreams(upstream.pool, request, routing)) : settings.models;
  const options = {
    bytes: sizeOf(body),
    readings: readings ?? undefined,
    // A bound method, because an arrow function made here would keep the body in memory until the answer has ended.
    lengthOf: body instanceof LongBody ? body.lengthOf.bind(body) : undefined,
    models,
    betas: betasOf(request.headers),
    asked: named ?? (typeof own.model === 'string' ? own.model : model),
    before,
  };
  const goesUp = { ...own, ...changes, model };
  const bounded = (count: number | null | undefined, leavesOutThinking = request.leavesOutThinking === true) => {
    const given = count === undefined ? options : { ...options, count, leavesOutThinking };
    const { worstCase, terms } = worstCaseOf(goesUp, given);
    return { worstCase, terms: { ...terms, streams: terms.streams || request.streams === true } };
  };
  return { bounded, models };
}

/**
 * Counts the prompt of a try that nobody has answered: it would be booked by its bytes. Further tries are held by the count.
 *
 * @returns the most tokens that it has; undefined if they are not counted
 */
export async function countUnanswered(choice: ModelChoice): Promise<number | undefined> {
  const { request, changes } = choice;
  const { count, body, routing } = request;
  if (count !== undefined || body === RELEASED || !mayCount(request)) return undefined;
  const { bounded } = boundsOf(choice);
  // The caller may have left.
  request.count = await countInput({ ...request, signal: undefined, only: routing?.only }, changes).catch(() => null);
  request.leavesOutThinking = true;
  return request.count === null ? undefined : bounded(request.count).terms.promptTokens;
}

/** @returns the upstreams that may answer a request. @throws NoUpstream if none can */
function ableUpstreams(
  pool: UpstreamPool,
  { model, headers, streams = false }: Pick<MeterRequest, 'model' | 'headers' | 'streams'>,
  routing: MeterRequest['routing'] = { streams },
) {
  return upstreamsFor(pool, new MessagesCall(headers), { ...routing, model });
}

/**
 * A call for which upstreams say whether they can take it. It is a class, because object literals with a getter stay in
 * memory until a full garbage collection.
 */
class MessagesCall {
  readonly method = 'POST';
  readonly path = '/v1/messages';
  readonly #headers: MeterRequest['headers'];

  constructor(headers: MeterRequest['headers']) {
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

function betasOf(headers: Headers | PlainHeaders): string[] {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  return commaSeparated(betas ?? '');
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
export async function countInput(request: CountableRequest, changed: Json): Promise<number | null> {
  const { body, model } = request;
  const rest = Object.keys(body.json).filter((key) => !COUNTED_FIELDS.has(key));
  const changes = changedTexts({ ...changed, ...Object.fromEntries(rest.map((key) => [key, undefined])) });
  if (body.json.model !== model) changes.model = JSON.stringify(model);
  try {
    return await countTokens((more) => bodyUp(body, { ...changes, ...more }), { ...request, admits: true });
  } catch (thrown) {
    if (!(thrown instanceof ApiError) || thrown.status === 429 || request.signal?.aborted) throw thrown;
    return null;
  }
}
