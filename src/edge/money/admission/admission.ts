/** Admits requests: asks the account of each request to decide on it and to set aside its cost, before it goes up. */
import { canAnyUpstreamCountTokens } from '../../claude/count-tokens.ts';
import { MAX_MODEL_NAME_CHARACTERS } from '../../claude/models/models.ts';
import { adaptRequestForModel } from '../../claude/pricing/adapt-for-model.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { findToolsWithSettableMaxUses, setMaxUsesOfTools } from '../../claude/request/max-uses.ts';
import { getJsonWithoutHistory } from '../../claude/request/request-body.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { sendSettlement } from '../contracts/call-account.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import {
  computeMaximumCostAndTerms,
  countInputTokensAtUpstream,
  countUnansweredPrompt,
  getHoldPrices,
  isPromptWorthCounting,
  type PromptCount,
} from './bounds.ts';
import { captureBudgetAtAdmission } from './budget-left.ts';
import { createLoweredLimitHeaders, createQuotaHeaders } from './limit-headers.ts';
import type { LaterAttemptOptions, RequestAdmission, RequestToAdmit } from './metered-request.ts';
import {
  createAdmissionRequest,
  createUnsentSettlement,
  requestAdmissionAndListAccount,
  requireAdmittedDecision,
  waitForAdmission,
} from './request-admission.ts';
import {
  createCountingMeter,
  createRequestMeter,
  createStoredGrant,
  mightHaveRunUnseen,
  serializeUnadmittedGrant,
} from './request-meter.ts';

/**
 * Asks the account to admit a request, and returns what must be stored so that another process can settle it. This is one call to its
 * object, and a second one if only an exact count of the input can show whether it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached, 503
 *   while the account's object cannot be reached
 */
export async function admitRequest(request: RequestToAdmit): Promise<RequestAdmission> {
  // A step of a run already has a number.
  return await settleIfAdmissionLost(
    request,
    admitAttempt(new FallbackModelSelection(request), parseAttemptNumber(request.requestId)),
  );
}

/** Settles a try whose admission was lost: the account may have placed the hold all the same. Nothing goes up, so it is 0. */
async function settleIfAdmissionLost<T>(request: RequestToAdmit, admitting: Promise<T>): Promise<T> {
  // If the account is erased before the settlement comes, nothing of the request is noted.
  const startedAt = Date.now();
  try {
    return await admitting;
  } catch (thrown) {
    if (thrown instanceof ObjectUnreachableError && thrown.mayHaveRun) {
      request.waitUntil(
        sendSettlement(request, JSON.stringify(createUnsentSettlement(request, 'account_unreachable', startedAt))),
      );
    }
    throw thrown;
  }
}

async function admitAttempt(
  choice: FallbackModelSelection,
  number: number,
  later?: LaterAttemptOptions,
): Promise<RequestAdmission> {
  const { request } = choice;
  const { models } = request.settings;
  const { earlierCost: earlier = 0 } = later ?? {};
  const first = await requestAdmissionForModel(choice, later);
  let latest = first;
  // If the budget does not pay for this model, it may pay for another one.
  const isTooDear = first.answer.outcome === 'refused' && first.answer.refusal.reason === 'spend';
  while (isTooDear && latest.answer.outcome !== 'admitted') {
    if (!(await choice.switchToNextModel())) return requireAdmittedDecision(first.answer, models) as never;
    latest = await requestAdmissionForModel(choice, later);
  }
  const { answer, worstCase, terms, startedAt, isKept } = latest;
  const admitted = requireAdmittedDecision(answer, models);
  const budget = captureBudgetAtAdmission(admitted);
  const grant = {
    ...createStoredGrant(worstCase, terms, admitted),
    ...(budget && { budget }),
    ...(earlier > 0 ? { earlier } : {}),
    startedAt,
    waitedMs: Date.now() - first.startedAt,
  };
  const admitNextAttempt = () => {
    // The request object itself is changed, not copied, so that `release` frees the body for every try.
    request.requestId = createAttemptId(request.requestId, number + 1);
  };
  const meter = createRequestMeter(request, grant);
  let counting: Promise<number | undefined> | undefined;
  const countPrompt = async () => {
    if (!isPromptWorthCounting(worstCase, terms)) return undefined;
    // Without a count it is booked by its bytes.
    counting ??= countUnansweredPrompt(request, choice).catch(() => undefined);
    return await counting;
  };
  const counted = createCountingMeter(meter, countPrompt);
  return {
    ...meter,
    countPromptOnce: countPrompt,
    settleRequest: (outcome, extra, later) => {
      if (!isPromptWorthCounting(worstCase, terms)) return meter.settleRequest(outcome, extra, later);
      if (!later && mightHaveRunUnseen(outcome)) request.waitUntil(meter.abandonRequest());
      return counted.settleRequest(outcome, extra, later);
    },
    requestId: request.requestId,
    model: request.model,
    grant,
    isKept,
    inUsd: admitted.inUsd === true,
    maxTokens: admitted.maxTokens,
    changes: choice.changes,
    headers: {
      ...createQuotaHeaders(admitted.quota),
      ...createLoweredLimitHeaders(admitted),
      ...(choice.originalModel === undefined ? {} : { 'sluice-fallback-from': choice.originalModel }),
    },
    admitLaterAttempt: (later) => {
      admitNextAttempt();
      return settleIfAdmissionLost(request, admitAttempt(choice, number + 1, later));
    },
    hasFallbackModel: () => choice.hasNextModel,
    admitFallbackModel: async (later) => {
      admitNextAttempt();
      const back = choice.createRestorer();
      while (await choice.switchToNextModel()) {
        try {
          return await settleIfAdmissionLost(request, admitAttempt(choice, number + 1, later));
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
interface ModelAdmissionDecision {
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
async function requestAdmissionForModel(
  choice: FallbackModelSelection,
  later?: LaterAttemptOptions,
): Promise<ModelAdmissionDecision> {
  const { request, changes, nameOfModel } = choice;
  const { settings, model, routing, count, leavesOutThinking = false } = request;
  const isAgain = later !== undefined;
  // This time must not be later than the hold. So it is read before the account is asked.
  const startedAt = Date.now();
  const until = startedAt + (later?.canWait === false || request.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const models = getHoldPrices(request);
  const { row, isListed } = models.findPriceRow(model);
  const admissionRequest = {
    ...createAdmissionRequest(request),
    model: (isListed ? row.id : model).slice(0, MAX_MODEL_NAME_CHARACTERS),
    repeats: isAgain,
    adds: request.adds,
    most: request.most,
    ...(later?.earlierCost ? { earlier: later.earlierCost } : {}),
  };
  const computeMaximumCost = (promptCount: PromptCount | undefined) =>
    computeMaximumCostAndTerms(request, { nameOfModel, changes, models }, promptCount);
  const askAccount = async (bound: MaximumCost, terms: SettlementTerms, isCounted: boolean) => {
    const keep = canAccountKeepGrant(request, terms, isAgain)
      ? { keep: serializeUnadmittedGrant(bound, terms, startedAt) }
      : {};
    const size = isCounted ? { counted: true, bound: { ...bound, countable: false } } : { bound };
    const uses = { leastUses: choice.getMinToolUses(bound), lowered: choice.lowered };
    return await waitForAdmission(request, { ...admissionRequest, ...size, ...uses, ...keep }, until);
  };
  let counted: PromptCount | undefined = count === undefined ? undefined : { tokens: count, leavesOutThinking };
  let { worstCase, terms } = computeMaximumCost(counted);
  if (worstCase.countable && !canAnyUpstreamCountTokens(request)) {
    counted = { tokens: null, leavesOutThinking };
    ({ worstCase, terms } = computeMaximumCost(counted));
  }
  let isCounted = false;
  let answer = await askAccount(worstCase, terms, isCounted);
  // It is counted once, and has fewer uses each time.
  while (answer.outcome === 'count_needed' || answer.outcome === 'fewer_uses') {
    if (answer.outcome === 'fewer_uses') choice.limitToolUses(answer);
    else {
      const tokens = await countInputTokensAtUpstream({ ...request, only: routing?.only }, changes);
      counted = { tokens, leavesOutThinking: true };
      isCounted = true;
    }
    ({ worstCase, terms } = computeMaximumCost(counted));
    answer = await askAccount(worstCase, terms, isCounted);
  }
  if (answer.outcome === 'refused' && counted?.tokens === null) answer.refusal.uncounted = true;
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') choice.allowFallbacks(answer.fallbacks);
  return { answer, worstCase, terms, startedAt, isKept: canAccountKeepGrant(request, terms, isAgain) };
}

/**
 * @returns whether the account keeps the grant. With tools of the API, or several upstreams, whoever ends the turn after a crash
 *   must know the grant at once; and a later try is stored before its account is asked
 */
function canAccountKeepGrant(
  { keeps = false, upstream }: RequestToAdmit,
  { served }: SettlementTerms,
  isAgain: boolean,
): boolean {
  return keeps && !isAgain && !upstream.pool && !served;
}

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
class FallbackModelSelection {
  readonly request: RequestToAdmit;
  /** The name by which the present model was asked for, if it is not the body's. */
  nameOfModel: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  originalModel: string | undefined;
  /** What is changed of the body for the present model. */
  changes: JsonObject = {};
  /** The limit for which the uses of the API's own tools are limited; undefined while they are not. */
  lowered: LoweredBy | undefined;
  /** The positions of the tools whose uses may be limited, and the fewest uses of all tools. */
  #toLimit: readonly number[] | undefined;
  #leastUses: number | undefined;
  #remaining: readonly string[] | undefined;

  constructor(request: RequestToAdmit) {
    this.request = request;
    this.#remaining = request.fallbacks;
  }

  /** @returns the fewest uses of the API's own tools to which the request can be limited; undefined where it cannot be */
  getMinToolUses({ served }: MaximumCost): number | undefined {
    // A tool that a message adds stays unlimited.
    if (this.lowered && served?.lacksMaxUses) return undefined;
    this.#leastUses ??= served?.leastUses;
    if (this.#leastUses === undefined) return undefined;
    // The tools of a conversation never change: its cache and its thinking depend on them.
    this.#toLimit ??= this.request.conversation === undefined ? findToolsWithSettableMaxUses(this.request.body) : [];
    return this.#toLimit.length === 0 ? undefined : this.#leastUses;
  }

  /** Limits the uses of the tools without `max_uses`, so that all tools together are used so often at most. */
  limitToolUses({ uses, loweredBy }: Extract<AdmissionDecision, { outcome: 'fewer_uses' }>): void {
    const positions = this.#toLimit ?? [];
    const more = uses - (this.#leastUses ?? 0);
    const max_uses = 1 + Math.floor(more / positions.length);
    this.request.body = setMaxUsesOfTools(this.request.body, positions, max_uses);
    this.lowered = { ...loweredBy, max_uses };
  }

  /** Uses the fallback models of the account's limits, if the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#remaining ??= names;
  };

  get hasNextModel(): boolean {
    return this.#findNextModel() !== undefined;
  }

  /** @returns a function that goes back to the present model. */
  createRestorer(): () => void {
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
  async switchToNextModel(): Promise<boolean> {
    const { request } = this;
    const next = this.#findNextModel();
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
  #findNextModel(): (Pick<FallbackModelSelection, 'changes'> & { nameOfModel: string; model: string }) | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const nameOfModel of this.#remaining ?? []) {
      const model = models.resolveAlias(nameOfModel);
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.findRow(model);
      const { changes, refused } = adaptRequestForModel(
        row,
        getJsonWithoutHistory(body),
        models.findRow(this.originalModel ?? present),
      );
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
  request: Omit<RequestToAdmit, 'body' | 'upstream' | 'headers'>,
): Promise<Record<string, string>> {
  const answer = await requestAdmissionAndListAccount(request, createAdmissionRequest(request));
  return createQuotaHeaders(requireAdmittedDecision(answer, request.settings.models).quota);
}

/** @returns the number of a try, from its name in the ledger. The first try of a request has no number; it is 1. */
export function parseAttemptNumber(requestId: string): number {
  return Number(/\.(\d+)$/.exec(requestId)?.[1] ?? 1);
}

/** @returns the name of a later try in the ledger: the request's id, followed by the number of the try. */
export function createAttemptId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}
