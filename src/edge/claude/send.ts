/** Sends a request upstream: attempt after attempt, at one upstream or several, until one of them is answered. */

import { pause } from '../kit/async/pause.ts';
import { type ApiError, createRetryableError } from '../kit/http/errors.ts';
import { isolateCounts } from '../kit/http/isolate-counts.ts';
import { Attempt, type AttemptContext, type FailedAttempt } from './attempt.ts';
import { BestFailure } from './best-failure.ts';
import { type ClassifiedFailure, hasNotReachedUpstream } from './classify-failure.ts';
import { canEdgeRetryForClient } from './client-retries.ts';
import type { ConfiguredUpstream } from './providers/entry.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import { computeRetryWaitMs, MAX_RETRY_WAIT_MS, TRANSIENT_KINDS } from './retry.ts';
import type { SendProgress } from './send-progress.ts';
import { canPaymentRepeatRequest, type SendUpstreamOptions, type UpstreamRequest } from './send-request.ts';
import type { Upstream } from './upstream.ts';
import { SHORT_WAIT_MS, UpstreamPermit } from './upstream-permit.ts';
import { createCandidates, orderUpstreams, type UpstreamChoice } from './upstreams/order.ts';
import {
  createUpstreamRemovedError,
  findUpstreams,
  listUpstreamsWithCachedPrompt,
  type UpstreamRoutingInput,
} from './upstreams/pool.ts';

/** The kinds of failure that are the upstream's own: they are not about the request, nor about a model that it lacks. */
const UPSTREAM_FAULTS: ReadonlySet<ClassifiedFailure['kind']> = new Set(['refused', 'unclear', 'down', 'overloaded']);

/** Stands for the only upstream, which has neither a name nor a breaker. */
const ONLY_UPSTREAM = { name: '', upstream: undefined };
type AttemptChoice = UpstreamChoice | typeof ONLY_UPSTREAM;

/**
 * A step on the way to a response: an attempt that failed, a wait after which the next round begins, a fallback model that takes
 * over, or the decision that this round tries upstreams with open breakers, too.
 */
type SendStep = FailedAttempt | 'wait' | 'fallback' | 'last resort';

/**
 * Sends a request upstream. Until the first byte of a response, it retries transient failures, and tries other upstreams and
 * fallback models.
 *
 * @returns the response; if no attempt succeeds, the most informative rejection
 * @throws NoUpstreamError if no upstream can serve the request
 * @throws ApiError if there is no response: no headers came in time, or no upstream could be reached
 * @throws the signal's reason when it is aborted
 */
export async function sendToUpstream(
  upstream: Upstream,
  request: UpstreamRequest,
  options: SendUpstreamOptions,
): Promise<Response> {
  try {
    return await new RequestSender(upstream, request, options).sendUntilAnswered();
  } catch (thrown) {
    const { signal } = options.controller;
    throw signal.aborted ? signal.reason : thrown;
  }
}

/**
 * Sends one request. Its state is the list of its steps, above all of the attempts that failed, each with the reason. From them
 * follow the upstreams that are left, whether a wait may help, and what is returned if no attempt succeeds.
 *
 * A round tries each upstream once. After it, a fallback model takes over, upstreams with open breakers are tried, or another
 * round begins after a wait. An attempt that may have run is settled before the next one is reserved.
 */
class RequestSender {
  readonly #upstream: Upstream;
  readonly #request: UpstreamRequest;
  readonly #options: SendUpstreamOptions;
  readonly #progress: SendProgress;
  /** In milliseconds since 1970. */
  readonly #deadline: number;
  readonly #steps: SendStep[] = [];
  readonly #best: BestFailure;
  /**
   * The first failure, which decides whether a later rejection is final: its kind and upstream, and the requested model. If the
   * preferred upstream is skipped, that counts as a failure by overload.
   */
  #firstFailure: { kind: ClassifiedFailure['kind']; upstream: string; model: string | undefined } | undefined;
  #routing: UpstreamRoutingInput;
  #body: RequestBodyFactory | undefined;
  /** The upstreams of UPSTREAMS that can serve the request. */
  #capable: readonly ConfiguredUpstream[] = [];
  #canFallBack = true;
  /** Whether the account holds the cost of the next attempt. */
  #hasHold = true;

  constructor(upstream: Upstream, request: UpstreamRequest, options: SendUpstreamOptions) {
    const { pool } = upstream;
    const { routing = { streams: false } } = request;
    if (!pool && routing.requiredUpstream !== undefined) throw createUpstreamRemovedError(routing.requiredUpstream);
    this.#upstream = upstream;
    this.#request = request;
    this.#options = options;
    this.#progress = options.progress;
    this.#deadline = Date.now() + options.timeoutMs;
    this.#best = new BestFailure(!pool);
    this.#routing = routing;
    this.#body = request.body;
    if (pool) this.#capable = findUpstreams(pool, request, routing);
  }

  /** @returns as `sendToUpstream` */
  async sendUntilAnswered(): Promise<Response> {
    const [preferred] = this.#names;
    for (;;) {
      if (this.#progress.isAbandoned && this.#hasFailed) return this.#returnBestRejection();
      const { available, open } = this.#orderChoices();
      if (available[0]?.name !== preferred)
        this.#firstFailure ??= { kind: 'overloaded', upstream: preferred ?? '', model: this.#routing.model };
      const [next] = this.#isLastResort ? [...available, ...open] : available;
      if (next) {
        if (!(await this.#payForNextAttempt())) return this.#returnBestRejection();
        const response = await this.#attempt(next, available.length + open.length > 1);
        if (response) return response;
      } else if (!(await this.#switchToFallbackModel())) {
        if (!this.#isLastResort && open.length > 0) this.#steps.push('last resort');
        else if (!(await this.#waitForNextRound())) return this.#returnBestRejection();
      }
    }
  }

  /** The names of the upstreams that can serve the request; an empty name for the only upstream. */
  get #names(): readonly string[] {
    return this.#upstream.pool ? this.#capable.map(({ name }) => name) : [ONLY_UPSTREAM.name];
  }

  /** Whether several upstreams can serve the request. */
  get #hasSeveral(): boolean {
    return this.#capable.length > 1;
  }

  /** @returns the steps since the last one of these kinds; all if there is none */
  #listStepsSince(...kinds: readonly SendStep[]): readonly SendStep[] {
    return this.#steps.slice(this.#steps.findLastIndex((step) => kinds.includes(step)) + 1);
  }

  get #hasFailed(): boolean {
    return this.#steps.some(isFailedAttempt);
  }

  get #attemptsOfModel(): readonly FailedAttempt[] {
    return this.#listStepsSince('fallback').filter(isFailedAttempt);
  }

  /** How often the present model's upstreams were waited for. */
  get #waits(): number {
    return this.#listStepsSince('fallback').filter((step) => step === 'wait').length;
  }

  /** Whether this round tries upstreams with open breakers, too. */
  get #isLastResort(): boolean {
    return this.#listStepsSince('fallback', 'wait').includes('last resort');
  }

  /** @returns the upstreams that are left in this round */
  #orderChoices(): { available: readonly AttemptChoice[]; open: readonly AttemptChoice[] } {
    const { pool } = this.#upstream;
    const attempts = this.#listStepsSince('fallback', 'wait').filter(isFailedAttempt);
    const isLeft = ({ name }: { name: string }) =>
      !this.#isExcluded(name) && !attempts.some(({ upstream, isRepeated }) => upstream === name && !isRepeated);
    if (!pool) return { available: [ONLY_UPSTREAM].filter(isLeft), open: [] };
    const now = Date.now();
    const choices = createCandidates(pool, this.#capable.filter(isLeft), this.#routing.model, now);
    const cached = this.#hasSeveral ? listUpstreamsWithCachedPrompt(pool, this.#routing, now) : [];
    return orderUpstreams(choices, cached, !canPaymentRepeatRequest(this.#options));
  }

  /** @returns whether an upstream would probably fail again for the model */
  #isExcluded(name: string): boolean {
    return this.#attemptsOfModel.some(({ upstream, isExcluded }) => upstream === name && isExcluded);
  }

  /** Settles the attempt before if it may have run, and reserves the next one. @returns false if that is not paid for */
  async #payForNextAttempt(): Promise<boolean> {
    const { payment, createFailedOutcome } = this.#options;
    if (this.#progress.sentAt === undefined && this.#hasHold) return true;
    if (payment === undefined || !this.#canRepeat) return false;
    if (payment !== 'free' && this.#hasHold) await payment.settleFailedAttempt(createFailedOutcome());
    this.#forgetSettledAttempts();
    // Re-check: the caller may have left while the attempt was settled. The signal is not aborted then, because the attempt was
    // still to be read.
    if (this.#progress.isAbandoned) return false;
    if (payment === 'free') return true;
    try {
      this.#body = await payment.retry();
    } catch (thrown) {
      // The caller did not request this further attempt. If the budget rejects it, return the failure of the previous attempt
      // instead of the rejection.
      if (this.#best.attempt) return false;
      throw thrown;
    }
    this.#hasHold = true;
    return true;
  }

  /**
   * Makes an attempt at one upstream.
   *
   * @returns the response to return; undefined if another attempt must follow
   */
  async #attempt(choice: AttemptChoice, hasOtherChoice: boolean): Promise<Response | undefined> {
    const { pool } = this.#upstream;
    const permit = pool && choice.upstream ? UpstreamPermit.acquire(pool, choice) : undefined;
    // Another request became the breaker's probe in the meantime, so treat the breaker as open.
    if (choice.upstream && !permit) return undefined;
    if (this.#hasFailed) isolateCounts.retries += 1;
    this.#progress.upstream = permit?.upstream.name;
    const { signal } = this.#options.controller;
    let result: Response | FailedAttempt;
    try {
      result = await new Attempt(this.#createAttemptContext(choice.name, permit, hasOtherChoice)).run();
      // If the caller left during the attempt, nothing would ever close the response, so throw instead of returning it.
      signal.throwIfAborted();
    } catch (thrown) {
      permit?.recordAbort(signal.reason);
      throw thrown;
    }
    if (result instanceof Response) return this.#endWithResponse(result, permit);
    const { failure, response, opening, isRecorded } = result;
    // A rejected request is the caller's error and shows that the upstream works, so record a success for its health.
    if (failure.kind === 'request' && !isRecorded) permit?.recordAnswer();
    if (!response || !this.#isFinalRejection(result)) return await this.#recordFailure(result, permit);
    this.#progress.opening = opening;
    return this.#endWithResponse(response, permit);
  }

  #createAttemptContext(name: string, permit: UpstreamPermit | undefined, hasOtherChoice: boolean): AttemptContext {
    const isOneOfSeveral = this.#hasSeveral;
    // An attempt that timed out may have run and be billed, so send another one only if the payment covers both.
    const hasOther = isOneOfSeveral
      ? canPaymentRepeatRequest(this.#options) && (hasOtherChoice || this.#canStartNextRound(name))
      : this.#canStartNextRound();
    return {
      upstream: this.#upstream,
      permit,
      request: this.#request,
      options: this.#options,
      routing: this.#routing,
      body: this.#body,
      isOneOfSeveral,
      hasOther,
    };
  }

  /** Ends with a response, which its reader must report to the upstream by `progress.recordResponseEnd`. */
  #endWithResponse(response: Response, permit: UpstreamPermit | undefined): Response {
    this.#best.discard();
    if (!permit) return response;
    if (this.#hasSeveral) this.#recordBypassedUpstreams(permit);
    this.#progress.recordResponseEnd = (isCut) => permit.recordEnd(isCut);
    return response;
  }

  /** Records at the upstreams before the one that responded, if their breakers are open, that the request went there. */
  #recordBypassedUpstreams({ pool, upstream: { name } }: UpstreamPermit): void {
    for (const one of createCandidates(pool, this.#capable, this.#routing.model, Date.now())) {
      if (one.name === name) return;
      one.breaker.recordBypass(name);
    }
  }

  /**
   * @returns whether a rejection is the caller's own fault. After the failure of another service, it may be only about what this one
   *   supports
   */
  #isFinalRejection({ upstream, failure }: FailedAttempt): boolean {
    if (failure.kind !== 'request') return false;
    const first = this.#firstFailure;
    if (!first || (first.upstream === upstream && first.model === this.#routing.model)) return true;
    const isForeign = failure.isAboutThinking && !this.#options.repairsThinking;
    return first.kind === 'missing' || (failure.isPublished === true && !isForeign);
  }

  /** Records a failed attempt. If its upstream requests a short wait, waits and lets the upstream be tried again. */
  async #recordFailure(failed: FailedAttempt, permit: UpstreamPermit | undefined): Promise<undefined> {
    const { upstream, failure, isRecorded } = failed;
    const { kind, waitMs } = failure;
    const mayHaveRun = this.#progress.sentAt !== undefined;
    const isShortWait = this.#hasSeveral && kind === 'overloaded' && waitMs !== undefined && waitMs <= SHORT_WAIT_MS;
    // Wait only once for each upstream: one that repeatedly asks for a wait would delay every request.
    const hasWaited = this.#attemptsOfModel.some((one) => one.upstream === upstream && one.isRepeated);
    failed.isRepeated = isShortWait && !permit?.isProbe && !hasWaited && Date.now() + waitMs < this.#deadline;
    this.#steps.push(failed);
    this.#firstFailure ??= { kind, upstream, model: this.#routing.model };
    if (permit && UPSTREAM_FAULTS.has(kind))
      this.#progress.failedUpstreams = [...new Set([...(this.#progress.failedUpstreams ?? []), upstream])];
    permit?.recordFailure(failure, this.#routing, { isUncounted: failed.isRepeated || isRecorded, mayHaveRun });
    this.#best.add(failed, mayHaveRun);
    if (failed.isRepeated) await this.#waitWithoutBilling(waitMs ?? 0);
  }

  /** Reserves an attempt with a fallback model, and begins with its upstreams. @returns false if no such model takes over */
  async #switchToFallbackModel(): Promise<boolean> {
    const { payment, createFailedOutcome } = this.#options;
    const { pool } = this.#upstream;
    if (!pool || !this.#canFallBack || payment === undefined || payment === 'free' || !payment.fallBack) return false;
    if (!this.#canRepeat) return false;
    const { boundResource, requiredUpstream } = this.#routing;
    const { attempt: best } = this.#best;
    // If only one upstream can serve the request, try it before falling back to another model.
    if ((boundResource ?? requiredUpstream) !== undefined && !best) return false;
    const isBusy = !best || best.failure.kind === 'overloaded' || best.failure.kind === 'missing';
    if (!isBusy && this.#canStartNextRound()) return false;
    const fallback = await payment.fallBack(createFailedOutcome());
    if (fallback === 'none' || fallback === 'refused') {
      this.#canFallBack = false;
      this.#hasHold = fallback === 'none';
      return false;
    }
    this.#forgetSettledAttempts();
    this.#routing = { ...this.#routing, model: fallback.model };
    this.#body = fallback.body;
    this.#capable = findUpstreams(pool, this.#request, this.#routing);
    this.#steps.push('fallback');
    return true;
  }

  /** @param excluded an upstream that the next round will leave out */
  #canStartNextRound(excluded?: string): boolean {
    const { caller, maxRetries } = this.#options;
    const { attempt: best } = this.#best;
    const isReached = this.#progress.sentAt !== undefined || !best || !hasNotReachedUpstream(best.response);
    return (
      this.#names.some((name) => name !== excluded && !this.#isExcluded(name)) &&
      this.#waits < maxRetries &&
      canEdgeRetryForClient(caller, isReached) &&
      this.#canRepeat
    );
  }

  /** Whether another attempt may follow the latest one, which may have run. */
  get #canRepeat(): boolean {
    return this.#progress.sentAt === undefined || canPaymentRepeatRequest(this.#options);
  }

  /** Waits, and begins another round over all upstreams. @returns false if there is no other round */
  async #waitForNextRound(): Promise<boolean> {
    const { patienceMs = MAX_RETRY_WAIT_MS } = this.#options;
    // With a single upstream (no pool), `computeRetryWaitMs` decides below, from its status and headers, whether to wait. With
    // several, wait only if one of them failed in a way that passes.
    const isWorthWaiting =
      !this.#upstream.pool ||
      this.#listStepsSince('wait')
        .filter(isFailedAttempt)
        .some(
          ({ failure: { kind, waitMs = 0 }, isExcluded }) =>
            !isExcluded && TRANSIENT_KINDS.has(kind) && waitMs <= patienceMs,
        );
    if (!isWorthWaiting || !this.#canStartNextRound()) return false;
    // With several upstreams, the wait that one of them requested does not apply to the others.
    const rejection = this.#hasSeveral ? undefined : this.#best.attempt?.response;
    const wait = computeRetryWaitMs(rejection, this.#waits, patienceMs);
    if (wait === undefined || Date.now() + wait >= this.#deadline) return false;
    await this.#waitWithoutBilling(wait);
    this.#steps.push('wait');
    return true;
  }

  /** Forgets the attempts that have been settled: the next one is the first that may be running. */
  #forgetSettledAttempts(): void {
    this.#progress.sentAt = undefined;
    this.#progress.upstream = undefined;
    this.#progress.failedUpstreams = undefined;
  }

  /** Waits. A failed attempt is settled by how long it ran, and this time is no part of that. */
  async #waitWithoutBilling(milliseconds: number): Promise<void> {
    const began = Date.now();
    try {
      await pause(milliseconds, this.#options.controller.signal);
    } finally {
      if (this.#progress.sentAt !== undefined) this.#progress.sentAt += Date.now() - began;
    }
  }

  /** Ends without a success. @returns the best rejection. @throws ApiError if there is no response to return */
  #returnBestRejection(): Response {
    const best = this.#best.take();
    if (!best?.response) throw best?.failure.forCaller ?? createAllUpstreamsBusyError();
    this.#progress.opening = best.opening;
    this.#progress.isStreamedInternally = best.isStreamedInternally;
    this.#progress.upstream = best.upstream || undefined;
    return best.response;
  }
}

function isFailedAttempt(step: SendStep): step is FailedAttempt {
  return typeof step !== 'string';
}

/** @returns the error for a request whose upstreams are all full, or not tried because they are down. */
function createAllUpstreamsBusyError(): ApiError {
  const message = 'All upstreams for this request are overloaded. Try again in a few seconds.';
  return createRetryableError(message, 'upstreams_busy', { type: 'overloaded_error', seconds: 2 });
}
