/**
 * Chooses an upstream for a request, and sends the request to the next one (failover) while no byte of an answer has come.
 */

import { pause } from '../kit/async/pause.ts';
import { type ApiError, createRetryableError } from '../kit/http/errors.ts';
import { isolateCounts } from '../kit/http/isolate-counts.ts';
import { type AttemptContext, type FailedAttempt, tryUpstreamOnce } from './attempt-upstream.ts';
import { type ClassifiedFailure, hasNotReachedUpstream } from './classify-failure.ts';
import { canEdgeRetryForClient } from './client-retries.ts';
import { UpstreamFailure } from './failure.ts';
import type { ConfiguredUpstream } from './providers/entry.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import { computeRetryWaitMs, MAX_RETRY_WAIT_MS } from './retry.ts';
import type { SendProgress } from './send-progress.ts';
import { canPaymentRepeatRequest, type SendUpstreamOptions, type UpstreamRequest } from './send-request.ts';
import { createCandidates, orderUpstreams, type UpstreamChoice } from './upstreams/order.ts';
import {
  findUpstreams,
  listUpstreamsWithCachedPrompt,
  type UpstreamPool,
  type UpstreamRoutingInput,
} from './upstreams/pool.ts';

/** If an upstream asks for a shorter wait than this, waiting is better than another upstream without the prompt cache. */
const SHORT_WAIT_MS = 2_000;
/** How much a failure tells the caller; the highest is answered. */
const INFORMATIVENESS = { request: 0, refused: 0, unclear: 0, missing: 1, down: 2, overloaded: 2, again: 2 } as const;

/** Whether a failure is the upstream's own, and counts to it: it is not about the request, nor about a model that it lacks. */
const COUNTS_AS_FAILURE = {
  request: false,
  missing: false,
  again: false,
  refused: true,
  unclear: true,
  down: true,
  overloaded: true,
} as const satisfies Record<ClassifiedFailure['kind'], boolean>;

/** Sends a request to the upstreams that can take it, one after the other, until one of them answers. */
export class Failover {
  readonly #pool: UpstreamPool;
  readonly #request: UpstreamRequest;
  readonly #options: SendUpstreamOptions;
  readonly #deadline: number;
  readonly #progress: SendProgress;
  #routing: UpstreamRoutingInput;
  #body: RequestBodyFactory | undefined;
  #capableUpstreams: readonly ConfiguredUpstream[];
  /** The names of the upstreams that were tried in this round. */
  readonly #triedNames = new Set<string>();
  /** The names of the upstreams that have already asked for a wait once. */
  readonly #waitedNames = new Set<string>();
  /** The names of the upstreams that would probably fail again in the same way. Each try may be billed. */
  readonly #excludedNames = new Set<string>();
  #rounds = 0;
  #hasTried = false;
  /** Whether upstreams with open breakers are tried, too. */
  #isLastResort = false;
  /**
   * Whether another model may step in. `refused`: the account has admitted none, so no hold exists, and another try must be admitted
   * first; then there is `none`.
   */
  #fallbackState: 'perhaps' | 'none' | 'refused' = 'perhaps';
  #bestFailure: FailedAttempt | undefined;
  /** What an upstream next door refuses. It is the answer where all others lack the model. */
  #otherServiceFailure: FailedAttempt | undefined;
  /** The first failure, its upstream, and the model that it was asked for. An upstream that is passed over counts as busy. */
  #firstFailure: { kind: ClassifiedFailure['kind']; name: string; model: string | undefined } | undefined;
  /** Whether an upstream that failed in this round may soon work again. */
  #isWorthWaiting = false;

  /**
   * @param deadline in milliseconds since 1970
   * @throws NoUpstreamError if no upstream can take the request
   */
  constructor(pool: UpstreamPool, request: UpstreamRequest, options: SendUpstreamOptions, deadline: number) {
    this.#pool = pool;
    this.#request = request;
    this.#options = options;
    this.#deadline = deadline;
    this.#progress = options.progress;
    this.#routing = request.routing ?? { streams: false };
    this.#body = request.body;
    this.#capableUpstreams = findUpstreams(pool, request, this.#routing);
  }

  /**
   * @returns the first answer; if there is none, the refusal that tells the caller most
   * @throws ApiError if no upstream could be reached
   */
  async runUntilAnswered(): Promise<Response> {
    const [own] = this.#capableUpstreams;
    for (;;) {
      if (this.#progress.isAbandoned && this.#hasTried) return this.#returnBestRejection();
      const { available: well, open } = this.#orderChoices();
      if (own && well[0]?.name !== own.name)
        this.#firstFailure ??= { kind: 'overloaded', name: own.name, model: this.#routing.model };
      const [next] = this.#isLastResort ? [...well, ...open] : well;
      if (next) {
        if (!(await this.#payForNextTry())) return this.#returnBestRejection();
        // An attempt abandoned for lateness may have run and be billed, so start another one only if the payment covers both.
        const hasOther =
          canPaymentRepeatRequest(this.#options) &&
          (well.length + open.length > 1 || this.#canStartNextRound(next.name));
        const answer = await this.#tryUpstream(next, hasOther);
        if (answer) return answer;
        continue;
      }
      if (await this.#switchToFallbackModel()) continue;
      if (!this.#isLastResort && open.length > 0) this.#isLastResort = true;
      else if (!(await this.#waitForNextRound())) return this.#returnBestRejection();
    }
  }

  /** @returns the upstreams that are left in this round. */
  #orderChoices(): ReturnType<typeof orderUpstreams<UpstreamChoice>> {
    const now = Date.now();
    const left = this.#capableUpstreams.filter(
      ({ name }) => !this.#triedNames.has(name) && !this.#excludedNames.has(name),
    );
    const choices = createCandidates(this.#pool, left, this.#routing.model, now);
    const cached =
      this.#capableUpstreams.length > 1 ? listUpstreamsWithCachedPrompt(this.#pool, this.#routing, now) : [];
    return orderUpstreams(choices, cached, !canPaymentRepeatRequest(this.#options));
  }

  /** Pays for another try if the one before may have run. @returns false if nobody pays for it */
  async #payForNextTry(): Promise<boolean> {
    const { payment } = this.#options;
    const isHeld = this.#fallbackState !== 'refused';
    if (this.#progress.sentAt === undefined && isHeld) return true;
    if (payment === undefined || !this.#canTryAgainAfterPossibleRun()) return false;
    if (payment !== 'free' && isHeld) await payment.settleFailedAttempt(this.#options.createFailedOutcome());
    this.#resetTryProgress();
    if (payment === 'free') return true;
    try {
      this.#body = await payment.retry();
    } catch (thrown) {
      // The caller did not request this attempt. If the budget rejects it, return the failure of the previous attempt instead.
      if (this.#bestFailure) return false;
      throw thrown;
    }
    if (!isHeld) this.#fallbackState = 'none';
    return true;
  }

  /** Tries one upstream. @returns the answer; undefined if the next upstream must be tried */
  async #tryUpstream(choice: UpstreamChoice, hasOther: boolean): Promise<Response | undefined> {
    const { name, breaker, state } = choice;
    const now = Date.now();
    const permit = breaker.acquirePermit(now) ?? (state === 'open' ? breaker.forcePermit() : undefined);
    // Another request became the breaker's probe in the meantime, so treat the breaker as open.
    if (!permit) return undefined;
    this.#triedNames.add(name);
    if (this.#hasTried) isolateCounts.retries += 1;
    this.#hasTried = true;
    const end = this.#pool.health.begin(name, now);
    this.#progress.upstream = name;
    let failed: FailedAttempt;
    try {
      const attempt = await tryUpstreamOnce(choice, permit, this.#createAttemptContext(hasOther));
      // If the caller left during the attempt, nothing would ever close the response, so throw instead of returning it.
      this.#options.controller.signal.throwIfAborted();
      const answer = attempt instanceof Response ? attempt : this.#findFinalRejection(attempt, name);
      // An upstream that rejects an invalid request is healthy.
      if (!(attempt instanceof Response || attempt.isNoted) && attempt.failure.kind === 'request')
        breaker.recordSuccess(permit, Date.now());
      if (answer) {
        if (this.#capableUpstreams.length > 1) this.#recordBypassedUpstreams(name);
        discardFailure(this.#bestFailure);
        discardFailure(this.#otherServiceFailure);
        this.#progress.recordResponseEnd = (isCut) => {
          end();
          if (!isCut) return;
          breaker.recordFailure(permit, Date.now());
          breaker.recordPossibleRunFailure(Date.now());
        };
        return answer;
      }
      failed = attempt as FailedAttempt;
    } catch (thrown) {
      // The request timed out or the caller left. Only the timeout counts against this upstream.
      end();
      const { reason } = this.#options.controller.signal;
      if (reason instanceof UpstreamFailure && reason.end !== 'client_gone') breaker.recordFailure(permit, Date.now());
      else breaker.releasePermitWithoutResult(permit);
      throw thrown;
    }
    end();
    failed.isStreamedInternally = this.#progress.isStreamedInternally;
    failed.upstream = name;
    if (failed.isExcluded) this.#excludedNames.add(name);
    const { kind, waitMs } = failed.failure;
    if (COUNTS_AS_FAILURE[kind])
      this.#progress.failedUpstreams = [...new Set([...(this.#progress.failedUpstreams ?? []), name])];
    this.#firstFailure ??= { kind, name, model: this.#routing.model };
    this.#pool.health.getKeyHealth(name).recordAnswerOrRejection(failed.failure, Date.now());
    if (this.#progress.sentAt !== undefined) breaker.recordPossibleRunFailure(Date.now());
    const isShort =
      this.#capableUpstreams.length > 1 && kind === 'overloaded' && waitMs !== undefined && waitMs <= SHORT_WAIT_MS;
    // Wait only once for each upstream: one that repeatedly asks for a wait would delay every request.
    const waits = isShort && !permit.isProbe && !this.#waitedNames.has(name) && Date.now() + waitMs < this.#deadline;
    if (kind === 'again') breaker.recordSuccess(permit, Date.now());
    else if (waits || failed.isNoted || kind === 'request' || (kind === 'missing' && !this.#isListedModel()))
      breaker.releasePermitWithoutResult(permit);
    else if (kind === 'unclear') breaker.recordPossibleCallerFault(permit, Date.now(), this.#routing.account, waitMs);
    else breaker.recordFailure(permit, Date.now(), waitMs !== undefined && waitMs > SHORT_WAIT_MS ? waitMs : undefined);
    this.#keepMostInformativeFailure(failed);
    if (waits) {
      this.#waitedNames.add(name);
      await this.#waitWithoutBilling(waitMs);
      this.#triedNames.delete(name);
    }
    return undefined;
  }

  /** Notes at the upstreams in front of the one that has answered, as far as they are paused, that the request went there. */
  #recordBypassedUpstreams(name: string): void {
    for (const one of createCandidates(this.#pool, this.#capableUpstreams, this.#routing.model, Date.now())) {
      if (one.name === name) return;
      one.breaker.recordBypass(name);
    }
  }

  /** @returns a refusal of the caller's own fault, unless it is of an upstream next door, and may be about what that one takes. */
  #findFinalRejection({ failure: verdict, response, opening }: FailedAttempt, name: string): Response | undefined {
    const { kind = 'request', name: first = name, model } = this.#firstFailure ?? {};
    const isNextDoor = first !== name || (this.#firstFailure && model !== this.#routing.model);
    const isForeign = verdict.isAboutThinking && !this.#options.repairsThinking;
    const saysMore = kind === 'missing' || (verdict.isPublished && !isForeign);
    if (verdict.kind !== 'request' || (isNextDoor && !saysMore)) return undefined;
    this.#progress.opening = opening;
    return response;
  }

  #createAttemptContext(hasOther: boolean): AttemptContext {
    const isOneOfSeveral = this.#capableUpstreams.length > 1;
    return {
      pool: this.#pool,
      request: this.#request,
      options: this.#options,
      routing: this.#routing,
      body: this.#body,
      isOneOfSeveral,
      hasOther,
    };
  }

  /** @returns whether the table has the model's name. A name that a caller has invented must not open a breaker. */
  #isListedModel(): boolean {
    const { model = '' } = this.#routing;
    const row = this.#pool.models.findRow(model);
    return row !== undefined && [row.id, ...row.aliases].includes(model);
  }

  /** Keeps the failure that tells the caller most. (A refused key, for example, tells only the operator something.) */
  #keepMostInformativeFailure(failed: FailedAttempt): void {
    // An attempt that may have run is settled from its own response, so keep that failure, whatever its rank.
    const { kind, waitMs = 0 } = failed.failure;
    if (kind === 'request') {
      discardFailure(this.#otherServiceFailure);
      this.#otherServiceFailure = failed;
      return;
    }
    this.#isWorthWaiting ||=
      !failed.isExcluded &&
      INFORMATIVENESS[kind] > INFORMATIVENESS.missing &&
      waitMs <= (this.#options.patienceMs ?? MAX_RETRY_WAIT_MS);
    const best = this.#bestFailure?.failure;
    const least = best && this.#progress.sentAt === undefined ? INFORMATIVENESS[best.kind] : 0;
    if (INFORMATIVENESS[kind] < least) {
      discardFailure(failed);
      return;
    }
    // If all upstreams are overloaded, return the shortest wait: the caller can retry once any upstream is available.
    const isLater =
      kind === 'overloaded' && best?.kind === kind && best.waitMs !== undefined && !(waitMs < best.waitMs);
    discardFailure(isLater ? failed : this.#bestFailure);
    if (!isLater) this.#bestFailure = failed;
  }

  /** Asks whether another model may step in, and prepares its tries. @returns whether one does */
  async #switchToFallbackModel(): Promise<boolean> {
    const { payment } = this.#options;
    if (this.#fallbackState !== 'perhaps' || payment === undefined || payment === 'free' || !payment.fallBack)
      return false;
    if (!this.#canTryAgainAfterPossibleRun()) return false;
    // If only one upstream can serve the request, try it before falling back to another model.
    const { owned, only } = this.#routing;
    if ((owned ?? only) !== undefined && this.#bestFailure === undefined) return false;
    const isBusy =
      this.#bestFailure === undefined || ['overloaded', 'missing'].includes(this.#bestFailure.failure.kind);
    if (!isBusy && this.#canStartNextRound()) return false;
    const stepsIn = await payment.fallBack(this.#options.createFailedOutcome());
    if (stepsIn === 'none' || stepsIn === 'refused') {
      this.#fallbackState = stepsIn;
      return false;
    }
    const { model, body } = stepsIn;
    this.#resetTryProgress();
    this.#routing = { ...this.#routing, model };
    this.#body = body;
    this.#capableUpstreams = findUpstreams(this.#pool, this.#request, this.#routing);
    this.#triedNames.clear();
    this.#waitedNames.clear();
    this.#excludedNames.clear();
    this.#rounds = 0;
    this.#isLastResort = false;
    return true;
  }

  /** @param late an upstream that the next round leaves out */
  #canStartNextRound(late?: string): boolean {
    const { caller, maxRetries } = this.#options;
    const isReached =
      this.#progress.sentAt !== undefined || !this.#bestFailure || !hasNotReachedUpstream(this.#bestFailure.response);
    const hasAble = this.#capableUpstreams.some(({ name }) => name !== late && !this.#excludedNames.has(name));
    return (
      hasAble &&
      this.#rounds < maxRetries &&
      canEdgeRetryForClient(caller, isReached) &&
      this.#canTryAgainAfterPossibleRun()
    );
  }

  /** @returns whether another try may follow the latest one, which may have run. */
  #canTryAgainAfterPossibleRun(): boolean {
    return this.#progress.sentAt === undefined || canPaymentRepeatRequest(this.#options);
  }

  /** Waits, and begins another round over all upstreams. @returns false if there is no other round */
  async #waitForNextRound(): Promise<boolean> {
    if (!this.#isWorthWaiting || !this.#canStartNextRound()) return false;
    // With several upstreams, the wait that one of them requested does not apply to the others.
    const asking = this.#capableUpstreams.length > 1 ? undefined : this.#bestFailure?.response;
    const wait = computeRetryWaitMs(asking, this.#rounds, this.#options.patienceMs);
    if (wait === undefined || Date.now() + wait >= this.#deadline) return false;
    await this.#waitWithoutBilling(wait);
    this.#rounds += 1;
    this.#triedNames.clear();
    this.#isLastResort = false;
    this.#isWorthWaiting = false;
    return true;
  }

  /** Forgets the tries that have been settled: the next one is the first that may be running. */
  #resetTryProgress(): void {
    this.#progress.sentAt = undefined;
    this.#progress.upstream = undefined;
    this.#progress.failedUpstreams = undefined;
  }

  /** Waits. A failed try is settled by how long it ran, and this time is no part of that. */
  async #waitWithoutBilling(milliseconds: number): Promise<void> {
    const began = Date.now();
    try {
      await pause(milliseconds, this.#options.controller.signal);
    } finally {
      if (this.#progress.sentAt !== undefined) this.#progress.sentAt += Date.now() - began;
    }
  }

  /** Ends without a success. @returns the best refusal. @throws ApiError if there is no response to return */
  #returnBestRejection(): Response {
    if (this.#otherServiceFailure && this.#bestFailure?.failure.kind === 'missing') {
      discardFailure(this.#bestFailure);
      this.#bestFailure = this.#otherServiceFailure;
    } else discardFailure(this.#otherServiceFailure);
    if (this.#bestFailure?.response) {
      const { opening, isStreamedInternally = false, upstream } = this.#bestFailure;
      this.#progress.opening = opening;
      this.#progress.isStreamedInternally = isStreamedInternally;
      this.#progress.upstream = upstream;
      return this.#bestFailure.response;
    }
    throw this.#bestFailure?.failure.forCaller ?? createAllUpstreamsBusyError();
  }
}

/** Lets go of a refusal that is not answered: its body may be unread, and would keep its connection. */
function discardFailure(failed: FailedAttempt | undefined): void {
  // Cancelling a body that has already failed rejects, which does not matter.
  failed?.response?.body?.cancel().catch(() => {});
}

/** @returns the error for a request whose upstreams are all full, or not tried because they are down. */
function createAllUpstreamsBusyError(): ApiError {
  const message = 'All upstreams for this request are overloaded. Try again in a few seconds.';
  return createRetryableError(message, 'upstreams_busy', { type: 'overloaded_error', seconds: 2 });
}
