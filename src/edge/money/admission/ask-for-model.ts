/** Asks an account about a request for one model: computes what it can cost, and whether the account can pay that. */

import { mayCount } from '../../claude/count-tokens.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { Terms, WorstCase } from '../../claude/pricing/hold-terms.ts';
import { LONGEST_MODEL_NAME } from '../../claude/pricing/models.ts';
import { NO_FEATURES } from '../../claude/pricing/prompt-features.ts';
import { worstCaseOf } from '../../claude/pricing/worst-case.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import { type UpstreamPool, upstreamsFor } from '../../claude/upstreams/pool.ts';
import { dearestAt } from '../../claude/upstreams/prices.ts';
import { commaSeparated } from '../../kit/http/headers/comma-list.ts';
import { LongBody } from '../../kit/http/long-body.ts';
import { sizeOf } from '../../kit/http/read-json.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { admissionRequestOf, askInLine } from './ask-account.ts';
import { countInput } from './count-input.ts';
import type { LaterTry, MeterRequest } from './metered-request.ts';
import type { ModelChoice } from './model-choice.ts';
import { keptText } from './request-meter.ts';

/** The question to an account about one model, and its answer. */
export interface ModelDecision {
  answer: AdmissionDecision;
  worstCase: WorstCase;
  terms: Terms;
  startedAt: number;
  /** Whether the account keeps the grant, if it admits the request. */
  isKept: boolean;
}

/**
 * Asks the account to admit the request for its present model.
 *
 * @param later set for a later try. It is a hold of its own; only if it says so it may wait for money that others hold
 */
export async function askForModel(
  { request, asked: named, changes, allowFallbacks }: ModelChoice,
  later?: LaterTry,
): Promise<ModelDecision> {
  const { settings, body, model, upstream, routing } = request;
  const isAgain = later !== undefined;
  // This time must not be later than the hold. So it is read before the account is asked.
  const startedAt = Date.now();
  const { own, before } = body instanceof RequestBody ? body : { own: body.json, before: NO_FEATURES };
  const asked = named ?? (typeof own.model === 'string' ? own.model : model);
  const { readings = body } = body;
  const models = upstream.pool ? dearestAt(settings, ableUpstreams(upstream.pool, request, routing)) : settings.models;
  const options = {
    bytes: sizeOf(body),
    readings: readings ?? undefined,
    // A bound method, because an arrow function made here would keep the body in memory until the answer has ended.
    lengthOf: body instanceof LongBody ? body.lengthOf.bind(body) : undefined,
    models,
    betas: betasOf(request.headers),
    asked,
    before,
    servedStepTokens: settings.SERVED_STEP_TOKENS,
  };
  const { mayWrite: max_tokens } = request;
  const goesUp = { ...own, ...changes, model, ...(max_tokens !== undefined && { compaction: undefined, max_tokens }) };
  const { row, known } = models.price(model);
  const admissionRequest = {
    ...admissionRequestOf(request),
    model: (known ? row.id : model).slice(0, LONGEST_MODEL_NAME),
    repeats: isAgain,
    adds: request.adds,
    most: request.most,
    ...(later?.earlier ? { earlier: later.earlier } : {}),
  };
  const bounded = (count: number | null | undefined) => {
    const { worstCase, terms } = worstCaseOf(goesUp, count === undefined ? options : { ...options, count });
    return { worstCase, terms: { ...terms, streams: terms.streams || request.streams === true } };
  };
  let { count } = request;
  let { worstCase, terms } = bounded(count);
  if (worstCase.countable && !mayCount(request)) {
    count = null;
    ({ worstCase, terms } = bounded(count));
  }
  const until = startedAt + (later?.waits === false || request.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const keep = () =>
    isKeepable(request, terms, isAgain) ? { keep: keptText(worstCase, terms, settings, startedAt) } : {};
  let answer = await askInLine(request, { ...admissionRequest, bound: worstCase, ...keep() }, until);
  if (answer.outcome === 'count_needed') {
    count = await countInput({ ...request, only: routing?.only }, changes);
    ({ worstCase, terms } = bounded(count));
    const bound = { ...worstCase, countable: false };
    answer = await askInLine(request, { ...admissionRequest, counted: true, bound, ...keep() }, until);
  }
  if (answer.outcome === 'refused' && count === null) answer.refusal.uncounted = true;
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') allowFallbacks(answer.fallbacks);
  return { answer, worstCase, terms, startedAt, isKept: isKeepable(request, terms, isAgain) };
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
