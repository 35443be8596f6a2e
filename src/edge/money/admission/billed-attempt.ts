/** One attempt of a billed request: its hold, and how it is renewed and settled. */

import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { takeUnreportedRateLimits } from '../../claude/upstream.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { ABANDONED_STAGE } from '../budget/state.ts';
import { callAccount, sendSettlement } from '../contracts/call-account.ts';
import type { Settlement, SettlementResult } from '../contracts/settlement.ts';
import { createAttemptSettlement, raiseAlertOnKeyChange, recordCachingUpstream } from './attempt-settlement.ts';
import { computeRemainingBudget, type RemainingBudget } from './budget-left.ts';
import { createBlockedError } from './limit-headers.ts';
import { type StoredGrant, UNKNOWN_GRANT } from './price-outcome.ts';
import type { RequestToSettle } from './request-to-bill.ts';

/** The cost of a request, and the budget that remains. */
export interface SettledCost {
  nanodollars: Nanodollars;
  /** Output tokens as in the ledger; an estimate if the upstream did not report them. */
  outputTokens: number | undefined;
  /** The remaining budget of the caller's own; undefined if it is unlimited or unknown. */
  budget: RemainingBudget | undefined;
  /** Resolves once the account has booked the cost. */
  done: Promise<SettlementResult>;
  /** The output tokens as in the ledger, for a response that was read to its end after a stop. */
  late?: Promise<number | undefined>;
}

/** The admission of an attempt by its account. */
interface AttemptAdmission {
  /** The value to which `max_tokens` must be lowered in the body that is sent; undefined if it stays. */
  maxTokens: number | undefined;
  /** The changes of the body for the admitted model. */
  changes: JsonObject;
  /** Headers for the response: the account's quota status. */
  headers: Record<string, string>;
  /** Whether the account stores the grant. */
  isGrantStored: boolean;
  /** Whether a limit in USD applies, so that nothing above the bill should be booked. */
  inUsd: boolean;
}

interface BilledAttemptOptions {
  /** Counts the prompt, if nothing of the response arrives. Absent where a count is not worth a call. May reject. */
  countPrompt?: (() => Promise<number | undefined>) | undefined;
  /** Absent until the account has admitted the attempt, and after a crash. */
  admission?: AttemptAdmission;
}

/**
 * One attempt of a request. It has its own id in the ledger and its own hold, and is settled by itself: by the usage that the
 * upstream has reported, or by an upper bound. After a crash, another process than the one that reserved
 * it restores it from its stored grant, and settles it.
 */
export class BilledAttempt {
  readonly requestId: string;
  /** The model as the Claude API names it: an alias is already resolved. */
  readonly model: string;
  readonly admission: AttemptAdmission | undefined;
  /** How the attempt ended; undefined until it is settled. */
  outcome: RequestOutcome | undefined;
  readonly #request: RequestToSettle;
  readonly #grant: StoredGrant | null;
  readonly #countPrompt: BilledAttemptOptions['countPrompt'];
  #counting: Promise<number | undefined> | undefined;
  /** The settlement that was priced last; undefined until the attempt is settled, and if only its account has the grant. */
  #settlement: Settlement | undefined;

  /** @param grant what settles the attempt; null if only its account may have that */
  constructor(
    request: RequestToSettle,
    grant: StoredGrant | null,
    { countPrompt, admission }: BilledAttemptOptions = {},
  ) {
    this.requestId = request.requestId;
    this.model = request.model;
    this.admission = admission;
    this.#request = request;
    this.#grant = grant;
    this.#countPrompt = countPrompt;
  }

  /** The grant: the part of the admission that must be stored to settle the attempt later. */
  get grant(): StoredGrant {
    return this.#grant ?? UNKNOWN_GRANT;
  }

  /**
   * Replaces the hold by what the attempt has cost. A repeated call does not change the cost, and returns it again.
   *
   * If nothing of the response has arrived, the cost is that of the prompt's bytes until the prompt is counted.
   *
   * @param later the final outcome, where the response is still read after a stop: the attempt is settled by it
   */
  settle(outcome: RequestOutcome, extra?: Partial<Settlement>, later?: Promise<RequestOutcome>): SettledCost {
    // If this attempt is already settled, send its settlement again with the additional fields: the account has rejected the
    // next attempt, so the request ends with this one.
    if (this.#settlement) return this.#sendAndReport({ ...this.#settlement, ...extra });
    this.outcome = outcome;
    if (!this.#countPrompt) return this.#priceAndSend(outcome, extra, later);
    if (later !== undefined) return this.#priceAndSend(outcome, extra, later.then(this.#addPromptCount));
    // Counting the prompt takes a call to the upstream. Mark the attempt as abandoned meanwhile, so that it does not count as
    // running. If this process dies before the settlement, the hold expires and is settled.
    if (this.admission && mightHaveRunUnseen(outcome)) this.#request.waitUntil?.(this.abandon());
    return this.#priceAndSend(outcome, extra, needsPromptCount(outcome) ? this.#addPromptCount(outcome) : undefined);
  }

  /**
   * Renews the hold, because the attempt still runs.
   *
   * @param stage the progress of the attempt
   * @returns the error with which the request must end if its account was blocked meanwhile
   */
  async renew(stage?: string): Promise<ApiError | undefined> {
    const { requestId, holdMs } = this.#request;
    const renewal = await callAccount(this.#request, (account) => account.renewHold(requestId, stage, holdMs));
    return typeof renewal === 'object' ? createBlockedError(renewal.blocked) : undefined;
  }

  /** Reports that the caller no longer waits for the response, so that the attempt does not count as running. Never rejects. */
  async abandon(): Promise<void> {
    await this.renew(ABANDONED_STAGE).catch(() => undefined);
  }

  /** Counts the prompt, once. Resolves to undefined where that is not worth a call, or fails. */
  async countPrompt(): Promise<number | undefined> {
    // If counting fails, the prompt is billed by its number of bytes.
    this.#counting ??= this.#countPrompt?.().catch(() => undefined);
    return await this.#counting;
  }

  readonly #addPromptCount = async (outcome: RequestOutcome): Promise<RequestOutcome> =>
    needsPromptCount(outcome) ? { ...outcome, prompt_tokens: await this.countPrompt() } : outcome;

  #priceAndSend(
    outcome: RequestOutcome,
    extra: Partial<Settlement> | undefined,
    later: Promise<RequestOutcome> | undefined,
  ): SettledCost {
    if (!this.#grant) return this.#settleByStoredHold(outcome, extra, later);
    const request = this.#request;
    const grant = this.#grant;
    // If the response is still read after a stop (`later`), its final report contains more. Learn rates only from that one, so
    // that nothing counts twice.
    const settlement = createAttemptSettlement(request, grant, outcome, { extra, isLast: later === undefined });
    this.#settlement = settlement;
    if (request.upstream) raiseAlertOnKeyChange(request, request.upstream);
    recordCachingUpstream(request, outcome);
    if (!later) return this.#sendAndReport(settlement);
    const priced = later.then((end) => {
      this.#settlement = createAttemptSettlement(request, grant, end, { extra, isLast: true });
      return this.#settlement;
    });
    const late = priced.then(({ tokens }) => tokens?.output);
    return { ...this.#createSettledCost(settlement, priced.then(this.#sendToAccount)), late };
  }

  /** Sends a settlement. To a repeated one, the account replies with the cost that it has booked, and stores new fields. */
  #sendAndReport(settlement: Settlement): SettledCost {
    return this.#createSettledCost(settlement, this.#sendToAccount(settlement));
  }

  #createSettledCost({ cost, tokens }: Settlement, done: Promise<SettlementResult>): SettledCost {
    const { earlier = 0, budget } = this.grant;
    return {
      nanodollars: cost + earlier,
      outputTokens: tokens?.output,
      budget: computeRemainingBudget(budget, cost),
      done,
    };
  }

  /** Settles an attempt by the grant that its account stores. Its cost is known once the account has been asked. */
  #settleByStoredHold(
    outcome: RequestOutcome,
    extra: Partial<Settlement> | undefined,
    later: Promise<RequestOutcome> | undefined,
  ): SettledCost {
    const fetchAndSettle = async () => {
      // An attempt that was never sent costs nothing, so its settlement does not need the stored grant.
      const grant = outcome.sent ? await this.#fetchStoredGrant() : UNKNOWN_GRANT;
      return await new BilledAttempt(this.#request, grant).settle(outcome, extra, later).done;
    };
    return { nanodollars: Number.NaN, outputTokens: undefined, budget: undefined, done: fetchAndSettle() };
  }

  async #fetchStoredGrant(): Promise<StoredGrant> {
    const { requestId } = this.#request;
    const record = await callAccount(this.#request, (account) => account.getStoredHold(requestId));
    if (!record) return UNKNOWN_GRANT;
    const { hold, maxTokens } = record;
    const grant = JSON.parse(record.grant) as StoredGrant;
    return { ...grant, hold, mostOutput: maxTokens };
  }

  // A settlement of unknown cost has `NaN` as its cost. JSON writes `NaN` as null, which the account reads as an unknown cost.
  readonly #sendToAccount = (settlement: Settlement): Promise<SettlementResult> => {
    const { upstream } = this.#request;
    const keyLimits = upstream && takeUnreportedRateLimits(upstream, Date.now());
    return sendSettlement(this.#request, JSON.stringify(keyLimits ? { ...settlement, keyLimits } : settlement));
  };
}

/** @returns whether an attempt may have run although not even its headers have arrived */
function mightHaveRunUnseen({ sent, status, usage, end }: RequestOutcome): boolean {
  return sent && status === undefined && usage === undefined && end !== 'error';
}

function needsPromptCount(outcome: RequestOutcome): boolean {
  return mightHaveRunUnseen(outcome) && outcome.prompt_tokens === undefined;
}
