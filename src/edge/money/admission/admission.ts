/** Admits requests: asks the account of each request to decide on it and to set aside its cost, before it goes up. */
import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { ObjectUnreachable } from '../../objects/call-object.ts';
import { sendSettlement } from '../contracts/call-account.ts';
import { admissionRequestOf, askAndList, grantedBy, unsent } from './ask-account.ts';
import { askForModel, countUnanswered, ModelChoice } from './ask-for-model.ts';
import { budgetBefore } from './budget-left.ts';
import { loweredHeaders, quotaHeaders } from './limit-headers.ts';
import type { Admission, LaterTry, MeterRequest } from './metered-request.ts';
import { grantOf, requestMeterOf } from './request-meter.ts';

/** From what a prompt can cost on, it is counted where nobody has told what it has: a count takes up to three seconds. */
const COUNTED_FROM: Nanodollars = 10_000_000;

/**
 * Asks the account to admit a request, and returns what must be stored so that another process can settle it. This is one call to its object, and a second one if only an exact count of the input
 * can show whether it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached, 503
 *   while the account's object cannot be reached
 */
export async function admit(request: MeterRequest): Promise<Admission> {
  // A step of a run already has a number.
  return await orUnsent(request, admitTry(new ModelChoice(request), numberOfTry(request.requestId)));
}

/** @returns whether a try may have run of which not even the headers have come */
function isUnheard({ sent, status, usage, end }: RequestOutcome): boolean {
  return sent && status === undefined && usage === undefined && end !== 'error';
}

/** Settles a try whose admission was lost: the account may have placed the hold all the same. Nothing goes up, so it is 0. */
async function orUnsent<T>(request: MeterRequest, admitting: Promise<T>): Promise<T> {
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
  const { earlier = 0 } = later ?? {};
  const first = await askForModel(choice, later);
  let decided = first;
  // If the budget does not pay for this model, it may pay for another one.
  const isTooDear = first.answer.outcome === 'refused' && first.answer.refusal.reason === 'spend';
  while (isTooDear && decided.answer.outcome !== 'admitted') {
    if (!(await choice.next())) return grantedBy(first.answer) as never;
    decided = await askForModel(choice, later);
  }
  const { answer, worstCase, terms, startedAt, isCountable, isKept } = decided;
  const admitted = grantedBy(answer);
  const budget = budgetBefore(admitted);
  const grant = {
    ...grantOf(worstCase, terms, admitted),
    ...(budget && { budget }),
    ...(earlier > 0 ? { earlier } : {}),
    startedAt,
  };
  const next = () => {
    // The request object itself is changed, not copied, so that `release` frees the body for every try.
    request.requestId = tryId(request.requestId, number + 1);
  };
  const meter = requestMeterOf(request, grant);
  return {
    ...meter,
    settle: (outcome, extra, later) => {
      const isCounted = isCountable && terms.promptCost >= COUNTED_FROM && isUnheard(outcome);
      if (later || !isCounted) return meter.settle(outcome, extra, later);
      request.waitUntil(meter.leave());
      // Without a count it is booked by its bytes.
      const counting = countUnanswered(choice).catch(() => undefined);
      const counted = counting.then((prompt_tokens) => ({ ...outcome, prompt_tokens }));
      return meter.settle(outcome, extra, counted);
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
      return orUnsent(request, admitTry(choice, number + 1, later));
    },
    hasFallback: () => choice.hasNext,
    fallBack: async (later) => {
      next();
      const back = choice.mark();
      while (await choice.next()) {
        try {
          return await orUnsent(request, admitTry(choice, number + 1, later));
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
  return quotaHeaders(grantedBy(answer).standing);
}

/** @returns the number of a try, from its name in the ledger. The first try of a request has no number; it is 1. */
export function numberOfTry(requestId: string): number {
  return Number(/\.(\d+)$/.exec(requestId)?.[1] ?? 1);
}

/** @returns the name of a later try in the ledger: the request's id, followed by the number of the try. */
export function tryId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}
