/**
 * A run: a turn in several steps, whose tools the edge calls itself.
 *
 * Each step is a separate turn: it is admitted, sent, stored and settled like any other turn. The run has its own row, which
 * clients know, and one log, in which all steps are shown as one message. A step's answer is stored before its tools are
 * called, and its row contains the calls. The result of a call has its own row until it is sent with the next message.
 * Therefore the history can be continued, however a run ends.
 */

import type { Identity } from '../../auth/identity/caller.ts';
import type { NextRequestPlan, PlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { TurnEventLog } from '../../conversations/turn/event-log.ts';
import type { UpstreamStartResult } from '../../conversations/turn/read-buffered-answer.ts';
import { createMemoryShare, RESUMING_BYTES, waitForMemory } from '../../conversations/turn/reserve-memory.ts';
import type { TurnExecutor } from '../../conversations/turn/turn-executor.ts';
import type { TurnRunner } from '../../conversations/turn/turn-handle.ts';
import type { BodyMemoryShare } from '../../kit/http/body-memory.ts';
import { isObject } from '../../kit/json/object.ts';
import { createAttemptId, parseAttemptNumber } from '../../money/admission/reserve-attempt.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import { storePendingApprovals } from './approvals/pending-calls.ts';
import { type RunEndReason, showAndStoreRunEnd, showPausedClientCalls } from './end-run.ts';
import { RunBudget } from './limits.ts';
import { decideNextRunAction, type NextAction } from './next-action.ts';
import { createStepBody, estimateStepBytes, sumSettledCosts, waitBeforeStepRetry } from './next-step.ts';
import type { CallsToMake, PlannedCall, RunContinuingAfterPause } from './pauses.ts';
import { type ResumedRun, resumeLogAndDecideNext } from './retry-calls.ts';
import { RunToolCaller } from './run-calls.ts';
import type { RunContext } from './run-context.ts';
import { isRunPartOfHistory, type RunHandle } from './run-handle.ts';
import { getCallRows } from './run-rows.ts';
import { LiveStepWriter, RunStream } from './run-stream.ts';
import { createFailedResult, type ToolResult } from './tool-result.ts';

const PING_EVERY_MS = 15_000;
/** How many numbers of tries are skipped after a crash. */
const SKIPPED_TRIES = 20;

export class RunExecutor implements TurnRunner {
  readonly turn: RunHandle;
  readonly #upstreamAnswered = Promise.withResolvers<UpstreamStartResult>();
  readonly upstreamAnswered = this.#upstreamAnswered.promise;
  /** Settles when the first step is admitted or refused. A later step that is refused only pauses the run. */
  requestSent: Promise<void> = Promise.resolve();
  /** Settles when the messages of the first step are stored. */
  messagesStored: Promise<void> | undefined;
  readonly #done = Promise.withResolvers<void>();
  readonly done = this.#done.promise;
  readonly #context: RunContext;
  readonly #planned: PlannedRun;
  readonly #shown: RunStream;
  readonly #meter: RunBudget;
  readonly #calls: RunToolCaller;
  readonly #abort = new AbortController();
  /** Aborted when its credential has ended. */
  readonly #revoked = new AbortController();
  #step: { runner: TurnExecutor; writer: LiveStepWriter } | undefined;
  /** The number of the next step's first try, which is part of its name in the ledger. */
  #nextTry = 1;
  #isInterrupted = false;
  /** The model that has stepped in for the requested one. It answers all later steps. */
  #model: string | undefined;
  #isWaiting = false;
  #number = 1;
  #pauses = 0;
  #following: NextAction | undefined;
  /** When the last answer of a step ended, in milliseconds since 1970. */
  #answeredAt: number;
  /** Until when it waits before it tries a step again; undefined while it works. */
  #waitsUntil: number | undefined;
  #endWait: (() => void) | undefined;
  #pings: ReturnType<typeof setInterval> | undefined;
  /** How the run ends when its calls have returned, because it must not continue. */
  #over: RunEndReason | undefined;
  /** The number of the step whose calls were made last. */
  #called: number | undefined;

  /** @param crashed the state of a run that a crash interrupted; `resumeAfterCrash` continues it */
  constructor(row: TurnRow, planned: PlannedRun, context: RunContext, crashed?: ResumedRun) {
    this.#context = context;
    this.#planned = planned;
    const log = crashed?.turn.log ?? new TurnEventLog(context.transcript, row);
    this.turn = crashed?.turn ?? { row, log, result: undefined, usages: [] };
    this.#waitsUntil = crashed?.waitsUntil;
    this.#answeredAt = crashed?.last?.endedAt ?? row.beganAt;
    log.onFollow = () => this.#startPinging();
    this.#shown = new RunStream(log, (name) => planned.tools.runs.has(name), crashed?.blocks, crashed?.hasBegun);
    const { isStreaming, carried } = context;
    this.#meter = new RunBudget(planned.limits, row.beganAt, { isStreaming, carried, spent: crashed?.spent });
    this.#calls = new RunToolCaller({
      ...context,
      turn: row.id,
      tools: planned.tools.runs,
      schemas: planned.tools.schemas,
      shown: this.#shown,
      meter: this.#meter,
      signal: this.#abort.signal,
      shouldMakeNoMoreCalls: () => this.#over !== undefined,
      // Check the credential if the run has made no step yet. After a revocation, the account stops only runs with a recent
      // step, and a run that continues after an approval may be weeks old.
      endRunIfCredentialRevoked: async () => {
        if (!this.#step) await this.#endIfCredentialRevoked();
      },
    });
  }

  /** Begins the first step without waiting: the caller takes the lock with it. */
  begin(plan: NextRequestPlan): this {
    this.#step = this.#beginStep(plan, this.#context.requestId);
    this.#upstreamAnswered.resolve(this.#step.runner.upstreamAnswered);
    this.requestSent = this.#step.runner.requestSent;
    this.messagesStored = this.#step.runner.messagesStored;
    return this;
  }

  /**
   * Takes over the decided calls of a step. `continueWithDecidedCalls` makes them. @param take shows them, and returns which
   * are to be made
   */
  takeOverDecidedCalls(step: number, take: (step: number, run: RunContinuingAfterPause) => CallsToMake): this {
    const { transcript, now } = this.#context;
    this.turn.continues = step;
    const storeAndShowResult = (call: PlannedCall, result: ToolResult) => this.#calls.storeAndShowResult(call, result);
    const first = take(step, { transcript, now, storeAndShowResult, shown: this.#shown, row: this.turn.row });
    this.#following = { kind: 'calls', ...first };
    this.#upstreamAnswered.resolve({ kind: 'stream', headers: {} });
    return this;
  }

  /** Continues with the calls that were taken over. Never rejects. */
  async continueWithDecidedCalls(): Promise<void> {
    await this.#endIfCredentialRevoked();
    await this.runToEnd(undefined);
  }

  get waitsUntil(): number | undefined {
    return this.#waitsUntil;
  }

  /** Ends the wait of a run in the background if its time has come. Called by each alarm. */
  endWaitIfDue(now: number): void {
    if (this.#waitsUntil === undefined || now < this.#waitsUntil) return;
    this.#waitsUntil = undefined;
    this.#endWait?.();
  }

  get identity(): Identity {
    return this.#context.request.caller;
  }

  /** Resumes after a crash, with calls or the next step, once the cost of interrupted steps is known. Never rejects. */
  async resumeAfterCrash(crashed: ResumedRun): Promise<void> {
    this.#upstreamAnswered.resolve({ kind: 'stream', headers: {} });
    // Reserve memory: when an isolate dies, all of its runs wake at the same time, and each of them reads its history.
    const share = createMemoryShare();
    try {
      if (crashed.waitsUntil !== undefined) await this.#waitForAlarm();
      await this.#reserveMemory(share, RESUMING_BYTES);
      this.#restoreAfterCrash(crashed);
      this.#meter.countStep(await sumSettledCosts(crashed.unknown, this.#meter.maxStepCost ?? 0), false);
    } catch (thrown) {
      // The stored rows of the run are damaged, so the run ends without being resumed.
      this.#context.onUnexpectedError(thrown);
      return this.#done.resolve();
    } finally {
      share.releaseMemory();
    }
    await this.#endIfCredentialRevoked();
    await this.runToEnd(undefined);
  }

  /**
   * Ends the run if its credential was revoked, or if its account is blocked. A run that was down or waiting did not get the account's notification. Never
   * rejects.
   */
  async #endIfCredentialRevoked(): Promise<void> {
    try {
      const rejection = await this.#context.findCredentialRejection();
      if (rejection?.outcome === 'revoked') this.stopForRevokedCredential();
      else if (rejection) this.stopTurn();
    } catch (thrown) {
      this.#over = { kind: 'error', error: thrown };
    }
  }

  /**
   * Runs steps and their calls until the run ends. @param first the plan of the step that has begun; undefined where what follows
   * is to be found first. Never rejects.
   */
  async runToEnd(first: NextRequestPlan | undefined): Promise<void> {
    this.#startPinging();
    try {
      for (
        let plan = first ?? (await this.#makeCallsAndPlanNextStep());
        plan;
        plan = await this.#makeCallsAndPlanNextStep()
      ) {
        await this.#step?.runner.runToEnd(plan);
      }
    } catch (thrown) {
      this.#context.onUnexpectedError(thrown);
    } finally {
      clearInterval(this.#pings);
      this.#calls.closeToolConnections();
      this.#done.resolve();
    }
  }

  stopTurn(): void {
    this.#abort.abort();
    this.#step?.runner.stopTurn();
  }

  stopForRevokedCredential(): void {
    this.#over = { kind: 'paused', reason: 'revoked' };
    this.#revoked.abort();
    this.#step?.runner.stopTurn();
  }

  async renewHold(): Promise<void> {
    // A waiting run has no open hold, so there is nothing to renew.
    if (this.#waitsUntil === undefined) await this.#step?.runner.renewHold();
  }

  /** Pings listeners while nothing is shown. A run that waits without any has no timer, so that its object may leave the memory. */
  #startPinging(): void {
    clearInterval(this.#pings);
    if (this.turn.result) return;
    this.#pings = setInterval(() => {
      if (this.#waitsUntil !== undefined && !this.#shown.log.hasListeners) clearInterval(this.#pings);
      else if (this.#isWaiting) this.#shown.log.ping();
    }, PING_EVERY_MS);
  }

  #beginStep(plan: NextRequestPlan, requestId: string): { runner: TurnExecutor; writer: LiveStepWriter } {
    let writer: LiveStepWriter | undefined;
    const runner = this.#context.storeAndCreateStep(plan, {
      run: this.turn,
      requestId,
      number: this.#number,
      isLater: this.turn.isCommitted === true,
      isOfEdge: isRunPartOfHistory(this.turn),
      costLimit: this.#meter.maxStepCost,
      logged: this.#shown.log.events,
      createStepWriter: (builder) => {
        writer = new LiveStepWriter(this.#shown, builder);
        return writer;
      },
      findEdgeCalls: (content) => this.#shown.findEdgeCalls(content),
      onStepEnd: (settled) => this.#step && this.#endStep(this.#step, settled),
    });
    if (!writer) throw new TypeError('The step has no writer.');
    this.#number += 1;
    return { runner, writer };
  }

  /** Decides what follows a step. The decision is stored together with the step's end. */
  #endStep(
    { runner, writer }: { runner: TurnExecutor; writer: LiveStepWriter },
    settled: Promise<SettlementResult> | undefined,
  ): void {
    const { row, result: ended, builder } = runner.turn;
    this.#context.trackStepSettlement(row, settled);
    if (!ended) throw new TypeError('The step has not ended.');
    const isAnswer = ended.status !== 'failed';
    this.turn.isUnanswered = ended.isUnanswered;
    this.#meter.countStep(row.cost, isAnswer);
    if (isObject(builder.reportedUsage)) this.turn.usages.push(builder.reportedUsage);
    const { outcome, budget } = ended.summary;
    this.turn.last = { outcome, delta: writer.delta, budget };
    if (isAnswer && !this.turn.isCommitted) this.#model = this.#getModelIfChanged(runner.model);
    this.turn.isCommitted ||= isAnswer;
    // Change the flag only after a settlement: a step that was not admitted has none that could report the conversation.
    if (settled !== undefined) this.turn.isUnreported = getCallRows(this.#context.transcript).isPlanned(row.seq);
    this.#nextTry = parseAttemptNumber(row.grant?.requestId ?? row.requestId) + 1;
    if (isAnswer) {
      this.#isInterrupted = false;
      this.#answeredAt = this.#context.now();
    }
    const following = decideNextRunAction({
      runner,
      writer,
      calls: this.#calls,
      pauses: this.#pauses,
      answeredAt: this.turn.row.background ? this.#answeredAt : undefined,
      isPart: isRunPartOfHistory(this.turn),
      ending: this.#immediateEnd,
    });
    this.#following = 'end' in following ? undefined : following;
    if ('end' in following) this.#finishRun(following.end);
    else this.#shown.log.store({ at: this.#context.now(), unseenMs: 0 });
  }

  /** Makes the calls that follow, and begins the next step. @returns its plan; undefined if the run has ended */
  async #makeCallsAndPlanNextStep(): Promise<NextRequestPlan | undefined> {
    const following = this.#following;
    if (!following) return undefined;
    this.#isWaiting = true;
    let asksClient = false;
    if (following.kind === 'calls') {
      const owed = following.calls.filter((call) => this.#calls.isWaitingForApproval(call));
      await this.#calls.callToolsOfStep(following.calls.filter((call) => !owed.includes(call)));
      this.#called = following.calls[0]?.turn;
      this.#isWaiting = false;
      if (owed.length > 0) return this.#pauseForApproval(owed);
      asksClient = following.asksClient;
    } else if (following.kind === 'again') {
      await waitBeforeStepRetry(
        this.#pauses++,
        this.#meter.computeRemainingMs(this.#context.now()),
        this.#abort.signal,
      );
    } else if (following.kind === 'wait') {
      this.#waitsUntil = following.until;
      this.#context.recordWait(following.reason, following.until);
      await this.#waitForAlarm();
      await this.#endIfCredentialRevoked();
    }
    const share = createMemoryShare();
    const mayGoOn = !asksClient && this.#meter.findPauseReason(this.#context.now()) === undefined;
    this.#isWaiting = true;
    const lacking = mayGoOn
      ? await this.#reserveMemory(share, estimateStepBytes(this.#context.transcript, this.#called))
      : undefined;
    this.#isWaiting = false;
    let plan: NextRequestPlan | undefined;
    try {
      plan = this.#beginNextStepOrFinish(share, { asksClient, lacking });
    } finally {
      if (!plan) share.releaseMemory();
    }
    return plan;
  }

  #beginNextStepOrFinish(share: BodyMemoryShare, { asksClient, lacking }: { asksClient: boolean; lacking: unknown }) {
    const reason = this.#meter.findPauseReason(this.#context.now());
    if (this.#immediateEnd) this.#finishRun(this.#immediateEnd);
    else if (asksClient) {
      showPausedClientCalls(this.turn, this.#context.transcript, this.#shown);
      this.#finishRun({ kind: 'complete' });
    } else if (reason) this.#finishRun({ kind: 'paused', reason });
    // End the run with this error. The results of the calls are stored, and are sent with the next message.
    else if (lacking) this.#finishRun({ kind: 'error', error: lacking });
    else {
      try {
        const plan = this.#beginNextStep();
        share.freeBytesOnRelease(plan.body.bytes);
        return { ...plan, reservedMemory: share };
      } catch (thrown) {
        this.#finishRun({ kind: 'error', error: thrown });
      }
    }
    return undefined;
  }

  /** How the run ends now, if it was stopped or must not continue; undefined otherwise. */
  get #immediateEnd(): RunEndReason | undefined {
    return this.#over ?? (this.#abort.signal.aborted ? { kind: 'stopped' } : undefined);
  }

  /** Waits until an alarm wakes it, or it is ended. A crash meanwhile loses nothing: the wait is stored. */
  async #waitForAlarm(): Promise<void> {
    this.#isWaiting = true;
    const signal = AbortSignal.any([this.#abort.signal, this.#revoked.signal]);
    await new Promise<void>((resolve) => {
      this.#endWait = resolve;
      if (this.#waitsUntil === undefined || signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    this.#waitsUntil = undefined;
    getCallRows(this.#context.transcript).deletePause(this.turn.row.seq);
    this.#isWaiting = false;
  }

  /** Waits for memory. @returns why there is none; undefined if there is */
  async #reserveMemory(share: BodyMemoryShare, bytes: number): Promise<unknown> {
    const { account, conversation, now } = this.#context;
    const signal = AbortSignal.any([this.#abort.signal, this.#revoked.signal]);
    try {
      await waitForMemory(share, bytes, this.#meter.computeRemainingMs(now()), { account, conversation, signal });
      return undefined;
    } catch (thrown) {
      return thrown;
    }
  }

  /** Pauses the run until a person has decided on calls. */
  #pauseForApproval(owed: readonly PlannedCall[]): undefined {
    const ending = this.#immediateEnd;
    if (ending) for (const call of owed) this.#calls.storeAndShowResult(call, createFailedResult('stopped'));
    else storePendingApprovals(owed, { ...this.#context, row: this.turn.row });
    this.#finishRun(ending ?? { kind: 'paused', reason: 'approval' });
  }

  #beginNextStep(): NextRequestPlan {
    const body = createStepBody(this.#planned.bodyWithoutMessages, {
      isInterrupted: this.#isInterrupted,
      model: this.#model,
    });
    const plan = this.#context.planNextStep(body);
    this.#step = this.#beginStep(plan, createAttemptId(this.#context.requestId, this.#nextTry));
    plan.messages = [];
    return plan;
  }

  /** Restores the run's state from before the crash. */
  #restoreAfterCrash(crashed: ResumedRun): void {
    const { last, number, tries } = crashed;
    this.#number = number + 1;
    this.#model = this.#getModelIfChanged(last?.model);
    // Skip numbers: attempts that were admitted just before the crash may not have stored their ids, and an id must not be used
    // twice.
    this.#nextTry = tries + SKIPPED_TRIES;
    this.#isInterrupted = last?.status === 'interrupted';
    this.#called = last?.seq;
    this.#following = resumeLogAndDecideNext(crashed, this.#calls);
  }

  /** @returns the model if it differs from the requested model of the run; undefined otherwise */
  #getModelIfChanged(model: string | undefined): string | undefined {
    const { models } = this.#context.settings;
    if (model === undefined || models.findRow(model)?.id === models.findRow(this.turn.row.model)?.id) return undefined;
    return model;
  }

  #finishRun(end: RunEndReason): void {
    const { transcript, now, requestId, onRunEnd: onEnd } = this.#context;
    showAndStoreRunEnd(this.turn, end, {
      transcript,
      shown: this.#shown,
      spent: this.#meter.spentNanodollars,
      now: now(),
      requestId,
    });
    onEnd(this.turn);
  }
}
