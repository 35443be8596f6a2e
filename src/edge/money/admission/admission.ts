/** Admits requests: asks the account of each request to decide on it and to set aside its cost, before it goes up. */
import { mayCount } from '../../claude/count-tokens.ts';
import { LONGEST_MODEL_NAME } from '../../claude/models/models.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import { adaptForModel } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { Terms, WorstCase } from '../../claude/pricing/hold-terms.ts';
import { ownOf } from '../../claude/request/request-body.ts';
import { ObjectUnreachable } from '../../durable/call-object.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { Json } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { sendSettlement } from '../contracts/call-account.ts';
import { admissionRequestOf, askAndList, grantedBy, unsent, waitForAdmission } from './ask-account.ts';
import { boundOf, countInput, countUnanswered, type PromptCount, pricesToHoldBy } from './bounds.ts';
import { budgetBefore } from './budget-left.ts';
import { loweredHeaders, quotaHeaders } from './limit-headers.ts';
import type { Admission, LaterTry, MeterRequest } from './metered-request.ts';
import { grantOf, keptText, requestMeterOf } from './request-meter.ts';

/** From what a prompt can cost on, it is counted where nobody has told what it has: a count takes up to three seconds. */
const COUNTED_FROM: Nanodollars = 10_000_000;

/**
 * Asks the account to admit a request, and returns what must be stored so that another process can settle it. This is one call to its
 * object, and a second one if only an exact count of the input can show whether it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached, 503
 *   while the account's object cannot be reached
 */
export async function admit(request: MeterRequest): Promise<Admission> {
  // A step of a run already has a number.
  return await releaseIfLost(request, admitTry(new ModelChoice(request), numberOfTry(request.requestId)));
}

/** @returns whether a try may have run of which not even the headers have come */
function isUnheard({ sent, status, usage, end }: RequestOutcome): boolean {
  return sent && status === undefined && usage === undefined && end !== 'error';
}

/** Settles a try whose admission was lost: the account may have placed the hold all the same. Nothing goes up, so it is 0. */
async function releaseIfLost<T>(request: MeterRequest, admitting: Promise<T>): Promise<T> {
  // If the account is erased before the settlement comes, nothing of the request is noted.
  const startedAt = Date.now();
  try {
    return await admitting;
  } catch (thrown) {
    if (thrown instanceof ObjectUnreachable && thrown.mayHaveRun) {
      request.waitUntil(sendSettlement(request, JSON.stringify(unsent(request, 'account_unreachable', startedAt))));
    }
    throw thrown;
  }
}

async function admitTry(choice: ModelChoice, number: number, later?: LaterTry): Promise<Admission> {
  const { request } = choice;
  const { models } = request.settings;
  const { earlier = 0 } = later ?? {};
  const first = await decideForModel(choice, later);
  let latest = first;
  // If the budget does not pay for this model, it may pay for another one.
  const isTooDear = first.answer.outcome === 'refused' && first.answer.refusal.reason === 'spend';
  while (isTooDear && latest.answer.outcome !== 'admitted') {
    if (!(await choice.next())) return grantedBy(first.answer, models) as never;
    latest = await decideForModel(choice, later);
  }
  const { answer, worstCase, terms, startedAt, isKept } = latest;
  const admitted = grantedBy(answer, models);
  const budget = budgetBefore(admitted);
  const grant = {
    ...grantOf(worstCase, terms, admitted),
    ...(budget && { budget }),
    ...(earlier > 0 ? { earlier } : {}),
    startedAt,
    waitedMs: Date.now() - first.startedAt,
  };
  const next = () => {
    // The request object itself is changed, not copied, so that `release` frees the body for every try.
    request.requestId = attemptId(request.requestId, number + 1);
  };
  const meter = requestMeterOf(request, grant);
  return {
    ...meter,
    settle: (outcome, extra, later) => {
      const isCountable = worstCase.countable && terms.promptCost >= COUNTED_FROM;
      const counted = async (end: RequestOutcome): Promise<RequestOutcome> => {
        if (!isCountable || !isUnheard(end)) return end;
        // Without a count it is booked by its bytes.
        return { ...end, prompt_tokens: await countUnanswered(request, choice).catch(() => undefined) };
      };
      if (later) return meter.settle(outcome, extra, later.then(counted));
      if (!isCountable || !isUnheard(outcome)) return meter.settle(outcome, extra);
      request.waitUntil(meter.leave());
      return meter.settle(outcome, extra, counted(outcome));
    },
    requestId: request.requestId,
    model: request.model,
    grant,
    isKept,
    inUsd: admitted.inUsd === true,
    maxTokens: admitted.maxTokens,
    changes: choice.changes,
    headers: {
      ...quotaHeaders(admitted.standing),
      ...loweredHeaders(admitted),
      ...(choice.from === undefined ? {} : { 'sluice-fallback-from': choice.from }),
    },
    again: (later) => {
      next();
      return releaseIfLost(request, admitTry(choice, number + 1, later));
    },
    hasFallback: () => choice.hasNext,
    fallBack: async (later) => {
      next();
      const back = choice.mark();
      while (await choice.next()) {
        try {
          return await releaseIfLost(request, admitTry(choice, number + 1, later));
        } catch (thrown) {
          // A fallback model may be refused, or not served by any upstream. Then the next one is tried.
          if (!(thrown instanceof ApiError) || thrown.status >= 500) throw thrown;
        }
      }
      back();
      return undefined;
    },
  };
}

/** The answer of an account about one model, and what it was asked. */
interface ModelDecision {
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
async function decideForModel(choice: ModelChoice, later?: LaterTry): Promise<ModelDecision> {
  const { request, changes, nameOfModel } = choice;
  const { settings, model, routing, count, leavesOutThinking = false } = request;
  const isAgain = later !== undefined;
  // This time must not be later than the hold. So it is read before the account is asked.
  const startedAt = Date.now();
  const until = startedAt + (later?.waits === false || request.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const models = pricesToHoldBy(request);
  const { row, isListed } = models.price(model);
  const admissionRequest = {
    ...admissionRequestOf(request),
    model: (isListed ? row.id : model).slice(0, LONGEST_MODEL_NAME),
    repeats: isAgain,
    adds: request.adds,
    most: request.most,
    ...(later?.earlier ? { earlier: later.earlier } : {}),
  };
  const boundBy = (by: PromptCount | undefined) => boundOf(request, { nameOfModel, changes, models }, by);
  const ask = async (bound: WorstCase, terms: Terms, isCounted: boolean) => {
    const keep = isKeepable(request, terms, isAgain) ? { keep: keptText(bound, terms, startedAt) } : {};
    const size = isCounted ? { counted: true, bound: { ...bound, countable: false } } : { bound };
    return await waitForAdmission(request, { ...admissionRequest, ...size, ...keep }, until);
  };
  let counted: PromptCount | undefined = count === undefined ? undefined : { tokens: count, leavesOutThinking };
  let { worstCase, terms } = boundBy(counted);
  if (worstCase.countable && !mayCount(request)) {
    counted = { tokens: null, leavesOutThinking };
    ({ worstCase, terms } = boundBy(counted));
  }
  let answer = await ask(worstCase, terms, false);
  if (answer.outcome === 'count_needed') {
    const tokens = await countInput({ ...request, only: routing?.only }, changes);
    counted = { tokens, leavesOutThinking: true };
    ({ worstCase, terms } = boundBy(counted));
    answer = await ask(worstCase, terms, true);
  }
  if (answer.outcome === 'refused' && counted?.tokens === null) answer.refusal.uncounted = true;
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') choice.allowFallbacks(answer.fallbacks);
  return { answer, worstCase, terms, startedAt, isKept: isKeepable(request, terms, isAgain) };
}

/**
 * @returns whether the account keeps the grant. With tools of the API, or several upstreams, whoever ends the turn after a crash
 *   must know the grant at once; and a later try is stored before its account is asked
 */
function isKeepable({ keeps = false, upstream }: MeterRequest, { served }: Terms, isAgain: boolean): boolean {
  return keeps && !isAgain && !upstream.pool && !served;
}

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  nameOfModel: string | undefined;
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
    const { nameOfModel, from, changes } = this;
    return () => {
      Object.assign(this.request, { model, body });
      Object.assign(this, { nameOfModel, from, changes });
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
    this.nameOfModel = next.nameOfModel;
    this.changes = next.changes;
    request.model = next.model;
    // The count was made with another model's tokenizer.
    if (request.count !== null) request.count = undefined;
    return true;
  }

  /** Passes over models that refuse the request. @returns the next one, and what is changed for it */
  #next(): (Pick<ModelChoice, 'changes'> & { nameOfModel: string; model: string }) | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const nameOfModel of this.#left ?? []) {
      const model = models.resolve(nameOfModel);
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.find(model);
      const { changes, refused } = adaptForModel(row, ownOf(body), models.find(this.from ?? present));
      if (model !== present && !refused) return { nameOfModel, model, changes };
      this.#left = this.#left?.slice(1);
    }
    return undefined;
  }
}

/**
 * Admits a token count, which costs nothing but has its own limit.
 *
 * @returns headers for the response
 * @throws ApiError as `admit`
 */
export async function admitTokenCount(
  request: Omit<MeterRequest, 'body' | 'upstream' | 'headers'>,
): Promise<Record<string, string>> {
  const answer = await askAndList(request, admissionRequestOf(request));
  return quotaHeaders(grantedBy(answer, request.settings.models).standing);
}

/** @returns the number of a try, from its name in the ledger. The first try of a request has no number; it is 1. */
export function numberOfTry(requestId: string): number {
  return Number(/\.(\d+)$/.exec(requestId)?.[1] ?? 1);
}

/** @returns the name of a later try in the ledger: the request's id, followed by the number of the try. */
export function attemptId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}
