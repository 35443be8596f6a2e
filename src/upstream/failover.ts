/** Sends a request to one of several upstreams, and to the next one while nothing of an answer has come. */

import { pause } from '../async/pause.ts';
import { ApiError, toApiError } from '../http/errors.ts';
import { type AttemptContext, attemptAt, type FailedAttempt } from './attempt-upstream.ts';
import { candidatesOf, type TryChoice } from './choice/candidates.ts';
import { orderOfTries } from './choice/order.ts';
import { homeOf, type Routing, type UpstreamPool, upstreamsFor } from './choice/pool.ts';
import { mayRepeat } from './client-retries.ts';
import { UpstreamFailure } from './failure.ts';
import type { OpenUpstream } from './kinds/entry.ts';
import type { BodyMaker } from './kinds/kind.ts';
import { LONGEST_WAIT_MS, waitBeforeRetry } from './retry.ts';
import type { SendOptions, SendProgress, SendRequest } from './send-request.ts';

/** A shorter wait than this is worth it: the upstream that asks for it has the cache. */
const SHORT_WAIT_MS = 2_000;
/** How much a failure tells the caller. */
const TELLING = { refused: 0, missing: 1, down: 2, overloaded: 2, again: 2 } as const;

/**
 * Sends a request to the upstreams that can take it, one after the other, until one of them answers.
 *
 * @param deadline in milliseconds since 1970
 * @returns the first answer; where none comes, the refusal that tells most
 * @throws ApiError where no upstream can take the request, where the account does not admit a further try, or where no
 * upstream could be reached
 */
export async function sendAmong(
  pool: UpstreamPool,
  request: SendRequest,
  options: SendOptions,
  deadline: number,
): Promise<Response> {
  return await new Failover(pool, request, options, deadline).run();
}

class Failover {
  readonly #pool: UpstreamPool;
  readonly #request: SendRequest;
  readonly #options: SendOptions;
  readonly #deadline: number;
  readonly #course: SendProgress;
  #routing: Routing;
  #body: BodyMaker | undefined;
  #able: readonly OpenUpstream[];
  /** Those that were tried in this round. */
  readonly #tried = new Set<string>();
  /** Those that have asked once to be waited for. */
  readonly #waitedFor = new Set<string>();
  #rounds = 0;
  /** Whether upstreams are tried although their breakers are open. */
  #isLastResort = false;
  #canFallBack = true;
  /** Whether nothing is set aside, as no other model was admitted: a further try is admitted first. */
  #isUnpaid = false;
  #best: FailedAttempt | undefined;
  /** Whether one of those that failed in this round may soon be well. */
  #isWorthWaiting = false;

  constructor(pool: UpstreamPool, request: SendRequest, options: SendOptions, deadline: number) {
    this.#pool = pool;
    this.#request = request;
    this.#options = options;
    this.#deadline = deadline;
    this.#course = options.course ?? { sentAt: undefined };
    this.#routing = request.routing ?? { streams: false };
    this.#body = request.body;
    this.#able = upstreamsFor(pool, request, this.#routing);
  }

  async run(): Promise<Response> {
    for (;;) {
      const { well, open } = this.#order();
      const [next] = this.#isLastResort ? [...well, ...open] : well;
      if (next) {
        if (!(await this.#pay())) return this.#give();
        const answer = await this.#try(next, well.length + open.length > 1 || this.#mayRetry());
        if (answer) return answer;
        continue;
      }
      if (await this.#fallBack()) continue;
      if (!this.#isLastResort && open.length > 0) this.#isLastResort = true;
      else if (!(await this.#again())) return this.#give();
    }
  }

  /** @returns the upstreams that are left in this round. */
  #order(): ReturnType<typeof orderOfTries<TryChoice>> {
    const now = Date.now();
    const left = this.#able.filter(({ name }) => !this.#tried.has(name));
    const choices = candidatesOf(this.#pool, left, this.#routing.model, now);
    return orderOfTries(choices, this.#able.length > 1 ? homeOf(this.#pool, this.#routing, now) : undefined);
  }

  /** Pays for a further try where the one before may have run. @returns false where nobody pays for it */
  async #pay(): Promise<boolean> {
    const { payment } = this.#options;
    if (this.#course.sentAt === undefined && !this.#isUnpaid) return true;
    if (payment === undefined) return false;
    if (payment !== 'free' && !this.#isUnpaid) await payment.settle();
    this.#course.sentAt = undefined;
    this.#course.upstream = undefined;
    if (payment === 'free') return true;
    try {
      this.#body = await payment.admit();
    } catch (thrown) {
      // Nobody else would have been asked to admit it: what the upstream has said is the answer.
      if (this.#isUnpaid && this.#best) return false;
      throw thrown;
    }
    this.#isUnpaid = false;
    return true;
  }

  /** @returns the answer; undefined where the next upstream must be tried */
  async #try(choice: TryChoice, hasOther: boolean): Promise<Response | undefined> {
    const { name, breaker, state } = choice;
    const now = Date.now();
    const leave = breaker.enter(now) ?? (state === 'open' ? breaker.force() : undefined);
    // Another request has become the probe in the meantime: this one sees it as open from now on.
    if (!leave) return undefined;
    this.#tried.add(name);
    const end = this.#pool.health.begin(name, now);
    this.#course.upstream = name;
    let failed: FailedAttempt;
    try {
      const attempt = await attemptAt(choice, leave, this.#attempt(hasOther));
      // Whoever has left in the meantime gives no place back.
      this.#options.controller.signal.throwIfAborted();
      if (attempt instanceof Response) {
        this.#course.leave = (isCut) => {
          end();
          if (isCut) breaker.fail(leave, Date.now());
        };
        return attempt;
      }
      failed = attempt;
    } catch (thrown) {
      // The time for all tries is up, or the caller has left, which tells nothing about this upstream.
      end();
      const { reason } = this.#options.controller.signal;
      if (reason instanceof UpstreamFailure && reason.end !== 'client_gone') breaker.fail(leave, Date.now());
      else breaker.leave(leave);
      throw thrown;
    }
    end();
    const { kind, waitMs } = failed.verdict;
    const isShort = this.#able.length > 1 && kind === 'overloaded' && waitMs !== undefined && waitMs <= SHORT_WAIT_MS;
    // Once: an upstream that asks for it again and again would hold up everybody.
    const waits = isShort && !leave.isProbe && !this.#waitedFor.has(name) && Date.now() + waitMs < this.#deadline;
    if (kind === 'again') breaker.succeed(leave, Date.now());
    else if (waits || failed.isNoted || (kind === 'missing' && !this.#isListed())) breaker.leave(leave);
    else breaker.fail(leave, Date.now(), waitMs !== undefined && waitMs > SHORT_WAIT_MS ? waitMs : undefined);
    this.#keep(failed);
    if (waits) {
      this.#waitedFor.add(name);
      await pause(waitMs, this.#options.controller.signal);
      this.#tried.delete(name);
    }
    return undefined;
  }

  #attempt(hasOther: boolean): AttemptContext {
    const isOneOfSeveral = this.#able.length > 1;
    return {
      pool: this.#pool,
      request: this.#request,
      options: this.#options,
      course: this.#course,
      routing: this.#routing,
      body: this.#body,
      isOneOfSeveral,
      hasOther,
    };
  }

  /** @returns whether the model is asked for by a name that the table has: what a caller makes up opens no breaker. */
  #isListed(): boolean {
    const { model = '' } = this.#routing;
    const row = this.#pool.models.find(model);
    return row !== undefined && [row.id, ...row.aliases].includes(model);
  }

  /** Keeps the failure that tells the caller most: that the operator's key is refused helps nobody else. */
  #keep(failed: FailedAttempt): void {
    // What may have run is settled with its own answer.
    const { kind, waitMs = 0 } = failed.verdict;
    this.#isWorthWaiting ||= TELLING[kind] > TELLING.missing && waitMs <= LONGEST_WAIT_MS;
    const best = this.#best?.verdict;
    const least = best && this.#course.sentAt === undefined ? TELLING[best.kind] : 0;
    if (TELLING[kind] < least) return;
    // Where all are overloaded, the caller may come back as soon as the first of them takes more.
    const isLater =
      kind === 'overloaded' && best?.kind === kind && best.waitMs !== undefined && !(waitMs < best.waitMs);
    if (!isLater) this.#best = failed;
  }

  /** @returns whether another model steps in */
  async #fallBack(): Promise<boolean> {
    const { payment } = this.#options;
    if (!this.#canFallBack || payment === undefined || payment === 'free' || !payment.fallBack) return false;
    // One upstream alone can take it: that is asked before any other model.
    const { owned, only } = this.#routing;
    if ((owned ?? only) !== undefined && this.#best === undefined) return false;
    const isBusy = this.#best === undefined || ['overloaded', 'missing'].includes(this.#best.verdict.kind);
    if (!isBusy && this.#mayRetry()) return false;
    const stepsIn = await payment.fallBack();
    if (stepsIn === 'none' || stepsIn === 'refused') {
      this.#canFallBack = false;
      this.#isUnpaid = stepsIn === 'refused';
      return false;
    }
    const { model, body } = stepsIn;
    Object.assign(this.#course, { sentAt: undefined, upstream: undefined });
    this.#routing = { ...this.#routing, model };
    this.#body = body;
    this.#able = upstreamsFor(this.#pool, this.#request, this.#routing);
    this.#tried.clear();
    this.#waitedFor.clear();
    this.#rounds = 0;
    this.#isLastResort = false;
    return true;
  }

  #mayRetry(): boolean {
    const { caller, maxRetries } = this.#options;
    return this.#rounds < maxRetries && (caller === undefined || mayRepeat(caller, 'answered'));
  }

  /** Waits, and begins another round. @returns false where there is to be none */
  async #again(): Promise<boolean> {
    if (!this.#isWorthWaiting || !this.#mayRetry()) return false;
    // What one of several says of itself need not hold for the others.
    const wait = waitBeforeRetry(this.#able.length > 1 ? undefined : this.#best?.response, this.#rounds);
    if (wait === undefined || Date.now() + wait >= this.#deadline) return false;
    await pause(wait, this.#options.controller.signal);
    this.#rounds += 1;
    this.#tried.clear();
    this.#isLastResort = false;
    this.#isWorthWaiting = false;
    return true;
  }

  /** Ends without an answer. */
  #give(): Response {
    if (this.#best?.response) {
      this.#course.opening = this.#best.opening;
      return this.#best.response;
    }
    throw this.#best ? toApiError(this.#best.thrown) : allBusy();
  }
}

/** @returns the error for a request whose upstreams are all full, or left alone as they are down. */
function allBusy(): ApiError {
  return new ApiError(
    'overloaded_error',
    'Every upstream that could take this request is overloaded at the moment. Try again in a few seconds.',
    { headers: { 'retry-after': '2' }, logged: 'upstreams_busy' },
  );
}
