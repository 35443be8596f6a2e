/** Asks an account about a request for one model: computes what it can cost, and whether the account can pay that. */
import { type CountOptions, countTokens, mayCount } from '../../claude/count-tokens.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import { LONGEST_MODEL_NAME } from '../../claude/models/models.ts';
import type { Terms, WorstCase } from '../../claude/pricing/hold-terms.ts';
import { NO_FEATURES } from '../../claude/pricing/prompt-features.ts';
import { changedTexts, takes } from '../../claude/pricing/takes.ts';
import { worstCaseOf } from '../../claude/pricing/worst-case.ts';
import { bodyUp } from '../../claude/request/body-up.ts';
import { ownOf, RequestBody } from '../../claude/request/request-body.ts';
import { type UpstreamPool, upstreamsFor } from '../../claude/upstreams/pool.ts';
import { dearestAt } from '../../claude/upstreams/prices.ts';
import { type JsonBody, RELEASED } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { commaSeparated } from '../../kit/http/headers/comma-list.ts';
import { LongBody } from '../../kit/http/long-body.ts';
import { sizeOf } from '../../kit/http/read-json.ts';
import type { Json } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { admissionRequestOf, askInLine } from './ask-account.ts';
import type { LaterTry, MeterRequest } from './metered-request.ts';
import { keptText } from './request-meter.ts';

/** The question to an account about one model, and its answer. */
export interface ModelDecision {
  answer: AdmissionDecision;
  worstCase: WorstCase;
  terms: Terms;
  startedAt: number;
  /** Whether nobody has counted its prompt, and somebody could. */
  isCountable: boolean;
  /** Whether the account keeps the grant, if it admits the request. */
  isKept: boolean;
}

/**
 * Asks the account to admit the request for its present model.
 *
 * @param later set for a later try. It is a hold of its own; only if it says so it may wait for money that others hold
 */
export async function askForModel(choice: ModelChoice, later?: LaterTry): Promise<ModelDecision> {
  const { request, changes, allowFallbacks } = choice;
  const { settings, model, routing } = request;
  const isAgain = later !== undefined;
  // This time must not be later than the hold. So it is read before the account is asked.
  const startedAt = Date.now();
  const { bounded, models } = boundsOf(choice);
  const { row, known } = models.price(model);
  const admissionRequest = {
    ...admissionRequestOf(request),
    model: (known ? row.id : model).slice(0, LONGEST_MODEL_NAME),
    repeats: isAgain,
    adds: request.adds,
    most: request.most,
    ...(later?.earlier ? { earlier: later.earlier } : {}),
  };
  let { count } = request;
  let { worstCase, terms } = bounded(count);
  if (worstCase.countable && !mayCount(request)) {
    count = null;
    ({ worstCase, terms } = bounded(count));
  }
  const until = startedAt + (later?.waits === false || request.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const keep = () => (isKeepable(request, terms, isAgain) ? { keep: keptText(worstCase, terms, startedAt) } : {});
  let answer = await askInLine(request, { ...admissionRequest, bound: worstCase, ...keep() }, until);
  if (answer.outcome === 'count_needed') {
    count = await countInput({ ...request, only: routing?.only }, changes);
    ({ worstCase, terms } = bounded(count, true));
    const bound = { ...worstCase, countable: false };
    answer = await askInLine(request, { ...admissionRequest, counted: true, bound, ...keep() }, until);
  }
  if (answer.outcome === 'refused' && count === null) answer.refusal.uncounted = true;
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') allowFallbacks(answer.fallbacks);
  const { countable: isCountable } = worstCase;
  return { answer, worstCase, terms, startedAt, isCountable, isKept: isKeepable(request, terms, isAgain) };
}

/** @returns what computes the worst case of the present model, with a count of its tokens or without one, and its prices */
function boundsOf({ request, asked: named, changes }: ModelChoice) {
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

/**
 * @returns whether the account keeps the grant. With tools of the API, or several upstreams, whoever ends the turn after a crash
 *   must know the grant at once; and a later try is stored before its account is asked
 */
function isKeepable({ keeps = false, upstream }: MeterRequest, { served }: Terms, isAgain: boolean): boolean {
  return keeps && !isAgain && !upstream.pool && !served;
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

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
export class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  from: string | undefined;
  /** What is changed of the body for the present model. */
  changes: Json = {};
  #left: readonly string[] | undefined;

  constructor(request: MeterRequest) {
    this.request = request;
    this.#left = request.fallbacks;
  }

  /** Uses the fallback models of the account's limits, if the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#left ??= names;
  };

  get hasNext(): boolean {
    return this.#next() !== undefined;
  }

  /** @returns a function that goes back to the present model. */
  mark(): () => void {
    const { model, body } = this.request;
    const { asked, from, changes } = this;
    return () => {
      Object.assign(this.request, { model, body });
      Object.assign(this, { asked, from, changes });
    };
  }

  /** Lets the next model step in that takes the request. @returns false if there is none */
  async next(): Promise<boolean> {
    const { request } = this;
    const next = this.#next();
    if (!next) return false;
    this.#left = this.#left?.slice(1);
    if (request.requestFor) request.body = await request.requestFor(next.model);
    this.from ??= request.model;
    this.asked = next.asked;
    this.changes = next.changes;
    request.model = next.model;
    // The count was made with another model's tokenizer.
    if (request.count !== null) request.count = undefined;
    return true;
  }

  /** Passes over models that refuse the request. @returns the next one, and what is changed for it */
  #next(): (Pick<ModelChoice, 'changes'> & { asked: string; model: string }) | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const asked of this.#left ?? []) {
      const model = models.resolve(asked);
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.find(model);
      const { changes, refused } = takes(row, ownOf(body), models.find(this.from ?? present));
      if (model !== present && !refused) return { asked, model, changes };
      this.#left = this.#left?.slice(1);
    }
    return undefined;
  }
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
async function countInput(request: CountableRequest, changed: Json): Promise<number | null> {
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
