/** A request that costs money: from what it names, over its admission and its tries, to its settlement. */

import { createCallerLeftError } from '../../claude/failure.ts';
import { getUpcomingRetirement } from '../../claude/models/models.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import { describeChanges } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { BodyChanges, RequestBodyFactory } from '../../claude/providers/provider.ts';
import { findUpstreamBoundResource } from '../../claude/request/pinned-resource.ts';
import { canAnswerCreateResources } from '../../claude/request/referenced-ids.ts';
import { getJsonWithoutHistory } from '../../claude/request/request-body.ts';
import { createUpstreamBody } from '../../claude/request/upstream-body.ts';
import type { RetryPayment } from '../../claude/send-request.ts';
import { isAnswerSameWhenStreamed } from '../../claude/stream-internally.ts';
import type { UpstreamRoutingInput } from '../../claude/upstreams/pool.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { RELEASED_BODY } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { callAccount } from '../contracts/call-account.ts';
import { admitRequest } from './admission.ts';
import { createEndHeaders } from './answer-end.ts';
import { recordCreatedResources, requireResourcesOwnedByAccount } from './check-owned.ts';
import type { BookedCost, RequestAdmission, RequestMeter, RequestToAdmit } from './metered-request.ts';
import { UNKNOWN_GRANT } from './price-outcome.ts';
import { createRequestMeter } from './request-meter.ts';

/** What differs between requests that cost money. */
interface MeteredExchangeOptions {
  /** What the request names by id. It must be the account's own. */
  named?: readonly CreatedId[];
  /** The model as the body names it. */
  modelInBody: string;
  /** Members that the edge adds to the body. */
  changes?: BodyChanges;
  /** Adapts the body for another model than the one that it names. Default: only `model` is changed. */
  asModel?(model: string, body: RequestToAdmit['body']): BodyChanges;
  /** Called with each later try once it is admitted. */
  onAdmitted?(granted: RequestAdmission): void;
  /**
   * Called before the account is asked for a later try, with what the earlier ones have cost. From then on the account may
   * have placed a hold for it.
   */
  onAsking?(earlier: Nanodollars): void;
  /** Whether its whole answer may go up as a stream, and be put together. */
  mayRide?: boolean;
  /** Whether it is not admitted and not booked, as in measurements. */
  isUnmetered?: boolean | undefined;
}

/** The most tries of a request that may have run, at all upstreams together. */
const MAX_ATTEMPTS_RUN = 3;
/** What must be at stake for a whole answer to ride: below it, what a cut may cost too much is less than what riding costs. */
const STREAM_INTERNALLY_ABOVE: Nanodollars = 50_000_000;

/** A request that costs money. It alone knows which try is the latest: each is admitted and settled by itself. */
export class MeteredExchange {
  /** Settles and renews the latest try. From the first question to the account on there may be something to settle. */
  meter: Pick<RequestMeter, 'settleRequest' | 'renewHold' | 'abandonRequest'> | undefined;
  /** Whether the answer may have ids of things that it makes. */
  readonly mayCreateResources: boolean;
  /** Whether its whole answer goes up as a stream. A lower hold of a later try does not change it. */
  isStreamedInternally = false;
  readonly #request: RequestToAdmit;
  readonly #options: MeteredExchangeOptions;
  #latest: RequestAdmission | undefined;
  #earlierCost: Nanodollars = 0;
  /** How many tries before the latest one may have run. */
  #attemptsRun = 0;

  constructor(request: RequestToAdmit, options: MeteredExchangeOptions) {
    this.#request = request;
    this.#options = options;
    const { body } = request;
    this.mayCreateResources = canAnswerCreateResources(getJsonWithoutHistory(body));
  }

  /**
   * Checks what the request names, and has it admitted.
   *
   * @throws ApiError as `requireResourcesOwnedByAccount` and `admit`
   */
  async checkAndAdmit(): Promise<void> {
    const request = this.#request;
    const { named = [], isUnmetered = false } = this.#options;
    let only: string | undefined;
    if (named.length > 0) {
      only = await requireResourcesOwnedByAccount(request, named);
      // A turn that was stopped meanwhile has ended: nobody would settle its hold.
      if (request.signal?.aborted) throw createCallerLeftError();
    }
    const { upstream, body } = request;
    const { streams = false } = request;
    request.routing = {
      streams,
      ...request.routing,
      only,
      owned: upstream.pool && findUpstreamBoundResource(body, upstream.pool),
    };
    if (isUnmetered) return;
    // Until the account answers, it may have placed a hold.
    this.meter = createRequestMeter(request, UNKNOWN_GRANT);
    try {
      this.#latest = await admitRequest(request);
      this.meter = this.#latest;
      this.isStreamedInternally = this.#shouldStreamInternally(this.#latest);
    } catch (thrown) {
      // What was refused has no hold. What was lost may have one: `admit` settles it once, and a turn until it is heard.
      if (thrown instanceof ApiError && thrown.status < 500) this.meter = undefined;
      throw thrown;
    }
  }

  /** The admission of the latest try. @throws TypeError while there is none */
  get latestAdmission(): RequestAdmission {
    if (this.#latest) return this.#latest;
    throw new TypeError('The request was not admitted.');
  }

  /** The model of the latest try, by the upstream's name. */
  get latestModel(): string {
    return this.#latest?.model ?? this.#request.model;
  }

  /** What decides the choice between several upstreams. */
  get routing(): UpstreamRoutingInput {
    const { streams = false, routing } = this.#request;
    return { streams, ...routing, model: this.latestModel };
  }

  /** The body that the latest admission allows. */
  get createBody(): RequestBodyFactory {
    const { changes = {}, modelInBody, asModel = (name) => ({ model: JSON.stringify(name) }) } = this.#options;
    const { latestModel: model } = this;
    const maxTokens = this.#latest?.maxTokens;
    return (more) =>
      createUpstreamBody(this.#request.body, {
        ...changes,
        ...describeChanges(this.#latest?.changes ?? {}),
        ...(maxTokens === undefined ? {} : { max_tokens: String(maxTokens) }),
        ...(model === modelInBody ? {} : asModel(model, this.#request.body)),
        ...more,
      });
  }

  /** @returns what pays for other tries of the request. @param tried makes the outcome of the failed try */
  readonly payment = (tried: () => RequestOutcome): RetryPayment => ({
    // What does not stream may have cost a whole hold: whoever asked decides about that once more.
    canRepeat: () =>
      this.#attemptsRun < MAX_ATTEMPTS_RUN - 1 &&
      (this.latestAdmission.grant.terms?.streams === true ||
        (this.isStreamedInternally && tried().streamInternally !== false)),
    refused: ({ forCaller }) => this.#recordGoneResource(forCaller),
    settleFailedTry: () => this.#settleFailedAttempt(tried()),
    reserveNextTry: async () => {
      this.#options.onAsking?.(this.#earlierCost);
      return this.#continueWithAdmission(
        await this.latestAdmission.admitLaterAttempt({ earlierCost: this.#earlierCost, canWait: false }),
      );
    },
    fallBack: async () => {
      if (!this.latestAdmission.hasFallbackModel()) return 'none';
      await this.#settleFailedAttempt(tried());
      this.#options.onAsking?.(this.#earlierCost);
      const granted = await this.latestAdmission.admitFallbackModel({ earlierCost: this.#earlierCost, canWait: false });
      return granted ? { body: this.#continueWithAdmission(granted), model: granted.model } : 'refused';
    },
  });

  /**
   * Has another body go up in place of one that the upstream has refused.
   *
   * @param replacement the other body, and what it changes about its admission
   * @param outcome how it was refused
   * @throws ApiError as `open`
   */
  async restartWithBody(
    replacement: Pick<RequestToAdmit, 'body'> & Partial<Pick<RequestToAdmit, 'count'>>,
    outcome: RequestOutcome,
  ): Promise<void> {
    await this.#settleFailedAttempt(outcome);
    this.#request.body = replacement.body;
    // The count, if there is one, is that of the other body.
    this.#request.count = replacement.count;
    this.#request.leavesOutThinking = undefined;
    this.#options.onAsking?.(this.#earlierCost);
    this.#continueWithAdmission(
      await this.latestAdmission.admitLaterAttempt({ earlierCost: this.#earlierCost, canWait: true }),
    );
  }

  /** @returns the headers of the answer: the account's quota, who has answered, what it has cost and leaves, and when the model retires */
  createAnswerHeaders(
    upstream: string | undefined,
    booked?: Pick<BookedCost, 'nanodollars' | 'budget'>,
  ): Record<string, string> {
    const retires = getUpcomingRetirement(this.#request.settings.models.findRow(this.latestModel));
    return {
      ...this.#latest?.headers,
      ...createEndHeaders(upstream, booked?.nanodollars, booked?.budget),
      ...(retires === undefined ? {} : { 'sluice-model-retires': retires }),
    };
  }

  /** Notes what the answer has made as the account's own. */
  async recordCreatedResources(ids: readonly CreatedId[] | undefined, upstream: string | undefined): Promise<void> {
    await recordCreatedResources(this.#request, ids, upstream);
  }

  /** Counts the prompt of the latest try, of which nothing has come. @returns undefined where it is not counted */
  async countLatestPrompt(): Promise<number | undefined> {
    return await this.#latest?.countPromptOnce();
  }

  /** Releases the memory of the body. After that no other try can go up. */
  releaseBody(): void {
    this.#request.body = RELEASED_BODY;
  }

  #shouldStreamInternally({ inUsd, grant }: RequestAdmission): boolean {
    const { streams, body, headers } = this.#request;
    if (!inUsd || streams || !this.#options.mayRide || !(grant.hold > STREAM_INTERNALLY_ABOVE)) return false;
    return isAnswerSameWhenStreamed(body.json, headers);
  }

  /** Notes which of the named things the upstream says that it does not have any more. Others may be there. */
  #recordGoneResource({ status, message }: ApiError): void {
    if (status !== 404 && status !== 410 && !/expired/i.test(message)) return;
    for (const { kind, id } of this.#options.named ?? []) {
      if (kind !== 'file' && message.includes(id))
        this.#request.waitUntil(callAccount(this.#request, (account) => account.recordFileDeletion(id)));
    }
  }

  async #settleFailedAttempt(outcome: RequestOutcome): Promise<void> {
    const { cost } = await this.latestAdmission.settleRequest(outcome, { status: 'retried' }).done;
    this.#earlierCost += cost;
    if (outcome.sent) this.#attemptsRun += 1;
  }

  #continueWithAdmission(granted: RequestAdmission): RequestBodyFactory {
    this.#latest = granted;
    this.meter = granted;
    this.#options.onAdmitted?.(granted);
    return this.createBody;
  }
}
