/** What all calls of a conversation's object share: the lock, and the recovery after a crash. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import { createUnansweredOutcome } from '../../claude/outcome.ts';
import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { withTimeout } from '../../kit/async/timeout.ts';
import { bodyMemory } from '../../kit/http/body-memory.ts';
import { type ApiError, toApiError } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { isRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { restrictionError } from '../history/guard.ts';
import { catchDamage, DamagedTable, damageOf } from '../history/storage/damaged-row.ts';
import type { Profile, TurnRow } from '../history/storage/rows.ts';
import { Transcript } from '../history/storage/transcript.ts';
import { turnsOfRun, wakingTurns } from '../history/storage/turn-queries.ts';
import { endDamagedTurns } from '../turn/end-damaged-turns.ts';
import { memoryOwner } from '../turn/reserve-memory.ts';
import { restoreCrashed } from '../turn/restore-turn.ts';
import { stoppedError } from '../turn/turn-abort.ts';
import type { Runner } from '../turn/turn-handle.ts';
import { describe } from '../views/views.ts';
import { callHooks, stopPlugin } from './call-hooks.ts';
import type { Result, RpcText } from './contract.ts';
import type { StopQuery } from './conversations.schema.ts';
import type { ImportOmissions } from './conversations-answers.schema.ts';
import { type ConversationContext, type ConversationHooks, conversationPlugins } from './hooks.ts';
import { findWithdrawalOf } from './initial-context.ts';
import { countOfLost } from './lost-prompt.ts';
import { Maintenance } from './maintenance.ts';
import { accountRequestOf } from './object-context.ts';
import { failedRpcResult, toRpcText, turnInterrupted, unknownConversation } from './rpc-response.ts';

/** How long a stop or a deletion waits for the turn to end; milliseconds. */
export const STOP_MS = 10_000;

/** After how long the account settles a hold that nobody renews. Milliseconds. */
const ORPHANED_MS = 15 * MINUTE_MS;

/** The state of a conversation's object in memory. */
export class ConversationState implements ConversationContext {
  readonly transcript: Transcript;
  readonly maintenance: Maintenance;
  readonly hooks: ConversationHooks[] = [];
  readonly alarm: UpstreamObjectServices['alarm'];
  readonly now: UpstreamObjectServices['now'];
  readonly settings: UpstreamObjectServices['settings'];
  readonly upstream: UpstreamObjectServices['upstream'];
  readonly waitUntil: UpstreamObjectServices['waitUntil'];
  readonly deleteAll: UpstreamObjectServices['deleteAll'];
  readonly abort: UpstreamObjectServices['abort'];
  readonly retries: UpstreamObjectServices['retries'];
  /** The turn that runs: it has the lock. */
  runner: Runner | undefined;
  readonly #ctx: DurableObjectState;
  readonly #surroundings: UpstreamObjectServices;
  #recovery: 'pending' | 'running' | 'done' = 'pending';
  #failedRecoveries = 0;
  #isCopying = false;
  /** The turns that wait before they begin. */
  readonly #waitingTurns = new Set<{ key: string | undefined; isStopped: boolean }>();

  /** @param erase deletes the conversation */
  constructor(ctx: DurableObjectState, around: UpstreamObjectServices, erase: () => Promise<unknown>) {
    this.#ctx = ctx;
    this.#surroundings = around;
    this.alarm = around.alarm;
    this.now = around.now;
    this.settings = around.settings;
    this.upstream = around.upstream;
    this.waitUntil = around.waitUntil;
    this.deleteAll = around.deleteAll;
    this.abort = around.abort;
    this.retries = around.retries;
    this.transcript = new Transcript(ctx.storage);
    const isBusy = () =>
      this.runner !== undefined ||
      this.#isCopying ||
      this.transcript.firstFromPlugins(({ isBusy }) => isBusy || undefined) === true;
    const isOpen = () => callHooks(this, 'isOpen', (part) => part.isOpen?.()).some((one) => one);
    this.maintenance = new Maintenance({ ...around, transcript: this.transcript, isBusy, isOpen, erase });
    for (const { createHooks: open } of conversationPlugins()) if (open) this.hooks.push(open(this));
  }

  get env(): UpstreamObjectServices['env'] {
    return this.#surroundings.env;
  }

  /**
   * Ends the turns that a crash has interrupted, and resumes runs. Runs before anything else, until it has succeeded once: a
   * recovery that throws is repeated by the next call or alarm.
   */
  recover(): void {
    // Plugins that it calls ask for the profile, which recovers first.
    if (this.#recovery !== 'pending') return;
    this.#recovery = 'running';
    try {
      this.#recover();
      this.#recovery = 'done';
    } catch (thrown) {
      this.#recovery = 'pending';
      this.#failedRecoveries += 1;
      throw thrown;
    }
  }

  #recover(): void {
    const { readable } = this.transcript;
    if (readable) bodyMemory.releaseObject(memoryOwner({ account: readable.account, conversation: readable.id }));
    try {
      const onResumed = (runner: Runner) => {
        this.runner = runner;
        // A run asks by itself. If the account cannot be asked, it refuses the turn itself: that only misses a secret that has ended.
        if (runner.turn.row.run === null) this.#ctx.waitUntil(this.checkCredential().catch(() => {}));
      };
      endCrashedTurns(this, { goesOn: onResumed, isLastTry: this.#failedRecoveries > 0 });
      callHooks(this, 'settle', (part) => part.settle?.());
    } catch (thrown) {
      this.handleDamage(thrown);
    }
  }

  /** Ends what runs without reading it, so that it does not begin again and again. @throws what is no damage */
  handleDamage(thrown: unknown): void {
    this.maintenance.noteDamage(thrown);
    this.runner = undefined;
    const damage = damageOf(thrown);
    this.transcript.damage ??=
      damage instanceof DamagedTable ? damage : catchDamage(() => endDamagedTurns(this.transcript, this.now()));
  }

  /** Ends what runs if its credential has ended. @throws ObjectUnreachable while the account cannot be asked */
  async checkCredential(): Promise<void> {
    this.recover();
    const { runner } = this;
    if (runner && (await isRevokedCaller(accountRequestOf(this, runner.identity)))) runner.revoke();
    for (const { part, by: caller } of callHooks(this, 'by', (part) => ({ part, by: part.by?.() }))) {
      if (caller && (await isRevokedCaller(accountRequestOf(this, caller)))) await stopPlugin(this, part);
    }
  }

  /** @returns the profile; undefined if the conversation does not exist. It exists from the moment its first turn runs. */
  existingProfile(): Profile | undefined {
    const { profile } = this.transcript;
    return profile?.exists || this.runner ? profile : undefined;
  }

  // The methods of parts take these apart from the state.
  readonly profile = (): Profile | undefined => {
    this.recover();
    return this.existingProfile();
  };

  /** @returns the 403 for a restricted token that may not use this conversation; undefined for whoever may */
  restrictionErrorFor(caller: RestrictedCaller | undefined): ApiError | undefined {
    return restrictionError(caller, this.transcript);
  }

  readonly profileFor = (by: RestrictedCaller | undefined): Result<Profile> => {
    const profile = this.profile();
    if (!profile) return unknownConversation();
    const refused = this.restrictionErrorFor(by);
    return refused ? failedRpcResult(refused) : { ok: true, value: profile };
  };

  readonly findWithdrawal = (): Promise<unknown> => findWithdrawalOf(this, this.profile());

  readonly acquireLock = (runner: Runner): void => {
    this.runner = runner;
  };

  readonly releaseLock = (): void => {
    this.runner = undefined;
    callHooks(this, 'ended', (part) => part.ended?.());
  };

  // An abort also undoes what was written since the last wait. What is damaged would break the turn again after it.
  readonly abortObject = (thrown: unknown): void => {
    logFailure({ conversation: this.transcript.readable?.id ?? '' }, thrown);
    const abort = () => this.#ctx.abort(thrown instanceof Error ? thrown.message : 'a turn did not end');
    if (damageOf(thrown)) {
      this.handleDamage(thrown);
      this.#ctx.waitUntil(this.#ctx.storage.sync().then(abort));
    } else abort();
  };

  /** Describes a conversation. @param omitted what was left out of the history that it begins with */
  describe(profile: Profile | undefined, omitted?: ImportOmissions): Result<RpcText> {
    if (!profile) return unknownConversation();
    return { ok: true, value: toRpcText(describe(profile, this.transcript, this.runner?.turn.row.id, omitted)) };
  }

  get isInTransit(): boolean {
    return this.#isCopying || this.transcript.profile?.deleted === true;
  }

  get isFree(): boolean {
    this.recover();
    return !this.transcript.profile?.exists && !this.runner && !this.isInTransit;
  }

  /** Whether a history is being stored. */
  get isCopying(): boolean {
    return this.#isCopying;
  }

  /** Why no turn may begin while calls wait for a decision; undefined while none waits. */
  get approvalError(): ApiError | undefined {
    for (const { refusal } of conversationPlugins()) {
      const refused = refusal?.(this.transcript);
      if (refused) return refused;
    }
    return undefined;
  }

  /** Waits for work before a turn begins. @throws ApiError if the turn was stopped meanwhile */
  async waitFor(key: string | undefined, work: Promise<unknown>): Promise<void> {
    const waiting = { key, isStopped: false };
    this.#waitingTurns.add(waiting);
    await work.finally(() => this.#waitingTurns.delete(waiting));
    if (waiting.isStopped) throw stoppedError();
  }

  /** Stops the running turn, or `only` the one that is named, and keeps what has come. Waits for its end a while. */
  async stopTurn(only: StopQuery): Promise<void> {
    this.recover();
    const { runner } = this;
    const { id, key } = runner?.turn.row ?? {};
    if (only.turn === undefined) await this.stopWaiting(only.key);
    if (runner && (only.turn ?? id) === id && (only.key ?? key) === key) {
      runner.stop();
      await withTimeout(runner.done, STOP_MS);
    }
  }

  /** Stops the turns that wait before they begin, and what they wait for. @param key only the turn with this key */
  async stopWaiting(key?: string): Promise<void> {
    const all = [...this.#waitingTurns].filter((one) => key === undefined || one.key === key);
    for (const one of all) one.isStopped = true;
    if (all.length > 0) await this.stopPlugins(() => true);
  }

  /** Stops what plugins have under way, and waits for its end a while. */
  async stopPlugins(isMeant = (part: ConversationHooks) => part.by?.() !== undefined): Promise<void> {
    const meant = callHooks(this, 'by', (part) => (isMeant(part) ? [part] : [])).flat();
    const stopping = meant.map((part) => stopPlugin(this, part));
    if (stopping.some((one) => one)) await withTimeout(Promise.all(stopping), STOP_MS).catch(() => undefined);
  }

  /**
   * Waits until a history is stored. Until then no turn begins.
   *
   * @returns the conversation, which says how much was left out if that is anything
   */
  async waitUntilStored(stored: Promise<void>, omitted?: ImportOmissions): Promise<Result<RpcText>> {
    this.#isCopying = true;
    try {
      await stored;
      return this.describe(this.profile(), omitted);
    } catch (thrown) {
      return failedRpcResult(thrown);
    } finally {
      this.#isCopying = false;
    }
  }
}

/**
 * Ends the turns that were running when the object crashed, and settles what is not settled.
 *
 * @param goesOn called with the runner of what goes on, as soon as it does: it must not be begun again if something throws later
 * @param isLastTry whether a run whose plugin throws is ended without its plugin
 */
function endCrashedTurns(
  conversation: ConversationContext,
  { goesOn: onResumed, isLastTry }: { goesOn: (runner: Runner) => void; isLastTry: boolean },
): void {
  const { transcript, maintenance } = conversation;
  const unsettled = wakingTurns(transcript);
  const running = unsettled.filter(
    ({ status, seq }) => status === 'running' && seq !== conversation.runner?.turn.row.seq,
  );
  for (const row of running) {
    if (row.run !== null && row.run !== row.seq) continue;
    const runner =
      row.run === null ? restartOrEndTurn(conversation, row) : resumeOrEndRun(conversation, row, isLastTry);
    if (runner) onResumed(runner);
  }
  const { profile } = transcript;
  // A first turn must not continue a copy that was interrupted.
  if (profile && !profile.exists && !profile.deleted && !conversation.runner) transcript.dropIncompleteCopy();
  maintenance.confirmSoon(unsettled.length > 0);
}

/**
 * @returns what the first plugin makes that goes on; undefined if none does
 * @throws what a plugin has thrown, after the others were asked
 */
function firstRunnerOf(
  { hooks: parts }: ConversationContext,
  goOn: (part: ConversationHooks) => Runner | undefined,
): Runner | undefined {
  const errors: unknown[] = [];
  for (const part of parts) {
    try {
      const runner = goOn(part);
      if (runner) return runner;
    } catch (thrown) {
      if (damageOf(thrown)) throw thrown;
      errors.push(thrown);
    }
  }
  if (errors.length > 0) throw errors[0];
  return undefined;
}

/** Ends a run that was interrupted, unless it goes on. */
function resumeOrEndRun(conversation: ConversationContext, row: TurnRow, isLastTry: boolean): Runner | undefined {
  const { transcript, now } = conversation;
  try {
    return firstRunnerOf(conversation, (part) => part.resume?.(row));
  } catch (thrown) {
    if (damageOf(thrown)) throw thrown;
    logFailure({ conversation: transcript.readable?.id ?? '', hook: 'resume' }, thrown);
    // Another plugin may have ended it.
    if (transcript.statusOf(row.seq) !== 'running') return undefined;
    // The next recovery may succeed, and keeps what the run has said.
    if (!isLastTry) throw thrown;
    const steps = turnsOfRun(transcript, row.seq).filter(({ status, seq }) => status === 'running' && seq !== row.seq);
    endDamagedTurns(transcript, now());
    for (const step of steps) settleInterrupted(conversation, step);
    return undefined;
  }
}

/** Settles the hold of a step that has ended unread. If that fails, the account settles it at its deadline. */
function settleInterrupted({ maintenance, now, waitUntil, retries }: ConversationContext, step: TurnRow): void {
  const outcome = createUnansweredOutcome({ sentAt: step.sentAt ?? step.beganAt }, now());
  const { done } = maintenance.settlements.meterOf(step).settle(outcome);
  waitUntil(done.catch((thrown: unknown) => retries.recordFailure('settlement', thrown, now() + ORPHANED_MS)));
}

/** Ends a turn that was interrupted, unless it begins again. */
function restartOrEndTurn(conversation: ConversationContext, row: TurnRow): Runner | undefined {
  const { transcript, now, waitUntil, maintenance } = conversation;
  let error = turnInterrupted();
  try {
    // A turn in the background stores that it goes up before it does.
    const again =
      row.background && row.sentAt === null ? firstRunnerOf(conversation, (part) => part.beginAgain?.(row)) : undefined;
    if (again) return again;
  } catch (thrown) {
    error = toApiError(thrown);
  }
  const turn = restoreCrashed(transcript, row, now());
  // If nothing of an answer is stored, the end deletes its question.
  const count = turn.status === undefined ? countOfLost(conversation, row) : undefined;
  const meter = maintenance.settlements.meterOf(turn.row, count);
  const settled = transcript.transact(() => {
    const confirmed = turn.end({ kind: 'cut', error, end: 'cut' }, meter, now());
    callHooks(conversation, 'tell', (part) => part.tell?.(turn));
    return confirmed;
  });
  if (settled !== undefined) waitUntil(maintenance.settlements.confirm(turn.row, settled));
  return undefined;
}
