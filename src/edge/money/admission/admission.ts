/** Admits requests: asks the account of each request to decide on it and to set aside its cost, before it goes up. */
import { mayCount } from '../../claude/count-tokens.ts';
import { MAX_MODEL_NAME_CHARACTERS } from '../../claude/models/models.ts';
import { adaptForModel } from '../../claude/pricing/adapt-for-model.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { toolsToLimit, withMaxUses } from '../../claude/request/max-uses.ts';
import { ownJsonOf } from '../../claude/request/request-body.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { Json } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { sendSettlement } from '../contracts/call-account.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { boundOf, countInput, countUnanswered, holdPrices, isWorthCounting, type PromptCount } from './bounds.ts';
import { budgetBefore } from './budget-left.ts';
import { loweredHeaders, quotaHeaders } from './limit-headers.ts';
import type { Admission, LaterAttempt, MeterRequest } from './metered-request.ts';
import {
  admissionRequestOf,
  admitAndList,
  requireAdmitted,
  unsentSettlement,
  waitForAdmission,
} from './request-admission.ts';
import { createGrant, createSettler, hasEndedBeforeHeaders, serializeGrant, withCountOf } from './request-meter.ts';

/**
 * Asks the account to admit a request, and returns what must be stored so that another process can settle it. This is one call to its
 * object, and a second one if only an exact count of the input can show whether it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached, 503
 *   while the account's object cannot be reached
 */
export async function admit(request: MeterRequest): Promise<Admission> {
  // A step of a run already has a number.
  return await releaseIfLost(request, admitAttempt(new ModelChoice(request), attemptNumberOf(request.requestId)));
}

/** Settles a try whose admission was lost: the account may have placed the hold all the same. Nothing goes up, so it is 0. */
async function releaseIfLost<T>(request: MeterRequest, admitting: Promise<T>): Promise<T> {
  // If the account is erased before the settlement comes, nothing of the request is noted.
  const startedAt = Date.now();
  try {
    return await admitting;
  } catch (thrown) {
    if (thrown instanceof ObjectUnreachableError && thrown.mayHaveRun) {
      request.waitUntil(
        sendSettlement(request, JSON.stringify(unsentSettlement(request, 'account_unreachable', startedAt))),
      );
    }
    throw thrown;
  }
}

async function admitAttempt(choice: ModelChoice, number: number, later?: LaterAttempt): Promise<Admission> {
  const { request } = choice;
  const { models } = request.settings;
  const { earlierCost: earlier = 0 } = later ?? {};
  const first = await decideForModel(choice, later);
  let latest = first;
  // If the budget does not pay for this model, it may pay for another one.
  const isTooDear = first.answer.outcome === 'refused' && first.answer.refusal.reason === 'spend';
  while (isTooDear && latest.answer.outcome !== 'admitted') {
    if (!(await choice.switchToNext())) return requireAdmitted(first.answer, models) as never;
    latest = await decideForModel(choice, later);
  }
  const { answer, worstCase, terms, startedAt, isKept } = latest;
  const admitted = requireAdmitted(answer, models);
  const budget = budgetBefore(admitted);
  const grant = {
    ...createGrant(worstCase, terms, admitted),
    ...(budget && { budget }),
    ...(earlier > 0 ? { earlier } : {}),
    startedAt,
    waitedMs: Date.now() - first.startedAt,
  };
  const next = () => {
    // The request object itself is changed, not copied, so that `release` frees the body for every try.
    request.requestId = attemptId(request.requestId, number + 1);
  };
  const meter = createSettler(request, grant);
  let counting: Promise<number | undefined> | undefined;
  const countPrompt = async () => {
    if (!isWorthCounting(worstCase, terms)) return undefined;
    // Without a count it is booked by its bytes.
    counting ??= countUnanswered(request, choice).catch(() => undefined);
    return await counting;
  };
  const counted = withCountOf(meter, countPrompt);
  return {
    ...meter,
    countPrompt,
    settle: (outcome, extra, later) => {
      if (!isWorthCounting(worstCase, terms)) return meter.settle(outcome, extra, later);
      if (!later && hasEndedBeforeHeaders(outcome)) request.waitUntil(meter.abandon());
      return counted.settle(outcome, extra, later);
    },
    requestId: request.requestId,
    model: request.model,
    grant,
    isKept,
    inUsd: admitted.inUsd === true,
    maxTokens: admitted.maxTokens,
    changes: choice.changes,
    headers: {
      ...quotaHeaders(admitted.quota),
      ...loweredHeaders(admitted),
      ...(choice.originalModel === undefined ? {} : { 'sluice-fallback-from': choice.originalModel }),
    },
    admitRetry: (later) => {
      next();
      return releaseIfLost(request, admitAttempt(choice, number + 1, later));
    },
    hasFallback: () => choice.hasNext,
    admitFallback: async (later) => {
      next();
      const back = choice.mark();
      while (await choice.switchToNext()) {
        try {
          return await releaseIfLost(request, admitAttempt(choice, number + 1, later));
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
  worstCase: MaximumCost;
  terms: SettlementTerms;
  startedAt: number;
  /** Whether the account keeps the grant, if it admits the request. */
  isKept: boolean;
}

/**
 * Asks the account to admit the request for its present model.
 *
 * @param later set for a later try. It is a hold of its own; only if it says so it may wait for money that others hold
 */
async function decideForModel(choice: ModelChoice, later?: LaterAttempt): Promise<ModelDecision> {
  const { request, changes, nameOfModel } = choice;
  const { settings, model, routing, count, leavesOutThinking = false } = request;
  const isAgain = later !== undefined;
  // This time must not be later than the hold. So it is read before the account is asked.
  const startedAt = Date.now();
  const until = startedAt + (later?.canWait === false || request.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const models = holdPrices(request);
  const { row, isListed } = models.findPriceRow(model);
  const admissionRequest = {
    ...admissionRequestOf(request),
    model: (isListed ? row.id : model).slice(0, MAX_MODEL_NAME_CHARACTERS),
    repeats: isAgain,
    adds: request.adds,
    most: request.most,
    ...(later?.earlierCost ? { earlier: later.earlierCost } : {}),
  };
  const computeBound = (promptCount: PromptCount | undefined) =>
    boundOf(request, { nameOfModel, changes, models }, promptCount);
  const ask = async (bound: MaximumCost, terms: SettlementTerms, isCounted: boolean) => {
    const keep = isKeepable(request, terms, isAgain) ? { keep: serializeGrant(bound, terms, startedAt) } : {};
    const size = isCounted ? { counted: true, bound: { ...bound, countable: false } } : { bound };
    const uses = { leastUses: choice.leastUses(bound), lowered: choice.lowered };
    return await waitForAdmission(request, { ...admissionRequest, ...size, ...uses, ...keep }, until);
  };
  let counted: PromptCount | undefined = count === undefined ? undefined : { tokens: count, leavesOutThinking };
  let { worstCase, terms } = computeBound(counted);
  if (worstCase.countable && !mayCount(request)) {
    counted = { tokens: null, leavesOutThinking };
    ({ worstCase, terms } = computeBound(counted));
  }
  let isCounted = false;
  let answer = await ask(worstCase, terms, isCounted);
  // It is counted once, and has fewer uses each time.
  while (answer.outcome === 'count_needed' || answer.outcome === 'fewer_uses') {
    if (answer.outcome === 'fewer_uses') choice.limitUses(answer);
    else {
      const tokens = await countInput({ ...request, only: routing?.only }, changes);
      counted = { tokens, leavesOutThinking: true };
      isCounted = true;
    }
    ({ worstCase, terms } = computeBound(counted));
    answer = await ask(worstCase, terms, isCounted);
  }
  if (answer.outcome === 'refused' && counted?.tokens === null) answer.refusal.uncounted = true;
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') choice.allowFallbacks(answer.fallbacks);
  return { answer, worstCase, terms, startedAt, isKept: isKeepable(request, terms, isAgain) };
}

/**
 * @returns whether the account keeps the grant. With tools of the API, or several upstreams, whoever ends the turn after a crash
 *   must know the grant at once; and a later try is stored before its account is asked
 */
function isKeepable({ keeps = false, upstream }: MeterRequest, { served }: SettlementTerms, isAgain: boolean): boolean {
  return keeps && !isAgain && !upstream.pool && !served;
}

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  nameOfModel: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  originalModel: string | undefined;
  /** What is changed of the body for the present model. */
  changes: Json = {};
  /** The limit for which the uses of the API's own tools are limited; undefined while they are not. */
  lowered: LoweredBy | undefined;
  /** The positions of the tools whose uses may be limited, and the fewest uses of all tools. */
  #toLimit: readonly number[] | undefined;
  #leastUses: number | undefined;
  #remaining: readonly string[] | undefined;

  constructor(request: MeterRequest) {
    this.request = request;
    this.#remaining = request.fallbacks;
  }

  /** @returns the fewest uses of the API's own tools to which the request can be limited; undefined where it cannot be */
  leastUses({ served }: MaximumCost): number | undefined {
    // A tool that a message adds stays unlimited.
    if (this.lowered && served?.lacksMaxUses) return undefined;
    this.#leastUses ??= served?.leastUses;
    if (this.#leastUses === undefined) return undefined;
    // The tools of a conversation never change: its cache and its thinking depend on them.
    this.#toLimit ??= this.request.conversation === undefined ? toolsToLimit(this.request.body) : [];
    return this.#toLimit.length === 0 ? undefined : this.#leastUses;
  }

  /** Limits the uses of the tools without `max_uses`, so that all tools together are used so often at most. */
  limitUses({ uses, loweredBy }: Extract<AdmissionDecision, { outcome: 'fewer_uses' }>): void {
    const positions = this.#toLimit ?? [];
    const more = uses - (this.#leastUses ?? 0);
    const max_uses = 1 + Math.floor(more / positions.length);
    this.request.body = withMaxUses(this.request.body, positions, max_uses);
    this.lowered = { ...loweredBy, max_uses };
  }

  /** Uses the fallback models of the account's limits, if the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#remaining ??= names;
  };

  get hasNext(): boolean {
    return this.#findNext() !== undefined;
  }

  /** @returns a function that goes back to the present model. */
  mark(): () => void {
    const { model, body } = this.request;
    const { nameOfModel, originalModel, changes } = this;
    return () => {
      this.request.model = model;
      this.request.body = body;
      this.nameOfModel = nameOfModel;
      this.originalModel = originalModel;
      this.changes = changes;
    };
  }

  /** Lets the next model step in that takes the request. @returns false if there is none */
  async switchToNext(): Promise<boolean> {
    const { request } = this;
    const next = this.#findNext();
    if (!next) return false;
    this.#remaining = this.#remaining?.slice(1);
    if (request.requestFor) request.body = await request.requestFor(next.model);
    this.originalModel ??= request.model;
    this.nameOfModel = next.nameOfModel;
    this.changes = next.changes;
    request.model = next.model;
    // The count was made with another model's tokenizer.
    if (request.count !== null) request.count = undefined;
    return true;
  }

  /** Passes over models that refuse the request. @returns the next one, and what is changed for it */
  #findNext(): (Pick<ModelChoice, 'changes'> & { nameOfModel: string; model: string }) | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const nameOfModel of this.#remaining ?? []) {
      const model = models.resolve(nameOfModel);
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.find(model);
      const { changes, refused } = adaptForModel(row, ownJsonOf(body), models.find(this.originalModel ?? present));
      if (model !== present && !refused) return { nameOfModel, model, changes };
      this.#remaining = this.#remaining?.slice(1);
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
  const answer = await admitAndList(request, admissionRequestOf(request));
  return quotaHeaders(requireAdmitted(answer, request.settings.models).quota);
}

/** @returns the number of a try, from its name in the ledger. The first try of a request has no number; it is 1. */
export function attemptNumberOf(requestId: string): number {
  return Number(/\.(\d+)$/.exec(requestId)?.[1] ?? 1);
}

/** @returns the name of a later try in the ledger: the request's id, followed by the number of the try. */
export function attemptId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}
