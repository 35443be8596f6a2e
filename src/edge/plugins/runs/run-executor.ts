/**
 * A run: a turn whose tools the edge calls itself, in several steps.
 *
 * Each step is a turn by itself: admitted, sent, stored and settled like any other. The run has a row of its own, by which
 * clients know it, and one log, in which all steps are shown as one message. A step's answer is stored before its tools are
 * called, and its row has the calls. The result of a call has a row of its own until it goes up with the next message. So
 * the history can go on, however a run ends.
 */

import type { Identity } from '../../auth/identity/caller.ts';
import type { NextRequest, PlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { EventLog } from '../../conversations/turn/event-log.ts';
import type { StartResult } from '../../conversations/turn/read-buffered-answer.ts';
import { newShare, RESUMING_BYTES, reserveMemory } from '../../conversations/turn/reserve-memory.ts';
import type { TurnExecutor } from '../../conversations/turn/turn-executor.ts';
import type { Runner } from '../../conversations/turn/turn-handle.ts';
import type { MemoryShare } from '../../kit/http/body-memory.ts';
import { isObject } from '../../kit/json/object.ts';
import { attemptId, attemptNumberOf } from '../../money/admission/admission.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { requestApprovals } from './approvals/pending-calls.ts';
import { endRun, type RunEnd, showClientCalls } from './end-run.ts';
import { RunBudget } from './limits.ts';
import { decideNext, type NextAction } from './next-action.ts';
import { createStepBody, estimateStepBytes, sumCosts, waitBeforeRetry } from './next-step.ts';
import type { ContinuedCalls, ContinuingRun, PlannedCall } from './pauses.ts';
import { decideNextAfterCrash, type ResumedRun } from './retry-calls.ts';
import { RunCalls } from './run-calls.ts';
import type { RunContext } from './run-context.ts';
import { isPartOfHistory, type RunHandle } from './run-handle.ts';
import { callRowsOf } from './run-rows.ts';
import { LiveStepLog, RunStream } from './run-stream.ts';
import { failedResult, type ToolResult } from './tool-result.ts';

const PING_EVERY_MS = 15_000;
/** How many numbers of tries are skipped after a crash. */
const SKIPPED_TRIES = 20;

export class RunExecutor implements Runner {
  readonly turn: RunHandle;
  readonly #started = Promise.withResolvers<StartResult>();
  readonly started = this.#started.promise;
  /** Settles when the first step is admitted or refused. A later step that is refused only pauses the run. */
  admitted: Promise<void> = Promise.resolve();
  readonly #done = Promise.withResolvers<void>();
  readonly done = this.#done.promise;
  readonly #context: RunContext;
  readonly #planned: PlannedRun;
  readonly #shown: RunStream;
  readonly #meter: RunBudget;
  readonly #calls: RunCalls;
  readonly #abort = new AbortController();
  /** Aborted when its credential has ended. */
  readonly #revoked = new AbortController();
  #step: { runner: TurnExecutor; log: LiveStepLog } | undefined;
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
  /** How it ends as soon as its calls have come back, because it may not go on. */
  #over: RunEnd | undefined;
  /** The number of the step whose calls were made last. */
  #called: number | undefined;

  /** @param crashed where it goes on after a crash: then `goOnAfterCrash` runs it, and otherwise `go`, after `begin` */
  constructor(row: TurnRow, planned: PlannedRun, context: RunContext, crashed?: ResumedRun) {
    this.#context = context;
    this.#planned = planned;
    const log = crashed?.turn.log ?? new EventLog(context.transcript, row);
    this.turn = crashed?.turn ?? { row, log, result: undefined, usages: [] };
    this.#waitsUntil = crashed?.waitsUntil;
    this.#answeredAt = crashed?.last?.endedAt ?? row.beganAt;
    log.onFollow = () => this.#ping();
    this.#shown = new RunStream(log, (name) => planned.tools.runs.has(name), crashed?.blocks, crashed?.hasBegun);
    const { isStreaming, carried } = context;
    this.#meter = new RunBudget(planned.limits, row.beganAt, { isStreaming, carried, spent: crashed?.spent });
    this.#calls = new RunCalls({
      ...context,
      turn: row.id,
      tools: planned.tools.runs,
      schemas: planned.tools.schemas,
      shown: this.#shown,
      meter: this.#meter,
      signal: this.#abort.signal,
      isOver: () => this.#over !== undefined,
      // The account tells who has had a step lately. The one before an approval may be weeks ago.
      checkCredential: async () => {
        if (!this.#step) await this.#checkCredential();
      },
    });
  }

  /** Begins the first step without waiting: the caller takes the lock with it. */
  begin(plan: NextRequest): this {
    this.#step = this.#begin(plan, this.#context.requestId);
    this.#started.resolve(this.#step.runner.started);
    this.admitted = this.#step.runner.admitted;
    return this;
  }

  /** Takes up the decided calls of a step. `continue` makes them. @param take shows them, and says which are to be made */
  takeUpCalls(step: number, take: (step: number, run: ContinuingRun) => ContinuedCalls): this {
    const { transcript, now } = this.#context;
    this.turn.continues = step;
    const answer = (call: PlannedCall, result: ToolResult) => this.#calls.answer(call, result);
    const first = take(step, { transcript, now, answer, shown: this.#shown, row: this.turn.row });
    this.#following = { kind: 'calls', ...first };
    this.#started.resolve({ kind: 'stream', headers: {} });
    return this;
  }

  /** Goes on with the calls that were taken up. Never rejects. */
  async continue(): Promise<void> {
    await this.#checkCredential();
    await this.runSteps(undefined);
  }

  get waitsUntil(): number | undefined {
    return this.#waitsUntil;
  }

  /** Ends the wait of a run in the background if its time has come. Called by each alarm. */
  wake(now: number): void {
    if (this.#waitsUntil === undefined || now < this.#waitsUntil) return;
    this.#waitsUntil = undefined;
    this.#endWait?.();
  }

  get identity(): Identity {
    return this.#context.caller.caller;
  }

  /** Goes on after a crash, with calls or the next step, once the cost of interrupted steps is known. Never rejects. */
  async resumeAfterCrash(crashed: ResumedRun): Promise<void> {
    this.#started.resolve({ kind: 'stream', headers: {} });
    // After the death of an isolate all of its runs wake at once, and each reads its history again.
    const share = newShare();
    try {
      if (crashed.waitsUntil !== undefined) await this.#wait();
      await this.#reserveMemory(share, RESUMING_BYTES);
      this.#restore(crashed);
      this.#meter.addStep(await sumCosts(crashed.unknown, this.#meter.maxStepCost ?? 0), false);
    } catch (thrown) {
      // What it has stored is damaged.
      this.#context.onBroken(thrown);
      return this.#done.resolve();
    } finally {
      share.release();
    }
    await this.#checkCredential();
    await this.runSteps(undefined);
  }

  /** Asks whether its credential still holds. Whoever has died, or waited, was not told that it has ended. Never rejects. */
  async #checkCredential(): Promise<void> {
    try {
      if (await this.#context.isRevoked()) this.revoke();
    } catch (thrown) {
      this.#over = { kind: 'error', error: thrown };
    }
  }

  /** @param first the plan of the step that has begun; undefined where what follows is to be found first. Never rejects. */
  async runSteps(first: NextRequest | undefined): Promise<void> {
    this.#ping();
    try {
      for (let plan = first ?? (await this.#nextPlan()); plan; plan = await this.#nextPlan()) {
        await this.#step?.runner.runSteps(plan);
      }
    } catch (thrown) {
      this.#context.onBroken(thrown);
    } finally {
      clearInterval(this.#pings);
      this.#calls.close();
      this.#done.resolve();
    }
  }

  stop(): void {
    this.#abort.abort();
    this.#step?.runner.stop();
  }

  revoke(): void {
    this.#over = { kind: 'paused', reason: 'revoked' };
    this.#revoked.abort();
    this.#step?.runner.stop();
  }

  async renew(): Promise<void> {
    // What waits holds no money.
    if (this.#waitsUntil === undefined) await this.#step?.runner.renew();
  }

  /** Pings listeners while nothing is shown. A run that waits without any has no timer, so that its object may leave the memory. */
  #ping(): void {
    clearInterval(this.#pings);
    if (this.turn.result) return;
    this.#pings = setInterval(() => {
      if (this.#waitsUntil !== undefined && !this.#shown.log.isFollowed) clearInterval(this.#pings);
      else if (this.#isWaiting) this.#shown.log.ping();
    }, PING_EVERY_MS);
  }

  #begin(plan: NextRequest, requestId: string): { runner: TurnExecutor; log: LiveStepLog } {
    let log: LiveStepLog | undefined;
    const runner = this.#context.begin(plan, {
      run: this.turn,
      requestId,
      number: this.#number,
      isLater: this.turn.isCommitted === true,
      isOfEdge: isPartOfHistory(this.turn),
      most: this.#meter.maxStepCost,
      logged: this.#shown.log.events,
      logOf: (builder) => {
        log = new LiveStepLog(this.#shown, builder);
        return log;
      },
      callsIn: (content) => this.#shown.edgeCallsIn(content),
      onEnd: (settled) => this.#step && this.#endStep(this.#step, settled),
    });
    if (!log) throw new TypeError('A step without a log.');
    this.#number += 1;
    return { runner, log };
  }

  /** Decides what follows a step. The decision is stored together with the step's end. */
  #endStep({ runner, log }: { runner: TurnExecutor; log: LiveStepLog }, settled: Promise<Settled> | undefined): void {
    const { row, result: ended, builder } = runner.turn;
    this.#context.settle(row, settled);
    if (!ended) throw new TypeError('A step that has not ended.');
    const isAnswer = ended.status !== 'failed';
    this.turn.isUnanswered = ended.isUnanswered;
    this.#meter.addStep(row.cost, isAnswer);
    if (isObject(builder.usage)) this.turn.usages.push(builder.usage);
    const { outcome, budget } = ended.summary;
    this.turn.last = { outcome, delta: log.delta, budget };
    if (isAnswer && !this.turn.isCommitted) this.#model = this.#modelIfChanged(runner.model);
    this.turn.isCommitted ||= isAnswer;
    // A step that was not admitted settles nothing, and so it reports nothing of those before it.
    if (settled !== undefined) this.turn.isUnreported = callRowsOf(this.#context.transcript).isPlanned(row.seq);
    this.#nextTry = attemptNumberOf(row.grant?.requestId ?? row.requestId) + 1;
    if (isAnswer) {
      this.#isInterrupted = false;
      this.#answeredAt = this.#context.now();
    }
    const following = decideNext({
      runner,
      log,
      calls: this.#calls,
      pauses: this.#pauses,
      answeredAt: this.turn.row.background ? this.#answeredAt : undefined,
      isPart: isPartOfHistory(this.turn),
      ending: this.#endingNow,
    });
    this.#following = 'end' in following ? undefined : following;
    if ('end' in following) this.#finish(following.end);
    else this.#shown.log.store({ at: this.#context.now(), unseenMs: 0 });
  }

  /** Makes the calls that follow, and begins the next step. @returns its plan; undefined if the run has ended */
  async #nextPlan(): Promise<NextRequest | undefined> {
    const following = this.#following;
    if (!following) return undefined;
    this.#isWaiting = true;
    let asksClient = false;
    if (following.kind === 'calls') {
      const owed = following.calls.filter((call) => this.#calls.needsApproval(call));
      await this.#calls.makeAll(following.calls.filter((call) => !owed.includes(call)));
      this.#called = following.calls[0]?.turn;
      this.#isWaiting = false;
      if (owed.length > 0) return this.#waitForApproval(owed);
      asksClient = following.asksClient;
    } else if (following.kind === 'again') {
      await waitBeforeRetry(this.#pauses++, this.#meter.remainingMs(this.#context.now()), this.#abort.signal);
    } else if (following.kind === 'wait') {
      this.#waitsUntil = following.until;
      this.#context.noteWait(following.reason, following.until);
      await this.#wait();
      await this.#checkCredential();
    }
    const share = newShare();
    const mayGoOn = !asksClient && this.#meter.pauseReason(this.#context.now()) === undefined;
    this.#isWaiting = true;
    const lacking = mayGoOn
      ? await this.#reserveMemory(share, estimateStepBytes(this.#context.transcript, this.#called))
      : undefined;
    this.#isWaiting = false;
    let plan: NextRequest | undefined;
    try {
      plan = this.#planNextStep(share, { asksClient, lacking });
    } finally {
      if (!plan) share.release();
    }
    return plan;
  }

  #planNextStep(share: MemoryShare, { asksClient, lacking }: { asksClient: boolean; lacking: unknown }) {
    const reason = this.#meter.pauseReason(this.#context.now());
    if (this.#endingNow) this.#finish(this.#endingNow);
    else if (asksClient) {
      showClientCalls(this.turn, this.#context.transcript, this.#shown);
      this.#finish({ kind: 'complete' });
    } else if (reason) this.#finish({ kind: 'paused', reason });
    // The results are in their rows, and go up with the next message.
    else if (lacking) this.#finish({ kind: 'error', error: lacking });
    else {
      try {
        const plan = this.#beginNext();
        share.retain(plan.body.bytes);
        return { ...plan, share };
      } catch (thrown) {
        this.#finish({ kind: 'error', error: thrown });
      }
    }
    return undefined;
  }

  /** How it ends now, if it was stopped or may not go on; undefined otherwise. */
  get #endingNow(): RunEnd | undefined {
    return this.#over ?? (this.#abort.signal.aborted ? { kind: 'stopped' } : undefined);
  }

  /** Waits until an alarm wakes it, or it is ended. A crash meanwhile loses nothing: the wait is stored. */
  async #wait(): Promise<void> {
    this.#isWaiting = true;
    const signal = AbortSignal.any([this.#abort.signal, this.#revoked.signal]);
    await new Promise<void>((resolve) => {
      this.#endWait = resolve;
      if (this.#waitsUntil === undefined || signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    this.#waitsUntil = undefined;
    callRowsOf(this.#context.transcript).endPause(this.turn.row.seq);
    this.#isWaiting = false;
  }

  /** Waits for room. @returns why there is none; undefined if there is */
  async #reserveMemory(share: MemoryShare, bytes: number): Promise<unknown> {
    const { account, conversation, now } = this.#context;
    const signal = AbortSignal.any([this.#abort.signal, this.#revoked.signal]);
    try {
      await reserveMemory(share, bytes, this.#meter.remainingMs(now()), { account, conversation, signal });
      return undefined;
    } catch (thrown) {
      return thrown;
    }
  }

  /** Pauses the run until a person has decided on calls. */
  #waitForApproval(owed: readonly PlannedCall[]): undefined {
    const ending = this.#endingNow;
    if (ending) for (const call of owed) this.#calls.answer(call, failedResult('stopped'));
    else requestApprovals(owed, { ...this.#context, row: this.turn.row });
    this.#finish(ending ?? { kind: 'paused', reason: 'approval' });
  }

  #beginNext(): NextRequest {
    const body = createStepBody(this.#planned.bodyWithoutMessages, {
      isInterrupted: this.#isInterrupted,
      model: this.#model,
    });
    const plan = this.#context.plan(body);
    this.#step = this.#begin(plan, attemptId(this.#context.requestId, this.#nextTry));
    plan.messages = [];
    return plan;
  }

  /** Goes on where a crash has left the run. */
  #restore(crashed: ResumedRun): void {
    const { last, number, tries } = crashed;
    this.#number = number + 1;
    this.#model = this.#modelIfChanged(last?.model);
    // Later tries may have been admitted without their names being stored.
    this.#nextTry = tries + SKIPPED_TRIES;
    this.#isInterrupted = last?.status === 'interrupted';
    this.#called = last?.seq;
    this.#following = decideNextAfterCrash(crashed, this.#calls);
  }

  /** @returns the model if it differs from the one that the run asked for; undefined otherwise */
  #modelIfChanged(model: string | undefined): string | undefined {
    const { models } = this.#context.settings;
    if (model === undefined || models.find(model)?.id === models.find(this.turn.row.model)?.id) return undefined;
    return model;
  }

  #finish(end: RunEnd): void {
    const { transcript, now, requestId, onEnd } = this.#context;
    endRun(this.turn, end, { transcript, shown: this.#shown, spent: this.#meter.spent, now: now(), requestId });
    onEnd(this.turn);
  }
}
