/** A request that costs money: from the resources that it names, over its attempts, to its settlement. */

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
import type { Payment } from '../../claude/send-request.ts';
import { isAnswerSameWhenStreamed } from '../../claude/stream-internally.ts';
import type { UpstreamRoutingInput } from '../../claude/upstreams/pool.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { type JsonBody, RELEASED_BODY } from '../../kit/http/body/json-body.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { callAccount } from '../contracts/call-account.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { createEndHeaders } from './answer-end.ts';
import { BilledAttempt, type SettledCost } from './billed-attempt.ts';
import { countUnansweredPrompt } from './bounds.ts';
import { recordCreatedResources, requireResourcesOwnedByAccount } from './check-owned.ts';
import { type StoredGrant, UNKNOWN_GRANT } from './price-outcome.ts';
import type { BillingContext, RequestToBill, RequestToSettle } from './request-to-bill.ts';
import { createFirstVariant, hasFallbackModel, type RequestVariant } from './request-variant.ts';
import {
  createAttemptId,
  createSettlementContext,
  parseAttemptNumber,
  type ReservedAttempt,
  reserveAttempt,
  reserveFallbackAttempt,
} from './reserve-attempt.ts';

/** The options that differ between requests that cost money. */
interface BilledRequestOptions {
  /** The resources that the request names by id. They must be the account's own. */
  named?: readonly CreatedId[];
  /** The model as the body names it. */
  modelInBody: string;
  /** Fields that the edge adds to the body. */
  changes?: BodyChanges;
  /** Returns the changes that are applied to the body when it is sent to another model than it names. Default: only `model`. */
  asModel?(model: string, body: JsonBody): BodyChanges;
  /** Called with each later attempt once it is admitted. */
  onAdmitted?(attempt: BilledAttempt): void;
  /**
   * Called before a later attempt is reserved, with the cost of the earlier ones. From then on the account may have placed a
   * hold for it.
   */
  onReserving?(earlierCost: Nanodollars): void;
  /** Whether a non-streaming request may be sent as a stream, from which its response is assembled. */
  mayStreamInternally?: boolean;
  /** Whether the request is neither admitted nor settled, as in measurements. */
  isUnmetered?: boolean | undefined;
}

/** The maximum number of attempts of a request that may have run, at all upstreams together. */
const MAX_ATTEMPTS_RUN = 3;
/**
 * The hold from which a non-streaming request is sent as a stream. Below it, the overpayment for an interrupted response is less
 * than the cost of streaming.
 */
const STREAM_INTERNALLY_ABOVE: Nanodollars = 50_000_000;

/** A request that costs money. Each of its attempts is reserved and settled by itself; the latest one is open. */
export class BilledRequest implements Payment {
  /**
   * The attempts, oldest first. Empty if none was admitted. The first one is here while the account decides, because the
   * account may have placed its hold; a later one once it is admitted. The last one may have to be settled.
   */
  readonly attempts: BilledAttempt[] = [];
  /** Whether the response may have ids of resources that it creates. */
  readonly mayCreateResources: boolean;
  /** Whether a non-streaming request is sent as a stream. A lower hold of a later attempt does not change it. */
  isStreamedInternally = false;
  readonly #options: BilledRequestOptions;
  readonly #requestedModel: string;
  #context: BillingContext;
  #variant: RequestVariant;
  #earlierCost: Nanodollars = 0;
  /** The id of the latest attempt for which the account was asked. No id is used for two of them. */
  #lastId: string;

  constructor(request: RequestToBill, options: BilledRequestOptions) {
    // Keep the body only in the variant: `releaseBody` replaces it there to free its memory, so no other reference may exist.
    const { body, model, tokenCount: _, fallbackModels: __, ...context } = request;
    this.#context = context;
    this.#variant = createFirstVariant(request);
    this.#requestedModel = model;
    this.#lastId = request.requestId;
    this.#options = options;
    this.mayCreateResources = canAnswerCreateResources(getJsonWithoutHistory(body));
  }

  /**
   * Restores an attempt after a crash, to settle it.
   *
   * @param grant what was stored of the attempt; null if only its account may have that
   * @param countPrompt counts the prompt, if nothing of the response has arrived
   */
  static restoreAttempt(
    request: RequestToSettle,
    grant: StoredGrant | null,
    countPrompt?: () => Promise<number | undefined>,
  ): BilledAttempt {
    return new BilledAttempt(request, grant, { countPrompt });
  }

  /**
   * Checks the resources that the request names, and reserves the first attempt.
   *
   * @throws ApiError as `requireResourcesOwnedByAccount` and `reserveAttempt`
   */
  async reserve(): Promise<void> {
    const context = this.#context;
    const { named = [], isUnmetered = false } = this.#options;
    let onlyUpstream: string | undefined;
    if (named.length > 0) {
      onlyUpstream = await requireResourcesOwnedByAccount(context, named);
      // The turn may have been stopped during the check above. Do not reserve a budget for it: a turn that has ended would
      // never settle the hold.
      if (context.signal?.aborted) throw createCallerLeftError();
    }
    const { upstream, streams = false, requestId } = context;
    const boundResource = upstream.pool && findUpstreamBoundResource(this.#variant.body, upstream.pool);
    this.#context = {
      ...context,
      routing: { streams, ...context.routing, requiredUpstream: onlyUpstream, boundResource: boundResource },
    };
    if (isUnmetered) return;
    this.attempts.push(
      new BilledAttempt(createSettlementContext(context, requestId, this.#variant.model), UNKNOWN_GRANT),
    );
    try {
      // Use the given id for the first attempt and do not add an attempt number: the id of a step of a run already has one.
      const { attempt, variant } = await reserveAttempt(this.#context, this.#variant, {
        requestId,
        countPrompt: this.#countPrompt,
      });
      this.attempts[0] = attempt;
      this.#variant = variant;
      this.isStreamedInternally = this.#shouldStreamInternally(attempt);
    } catch (thrown) {
      // A rejected attempt (4xx) has no hold, so forget it. If the account's answer was lost (5xx), there may be a hold: keep
      // the attempt, so that the turn settles it until the account confirms.
      if (thrown instanceof ApiError && thrown.status < 500) this.attempts.pop();
      throw thrown;
    }
  }

  /** The latest attempt. @throws TypeError if there is none */
  get latestAttempt(): BilledAttempt {
    const attempt = this.attempts.at(-1);
    if (attempt) return attempt;
    throw new TypeError('The request was not admitted.');
  }

  /** The model of the latest attempt, as the Claude API names it. */
  get model(): string {
    return this.attempts.at(-1)?.model ?? this.#requestedModel;
  }

  /** Decides between several upstreams. */
  get routing(): UpstreamRoutingInput {
    const { streams = false, routing } = this.#context;
    return { streams, ...routing, model: this.model };
  }

  /** Creates the body that the latest attempt allows. */
  get createBody(): RequestBodyFactory {
    const { changes = {}, modelInBody, asModel = (name) => ({ model: JSON.stringify(name) }) } = this.#options;
    const { model } = this;
    const { maxTokens, changes: changesForModel = {} } = this.attempts.at(-1)?.admission ?? {};
    return (more) =>
      createUpstreamBody(this.#variant.body, {
        ...changes,
        ...describeChanges(changesForModel),
        ...(maxTokens === undefined ? {} : { max_tokens: String(maxTokens) }),
        ...(model === modelInBody ? {} : asModel(model, this.#variant.body)),
        ...more,
      });
  }

  /** Settles the latest attempt, as `BilledAttempt.settle`. */
  settle(outcome: RequestOutcome, extra?: Partial<Settlement>, later?: Promise<RequestOutcome>): SettledCost {
    return this.latestAttempt.settle(outcome, extra, later);
  }

  /** Renews the hold of the latest attempt, as `BilledAttempt.renew`. */
  async renew(stage?: string): ReturnType<BilledAttempt['renew']> {
    return await this.attempts.at(-1)?.renew(stage);
  }

  /**
   * Reports that the caller no longer waits for the response of the latest attempt. Its hold stays until it is settled. Never
   * rejects.
   */
  async abandon(): Promise<void> {
    await this.attempts.at(-1)?.abandon();
  }

  /** @returns whether the request may be sent again although its latest attempt may have run */
  canRetry(progress: Parameters<Payment['canRetry']>[0]): boolean {
    // A non-streaming response that was lost may have cost the whole hold, so leave it to the caller whether to send the
    // request again. Of a streaming one, the cost is known from what has arrived.
    const isStreaming =
      this.latestAttempt.grant.terms?.streams === true ||
      (this.isStreamedInternally && progress.isStreamedInternally !== false);
    const earlier = this.attempts.filter(({ outcome }) => outcome?.sent).length;
    return isStreaming && earlier < MAX_ATTEMPTS_RUN - 1;
  }

  /** Settles an attempt that failed. Its cost counts against the maximum cost of the request. */
  async settleFailedAttempt(outcome: RequestOutcome): Promise<void> {
    const { cost } = await this.settle(outcome, { status: 'retried' }).done;
    this.#earlierCost += cost;
  }

  /** Reserves another attempt, after the one before was settled. @throws ApiError as `reserveAttempt` */
  async retry(): Promise<RequestBodyFactory> {
    return await this.#reserveLaterAttempt(false);
  }

  /** Settles an attempt that failed, and reserves one by the next fallback model. */
  async fallBack(outcome: RequestOutcome): ReturnType<NonNullable<Payment['fallBack']>> {
    if (!hasFallbackModel(this.#context, this.#variant)) return 'none';
    await this.settleFailedAttempt(outcome);
    const options = this.#createLaterAttemptOptions(false);
    const reserved = await reserveFallbackAttempt(this.#context, this.#variant, options);
    if (reserved) return { body: this.#continueWith(reserved), model: reserved.attempt.model };
    this.#variant = { ...this.#variant, fallbackModels: [] };
    return 'refused';
  }

  /**
   * Sends another body in place of one that the upstream has rejected.
   *
   * @param outcome how the body was rejected
   * @throws ApiError as `reserveAttempt`
   */
  async replaceBody(
    { body, tokenCount }: Pick<RequestToBill, 'body' | 'tokenCount'>,
    outcome: RequestOutcome,
  ): Promise<void> {
    await this.settleFailedAttempt(outcome);
    // Use the count of the new body, if there is one. It includes the thinking, so reset `leavesOutThinking`, which would add
    // an estimate for the thinking.
    this.#variant = { ...this.#variant, body, tokenCount, leavesOutThinking: undefined };
    await this.#reserveLaterAttempt(true);
  }

  /** Records which of the named resources the upstream reports to be gone. Others may still be there. */
  recordRejection({ forCaller: { status, message } }: Parameters<NonNullable<Payment['recordRejection']>>[0]): void {
    if (status !== 404 && status !== 410 && !/expired/i.test(message)) return;
    for (const { kind, id } of this.#options.named ?? []) {
      if (kind !== 'file' && message.includes(id))
        this.#context.waitUntil(callAccount(this.#context, (account) => account.recordFileDeletion(id)));
    }
  }

  /**
   * @returns the headers of the response: the account's quota, the upstream that answered, the cost and what it leaves, and
   *   the date on which the model retires
   */
  createAnswerHeaders(
    upstream: string | undefined,
    settledCost?: Pick<SettledCost, 'nanodollars' | 'budget'>,
  ): Record<string, string> {
    const retires = getUpcomingRetirement(this.#context.settings.models.findRow(this.model));
    return {
      ...this.attempts.at(-1)?.admission?.headers,
      ...createEndHeaders(upstream, settledCost?.nanodollars, settledCost?.budget),
      ...(retires === undefined ? {} : { 'sluice-model-retires': retires }),
    };
  }

  /** Records the resources that the response has created as the account's own. */
  async recordCreatedResources(ids: readonly CreatedId[] | undefined, upstream: string | undefined): Promise<void> {
    await recordCreatedResources(this.#context, ids, upstream);
  }

  /** Counts the prompt of the latest attempt, if nothing of its response has arrived. @returns undefined where it is not counted */
  async countPrompt(): Promise<number | undefined> {
    return await this.attempts.at(-1)?.countPrompt();
  }

  /** Releases the memory of the body. After that no other attempt can be sent. */
  releaseBody(): void {
    this.#variant = { ...this.#variant, body: RELEASED_BODY };
  }

  readonly #countPrompt = async (): Promise<number | undefined> => {
    const variant = this.#variant;
    const counted = await countUnansweredPrompt(this.#context, variant);
    if (!counted) return undefined;
    // Store the count, so that later attempts with the same body hold the counted tokens instead of an estimate.
    const { body, model, tokenCount } = this.#variant;
    if (tokenCount === undefined && (body === variant.body || body === RELEASED_BODY) && model === variant.model)
      this.#variant = { ...this.#variant, tokenCount: counted.count, leavesOutThinking: true };
    return counted.promptTokens;
  };

  #shouldStreamInternally({ grant, admission }: BilledAttempt): boolean {
    const { streams, headers } = this.#context;
    if (!admission?.inUsd || streams || !this.#options.mayStreamInternally || !(grant.hold > STREAM_INTERNALLY_ABOVE))
      return false;
    return isAnswerSameWhenStreamed(this.#variant.body.json, headers);
  }

  async #reserveLaterAttempt(canWait: boolean): Promise<RequestBodyFactory> {
    const options = this.#createLaterAttemptOptions(canWait);
    return this.#continueWith(await reserveAttempt(this.#context, this.#variant, options));
  }

  /** Must be called right before the attempt is reserved. */
  #createLaterAttemptOptions(canWait: boolean) {
    const earlierCost = this.#earlierCost;
    this.#options.onReserving?.(earlierCost);
    const requestId = createAttemptId(this.#lastId, parseAttemptNumber(this.#lastId) + 1);
    this.#lastId = requestId;
    return { requestId, later: { earlierCost, canWait }, countPrompt: this.#countPrompt };
  }

  #continueWith({ attempt, variant }: ReservedAttempt): RequestBodyFactory {
    this.attempts.push(attempt);
    this.#variant = variant;
    this.#options.onAdmitted?.(attempt);
    return this.createBody;
  }
}
