/** Decides when summaries of a conversation are made: after an answer, or before a turn that would be too long without one. */

import type { Identity } from '../../auth/identity/caller.ts';
import { SUMMARY_KEEP_RATIO, SUMMARY_START_RATIO } from '../../conversations/history/history-ratios.ts';
import type { NextRequestPlan } from '../../conversations/history/next-request.ts';
import { findLastCommittedTurnNumber, findNewestTurn } from '../../conversations/history/storage/turn-queries.ts';
import type {
  ConversationContext,
  ConversationHooks,
  PendingTurn,
  TurnPrerequisite,
} from '../../conversations/object/hooks.ts';
import { TurnAborter } from '../../conversations/turn/turn-abort.ts';
import { resolveWithin } from '../../kit/async/timeout.ts';
import { createRequestIdWithSameMark } from '../../kit/http/headers/request-id.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { editJson } from '../../kit/json/edit.ts';
import { createContextKey } from '../../kit/plugins/context-values.ts';
import { makeSummary, type TurnRequestToSummarize } from './make-summary.ts';
import { SummarySettler } from './paid-summaries.ts';
import { planNextSummary, type SummaryPlan } from './summarize.ts';
import { getSummaryRows, NEW_SUMMARY, type SummaryRow } from './summary-rows.ts';

/** Whether a summary was tried before this turn. */
const TRIED_BEFORE = createContextKey<boolean>('summary');
/** How long a turn waits for one; milliseconds. */
const SUMMARY_WAIT_MS = 20_000;
/**
 * The most characters of a request that stay in memory for a summary after its answer. For a longer one, the summary waits for
 * the next turn.
 */
const LONGEST_REST = 262_144;

/**
 * Starts summaries. It takes no lock: turns run in the meantime, and a summary that is complete too late is used by the next
 * turn.
 */
export class Summarizer implements ConversationHooks {
  readonly #conversation: ConversationContext;
  readonly #paid: SummarySettler;
  /** The request of the newest turn, whose prompt is in the cache. */
  #cause: TurnRequestToSummarize | undefined;
  #running: { by: Identity; abort: TurnAborter; done: Promise<void> } | undefined;

  constructor(conversation: ConversationContext) {
    this.#conversation = conversation;
    this.#paid = new SummarySettler(conversation, conversation.maintenance.settlements);
  }

  /** The caller of the turn for which a summary is being made. */
  getCaller(): Identity | undefined {
    return this.#running?.by;
  }

  /** Remembers the request of a turn that begins. A summary has the same prompt, and the turn's account pays for it. */
  storeTurnData({ request: { body, ...request } }: PendingTurn, { run }: NextRequestPlan): undefined {
    const isWanted = this.#conversation.transcript.storedProfile?.history?.strategy === 'summarize';
    const text = isWanted ? (run?.bodyWithoutMessages ?? editJson(body, { messages: '[]' })) : undefined;
    this.#cause = text !== undefined && text.length <= LONGEST_REST ? { request, rest: text } : undefined;
  }

  /** Starts a summary after an answer whose prompt was in the cache, because its prompt then costs a tenth. */
  onTurnEnded(): void {
    const cause = this.#cause;
    if (!cause) return;
    try {
      const last = findNewestTurn(this.#conversation.transcript);
      if (last?.status === 'complete' && last.outcome?.usage?.cache_read_input_tokens)
        this.#startNextSummary(cause, SUMMARY_START_RATIO);
    } catch (thrown) {
      // Only log the error, because the turn itself has succeeded. If a row is damaged, the next turn fails and reports the
      // damage.
      logBackgroundFailure({ conversation: cause.request.conversationKey.id }, thrown);
    }
  }

  /** Lets a turn that is too long without a summary wait for one. This is tried only once for each turn. */
  findPrerequisite(
    { request: { body, ...request }, pluginContext: memory }: PendingTurn,
    planned: NextRequestPlan,
  ): TurnPrerequisite | undefined {
    if (!planned.isTruncated || planned.follows || memory.get(TRIED_BEFORE)) return undefined;
    memory.set(TRIED_BEFORE, true);
    return { work: this.#summarizeBeforeTurn({ request, rest: editJson(body, { messages: '[]' }) }), pings: true };
  }

  /** Starts a summary before a turn, and waits for it, or for the summary that is being made, for a limited time. */
  async #summarizeBeforeTurn(cause: TurnRequestToSummarize): Promise<void> {
    // Start a summary at the lower threshold, because the new messages of this turn are not included in the stored length.
    this.#startNextSummary(cause, SUMMARY_KEEP_RATIO);
    if (this.#running) await resolveWithin(this.#running.done, SUMMARY_WAIT_MS);
  }

  settleOpenWork(): void {
    this.#paid.settleInterrupted();
  }

  /** Stops the summary that is being made. Its cost is settled. */
  async stopWork(): Promise<void> {
    this.#running?.abort.stopByClient();
    await this.#running?.done;
  }

  #startNextSummary(cause: TurnRequestToSummarize, filled: number): void {
    const planned = this.#running ? undefined : planNextSummary(this.#conversation.transcript, filled);
    if (planned) this.#conversation.waitUntil(this.#executeSummary(cause, planned));
  }

  async #executeSummary(cause: TurnRequestToSummarize, planned: SummaryPlan): Promise<void> {
    const { transcript, now, maintenance } = this.#conversation;
    const row: SummaryRow = {
      ...NEW_SUMMARY,
      id: getSummaryRows(transcript).highestId + 1,
      until: planned.until,
      turn: findLastCommittedTurnNumber(transcript),
      requestId: createRequestIdWithSameMark(cause.request.call.id),
      beganAt: now(),
    };
    const done = Promise.withResolvers<void>();
    const abort = new TurnAborter();
    this.#running = { by: cause.request.caller, abort, done: done.promise };
    // Resolve `done` even after a failure, because turns wait for it.
    try {
      const making = { planned, row, paid: this.#paid, abort };
      await this.#paid.storeAndMakeSummary(row, () => makeSummary(this.#conversation, cause, making));
    } finally {
      this.#running = undefined;
      done.resolve();
      maintenance.resetAlarmToNextDue();
    }
  }
}
