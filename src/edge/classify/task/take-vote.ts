/** Makes one call that labels a text: admits it, calls the upstream, settles it, and asks again once: with a correction, or with more tokens. */

import type { RequestContext } from '../../auth/context.ts';
import { createModelHintHeaders } from '../../claude/models/model-hint.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { describeNonThinkingModels, getMinimalThinking } from '../../claude/pricing/minimal-thinking.ts';
import { applyUserIdSetting } from '../../claude/request/user-id.ts';
import { API_VERSION, requestWholeMessage } from '../../claude/request-message.ts';
import type { Upstream } from '../../claude/upstream.ts';
import { createInvalidRequestError, DO_NOT_RETRY, toApiError } from '../../kit/http/errors.ts';
import { replaceBodyJson } from '../../kit/http/read-json.ts';
import { BilledRequest } from '../../money/admission/billed-request.ts';
import type { RequestToBill } from '../../money/admission/request-to-bill.ts';
import { createAttemptId } from '../../money/admission/reserve-attempt.ts';
import type { LimitRejection } from '../../money/contracts/admission.ts';
import { CHOICE } from '../../money/contracts/admission.ts';
import { createDimensionValue, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import type { ConcurrencyLimiter } from './concurrency-limiter.ts';
import {
  createClassificationCancelledError,
  createFailureAfterTruncatedAnswer,
  createNoUsableLabelError,
  type FailedCall,
  toFailedCall,
} from './failure.ts';
import {
  type AnswerFault,
  type ChosenLabels,
  createClassificationRequest,
  createDelimiter,
  getModelPromptOptions,
  readLabelsFromAnswer,
} from './prompt.ts';
import type { ClassificationTask } from './task.ts';

/**
 * The context in which something is classified: who pays, and how the upstream is reached. The first call has its request id
 * in the ledger, and later ones have it with a number.
 */
export interface ClassifyContext extends RequestContext {
  upstream: Upstream;
  /** Where a model is chosen by it: for which request, and its conversation. */
  chooses?: Pick<RequestToBill, 'conversation' | 'dimensions'> | undefined;
  /** The route's name in the ledger. Default `classify`. */
  route?: string | undefined;
  /** When it is aborted, no other call begins, and running calls are ended and settled. */
  signal?: AbortSignal | undefined;
  /** The faults that the simulator should make. */
  simulate?: string | undefined;
  /** The models that may step in, as the caller names them. */
  fallbackModels?: readonly string[] | undefined;
  /** Limits the calls of several inputs together. */
  limiter?: ConcurrencyLimiter | undefined;
}

/** The cost of one call to the upstream, and the upstream that responded. */
export interface ModelCallCost extends Pick<RequestOutcome, 'usage' | 'upstream' | 'upstream_request_id'> {
  nanodollars: Nanodollars;
  /** For the response: the account's rate limits, and a hint about a model that the upstream does not have. */
  headers: Record<string, string>;
  model: string;
}

interface ClassificationVote {
  choice?: ChosenLabels;
  failure?: FailedCall;
  calls: ModelCallCost[];
}

/** Milliseconds that a label's hold lasts. A hold that is not renewed in that time belongs to a process that has died. */
const LABEL_HOLD_MS = 50_000;
const RENEW_LABEL_MS = 20_000;
/** A call has so many numbers: one for each of its attempts, at several models. */
const ATTEMPTS_PER_CALL = 1_000;

/** Takes one vote: makes one call, and a second one if the first answer cannot be used. */
export async function requestVote(
  task: ClassificationTask,
  input: string,
  context: ClassifyContext & { limiter: ConcurrencyLimiter },
): Promise<ClassificationVote> {
  const calls: ModelCallCost[] = [];
  const delimiter = createDelimiter(input);
  let fault: AnswerFault | undefined;
  let id = createNextCallId(context);
  const callModelOnce = async () => {
    const called = await callClassificationModel(task, { input, delimiter, fault }, context, id);
    // A rejected call has no row in the ledger, so use its id again.
    if (called.call) id = createNextCallId(context);
    return called;
  };
  for (let tries = 0; tries < 2; tries += 1) {
    const {
      choice,
      fault: found,
      failure,
      call: paid,
    } = await context.limiter.runWithLimit(callModelOnce, isConcurrencyRejection);
    if (paid) calls.push(paid);
    if (choice) return { choice, calls };
    if (failure) {
      const wasCut = fault?.kind === 'truncated' && failure.reason !== 'cancelled';
      return {
        failure: wasCut
          ? createFailureAfterTruncatedAnswer(
              failure,
              fault?.fault ?? '',
              describeRemedyForTruncatedAnswer(context, calls),
            )
          : failure,
        calls,
      };
    }
    fault = found;
    if (fault?.kind === 'refused' || fault?.kind === 'too_long') {
      const error = createInvalidRequestError(`input: ${fault.fault}.`, {
        headers: DO_NOT_RETRY,
        logged: `model_${fault.kind}`,
      });
      return { failure: { reason: 'input', error }, calls };
    }
  }
  const help = fault?.kind === 'truncated' ? describeRemedyForTruncatedAnswer(context, calls) : undefined;
  return { failure: { reason: 'answer', error: createNoUsableLabelError(fault?.fault ?? '', help) }, calls };
}

/** @returns the name of the next call in the ledger: the request's id, and behind the first one a number */
function createNextCallId({ limiter, requestId }: ClassifyContext & { limiter: ConcurrencyLimiter }): string {
  const { callCount: names } = limiter;
  limiter.callCount += 1;
  return names === 0 ? requestId : createAttemptId(requestId, names * ATTEMPTS_PER_CALL);
}

/** @returns what helps against answers that are cut, as a sentence. @param calls the last one is of the model that was cut */
function describeRemedyForTruncatedAnswer(
  { settings: { models } }: ClassifyContext,
  calls: readonly ModelCallCost[],
): string {
  const model = calls.at(-1)?.model ?? '';
  return getMinimalThinking(models.findRow(model)).mayThink
    ? `${model} can think before it responds. Use a model that labels without thinking: ${describeNonThinkingModels(models)}.`
    : 'Use shorter labels, or `fields` with less text.';
}

interface CallResult {
  choice?: ChosenLabels;
  fault?: AnswerFault;
  failure?: FailedCall;
  call?: ModelCallCost;
}

/** Admits, makes and settles one call. */
async function callClassificationModel(
  task: ClassificationTask,
  { input, delimiter, fault }: { input: string; delimiter: string; fault: AnswerFault | undefined },
  context: ClassifyContext,
  requestId: string,
): Promise<CallResult> {
  const { identity, accounts, store, settings, upstream, signal, simulate } = context;
  const { model, requestedModel: modelAsked, prefix, prompt } = task;
  if (signal?.aborted) return { failure: toFailedCall(createClassificationCancelledError(), 'cancelled') };
  const getPromptForModel = (name: string) =>
    name === model ? prompt : { ...prompt, ...getModelPromptOptions(settings.models.findRow(name)), model: name };
  const createRequestForModel = async (name: string) => {
    const request = createClassificationRequest(getPromptForModel(name), input, fault, delimiter);
    return await applyUserIdSetting(request, settings, identity.account);
  };
  const body = await createRequestForModel(model);
  const billed = new BilledRequest(
    {
      ...context.chooses,
      requestId,
      route: context.chooses ? CHOICE : (context.route ?? 'classify'),
      identity,
      accounts,
      store,
      settings,
      upstream,
      // Pass the requested name: a limit of the account may allow the model only by its alias.
      body: replaceBodyJson(body, { ...body.json, model: modelAsked }),
      model,
      buildBodyForModel: createRequestForModel,
      headers: new Headers({ 'anthropic-version': API_VERSION }),
      dimensions: { ...context.chooses?.dimensions, ...createDimensionValue(OF_PREFIX, prefix) },
      fallbackModels: context.fallbackModels ?? task.fallbackModels,
      routing: { streams: false, account: identity.account },
      signal,
      holdMs: LABEL_HOLD_MS,
      // Do not wait for budget while choosing a model for another request: if the call is rejected, that request uses its
      // default model.
      waits: context.chooses === undefined,
      waitUntil: (work) => context.waitUntil(work),
    },
    { modelInBody: model },
  );
  try {
    await billed.reserve();
  } catch (thrown) {
    return { failure: toFailedCall(toApiError(thrown)) };
  }
  const started = Date.now();
  // If a renewal fails, the next one makes up for it. If all fail, the account settles the call at its maximum cost, and
  // corrects the cost when the call ends.
  const renewing = setInterval(() => context.waitUntil(billed.renew().catch(() => undefined)), RENEW_LABEL_MS);
  const { outcome, message, error } = await requestWholeMessage(billed.createBody, {
    upstream,
    settings,
    signal,
    simulate,
    payment: billed,
    routing: billed.routing,
    waitUntil: context.waitUntil,
  });
  clearInterval(renewing);
  const { nanodollars, done } = billed.settle(outcome, { ms: Date.now() - started });
  // If settling fails, the failure is logged, and the account's alarm settles the call later, so do not fail the request.
  context.waitUntil(done);
  await done.catch(() => undefined);
  const { usage, upstream: answeredBy, upstream_request_id } = outcome;
  // The header names the classifier's model, which a restricted token must not learn.
  const hint = identity.only ? {} : createModelHintHeaders(error?.status ?? 0, billed.model, settings.models);
  const headers = { ...billed.latestAttempt.admission?.headers, ...hint };
  const paid: ModelCallCost = {
    nanodollars,
    usage,
    headers,
    upstream: answeredBy,
    upstream_request_id,
    model: billed.model,
  };
  if (error || !message) {
    const reason = outcome.end === 'client_gone' ? 'cancelled' : undefined;
    return { failure: toFailedCall(error ?? createNoUsableLabelError('the response was empty'), reason), call: paid };
  }
  const read = readLabelsFromAnswer(message, getPromptForModel(billed.model));
  return 'labels' in read ? { choice: read, call: paid } : { fault: read, call: paid };
}

function isConcurrencyRejection({ failure }: CallResult): boolean {
  const { reason, never } = (failure?.error.cause ?? {}) as Partial<LimitRejection>;
  return (reason === 'concurrency' && !never) || reason === 'held';
}
