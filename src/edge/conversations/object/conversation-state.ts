/** What all calls of a conversation's object share: the lock, and the recovery after a crash. */

import type { BoundCaller } from '../../auth/identity/caller.ts';
import type { CallingSurroundings } from '../../claude/calling-object.ts';
import { unanswered } from '../../claude/outcome.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { within } from '../../kit/async/timeout.ts';
import { bodyMemory } from '../../kit/http/body-memory.ts';
import { type ApiError, toApiError } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { isRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { refusedToBound } from '../history/guard.ts';
import { DamagedTable, damageBy, damageIn } from '../history/storage/damaged-row.ts';
import type { Profile, TurnRow } from '../history/storage/rows.ts';
import { Transcript } from '../history/storage/transcript.ts';
import { turnsOfRun, wakingTurns } from '../history/storage/turn-queries.ts';
import { endDamagedTurns } from '../turn/end-damaged.ts';
import { memoryOwner } from '../turn/reserve-memory.ts';
import { restoreCrashed } from '../turn/restore-turn.ts';
import { stopped } from '../turn/turn-abort.ts';
import type { Runner } from '../turn/turn-handle.ts';
import { describe } from '../views/views.ts';
import { callHooks, stopPart } from './call-hooks.ts';
import type { Result, RpcText } from './contract.ts';
import type { StopQuery } from './conversations.schema.ts';
import type { LeftOut } from './conversations-answers.schema.ts';
import { type ConversationContext, type ConversationHooks, conversationPlugins } from './hooks.ts';
import { withdrawnFrom } from './initial-context.ts';
import { Maintenance } from './maintenance.ts';
import { accountRequestOf } from './object-context.ts';
import { failedResult, toRpcText, turnInterrupted, unknownConversation } from './rpc-response.ts';

/** How long a stop or a deletion waits for the turn to end; milliseconds. */
export const STOP_MS = 10_000;

/** After how long the account settles a hold that nobody renews. Milliseconds. */
const ORPHANED_MS = 15 * MINUTE_MS;

/** The state of a conversation's object in memory. */
export class ConversationState implements ConversationContext {
  readonly transcript: Transcript;
  readonly maintenance: Maintenance;
  readonly parts: ConversationHooks[] = [];
  readonly alarm: CallingSurroundings['alarm'];
  readonly now: CallingSurroundings['now'];
  readonly settings: CallingSurroundings['settings'];
  readonly upstream: CallingSurroundings['upstream'];
  readonly waitUntil: CallingSurroundings['waitUntil'];
  readonly deleteAll: CallingSurroundings['deleteAll'];
  readonly abort: CallingSurroundings['abort'];
  readonly retries: CallingSurroundings['retries'];
  /** The turn that runs: it has the lock. */
  runner: Runner | undefined;
  readonly #ctx: DurableObjectState;
  readonly #around: CallingSurroundings;
  #recovery: 'pending' | 'running' | 'done' = 'pending';
  #failedRecoveries = 0;
  #isCopying = false;
  /** The turns that wait before they begin. */
  readonly #waiting = new Set<{ key: string | undefined; isStopped: boolean }>();

  /** @param erase deletes the conversation */
  constructor(ctx: DurableObjectState, around: CallingSurroundings, erase: () => Promise<unknown>) {
    this.#ctx = ctx;
    this.#around = around;
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
      this.transcript.firstOf(({ isBusy }) => isBusy || undefined) === true;
    const isOpen = () => callHooks(this, 'isOpen', (part) => part.isOpen?.()).some((one) => one);
    this.maintenance = new Maintenance({ ...around, transcript: this.transcript, isBusy, isOpen, erase });
    for (const { createHooks: open } of conversationPlugins()) if (open) this.parts.push(open(this));
  }

  get env(): CallingSurroundings['env'] {
    return this.#around.env;
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
    if (readable) bodyMemory.forget(memoryOwner({ account: readable.account, conversation: readable.id }));
    try {
      const goesOn = (runner: Runner) => {
        this.runner = runner;
        // A run asks by itself. If the account cannot be asked, it refuses the turn itself: that only misses a secret that has ended.
        if (runner.turn.row.run === null) this.#ctx.waitUntil(this.checkCredential().catch(() => {}));
      };
      endCrashedTurns(this, { goesOn, isLastTry: this.#failedRecoveries > 0 });
      callHooks(this, 'settle', (part) => part.settle?.());
    } catch (thrown) {
      this.endDamaged(thrown);
    }
  }

  /** Ends what runs without reading it, so that it does not begin again and again. @throws what is no damage */
  endDamaged(thrown: unknown): void {
    this.maintenance.noteDamage(thrown);
    this.runner = undefined;
    const damage = damageIn(thrown);
    this.transcript.damage ??=
      damage instanceof DamagedTable ? damage : damageBy(() => endDamagedTurns(this.transcript, this.now()));
  }

  /** Ends what runs if its credential has ended. @throws ObjectUnreachable while the account cannot be asked */
  async checkCredential(): Promise<void> {
    this.recover();
    const { runner } = this;
    if (runner && (await isRevokedCaller(accountRequestOf(this, runner.identity)))) runner.revoke();
    for (const { part, by } of callHooks(this, 'by', (part) => ({ part, by: part.by?.() }))) {
      if (by && (await isRevokedCaller(accountRequestOf(this, by)))) await stopPart(this, part);
    }
  }

  /** @returns the profile; undefined if the conversation does not exist. It exists from the moment its first turn runs. */
  present(): Profile | undefined {
    const { profile } = this.transcript;
    return profile?.exists || this.runner ? profile : undefined;
  }

  // The methods of parts take these apart from the state.
  readonly profile = (): Profile | undefined => {
    this.recover();
    return this.present();
  };

  /** @returns the 403 for a restricted token that may not use this conversation; undefined for whoever may */
  refusalOf(by: BoundCaller | undefined): ApiError | undefined {
    return refusedToBound(by, this.transcript);
  }

  readonly allowed = (by: BoundCaller | undefined): Result<Profile> => {
    const profile = this.profile();
    if (!profile) return unknownConversation();
    const refused = this.refusalOf(by);
    return refused ? failedResult(refused) : { ok: true, value: profile };
  };

  readonly withdrawal = (): Promise<unknown> => withdrawnFrom(this, this.profile());

  readonly begun = (runner: Runner): void => {
    this.runner = runner;
  };

  readonly ended = (): void => {
    this.runner = undefined;
    callHooks(this, 'ended', (part) => part.ended?.());
  };

  // An abort also undoes what was written since the last wait. What is damaged would break the turn again after it.
  readonly abortObject = (thrown: unknown): void => {
    logFailure({ conversation: this.transcript.readable?.id ?? '' }, thrown);
    const abort = () => this.#ctx.abort(thrown instanceof Error ? thrown.message : 'a turn did not end');
    if (damageIn(thrown)) {
      this.endDamaged(thrown);
      this.#ctx.waitUntil(this.#ctx.storage.sync().then(abort));
    } else abort();
  };

  /** Describes a conversation. @param left what was left out of the history that it begins with */
  described(profile: Profile | undefined, left?: LeftOut): Result<RpcText> {
    if (!profile) return unknownConversation();
    return { ok: true, value: toRpcText(describe(profile, this.transcript, this.runner?.turn.row.id, left)) };
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
  get awaited(): ApiError | undefined {
    for (const { refusal } of conversationPlugins()) {
      const refused = refusal?.(this.transcript);
      if (refused) return refused;
    }
    return undefined;
  }

  /** Waits for work before a turn begins. @throws ApiError if the turn was stopped meanwhile */
  async waitFor(key: string | undefined, work: Promise<unknown>): Promise<void> {
    const waiting = { key, isStopped: false };
    this.#waiting.add(waiting);
    await work.finally(() => this.#waiting.delete(waiting));
    if (waiting.isStopped) throw stopped();
  }

  /** Stops the running turn, or `only` the one that is named, and keeps what has come. Waits for its end a while. */
  async stopTurn(only: StopQuery): Promise<void> {
    this.recover();
    const { runner } = this;
    const { id, key } = runner?.turn.row ?? {};
    if (only.turn === undefined) await this.stopWaiting(only.key);
    if (runner && (only.turn ?? id) === id && (only.key ?? key) === key) {
      runner.stop();
      await within(runner.done, STOP_MS);
    }
  }

  /** Stops the turns that wait before they begin, and what they wait for. @param key only the turn with this key */
  async stopWaiting(key?: string): Promise<void> {
    const all = [...this.#waiting].filter((one) => key === undefined || one.key === key);
    for (const one of all) one.isStopped = true;
    if (all.length > 0) await this.stopParts(() => true);
  }

  /** Stops what plugins have under way, and waits for its end a while. */
  async stopParts(isMeant = (part: ConversationHooks) => part.by?.() !== undefined): Promise<void> {
    const meant = callHooks(this, 'by', (part) => (isMeant(part) ? [part] : [])).flat();
    const stopping = meant.map((part) => stopPart(this, part));
    if (stopping.some((one) => one)) await within(Promise.all(stopping), STOP_MS).catch(() => undefined);
  }

  /**
   * Waits until a history is stored. Until then no turn begins.
   *
   * @returns the conversation, which says how much was left out if that is anything
   */
  async storing(stored: Promise<void>, left?: LeftOut): Promise<Result<RpcText>> {
    this.#isCopying = true;
    try {
      await stored;
      return this.described(this.profile(), left);
    } catch (thrown) {
      return failedResult(thrown);
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
  { goesOn, isLastTry }: { goesOn: (runner: Runner) => void; isLastTry: boolean },
): void {
  const { transcript, maintenance } = conversation;
  const unsettled = wakingTurns(transcript);
  const running = unsettled.filter(
    ({ status, seq }) => status === 'running' && seq !== conversation.runner?.turn.row.seq,
  );
  for (const row of running) {
    if (row.run !== null && row.run !== row.seq) continue;
    const runner = row.run === null ? endOrBegin(conversation, row) : resumeOrEndRun(conversation, row, isLastTry);
    if (runner) goesOn(runner);
  }
  const { profile } = transcript;
  // A first turn must not continue a copy that was interrupted.
  if (profile && !profile.exists && !profile.deleted && !conversation.runner) transcript.dropUnborn();
  maintenance.confirmSoon(unsettled.length > 0);
}

/**
 * @returns what the first plugin makes that goes on; undefined if none does
 * @throws what a plugin has thrown, after the others were asked
 */
function byParts(
  { parts }: ConversationContext,
  goOn: (part: ConversationHooks) => Runner | undefined,
): Runner | undefined {
  const errors: unknown[] = [];
  for (const part of parts) {
    try {
      const runner = goOn(part);
      if (runner) return runner;
    } catch (thrown) {
      if (damageIn(thrown)) throw thrown;
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
    return byParts(conversation, (part) => part.resume?.(row));
  } catch (thrown) {
    if (damageIn(thrown)) throw thrown;
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
  const outcome = unanswered({ sentAt: step.sentAt ?? step.beganAt }, now());
  const { done } = maintenance.settlements.meterOf(step).settle(outcome);
  waitUntil(done.catch((thrown: unknown) => retries.failed('settlement', thrown, now() + ORPHANED_MS)));
}

/** Ends a turn that was interrupted, unless it begins again. */
function endOrBegin(conversation: ConversationContext, row: TurnRow): Runner | undefined {
  const { transcript, now, waitUntil, maintenance } = conversation;
  let error = turnInterrupted();
  try {
    // A turn in the background stores that it goes up before it does.
    const again =
      row.background && row.sentAt === null ? byParts(conversation, (part) => part.beginAgain?.(row)) : undefined;
    if (again) return again;
  } catch (thrown) {
    error = toApiError(thrown);
  }
  const turn = restoreCrashed(transcript, row, now());
  const meter = maintenance.settlements.meterOf(turn.row);
  const settled = transcript.together(() => {
    const confirmed = turn.end({ kind: 'cut', error, end: 'cut' }, meter, now());
    callHooks(conversation, 'tell', (part) => part.tell?.(turn));
    return confirmed;
  });
  if (settled !== undefined) waitUntil(maintenance.settlements.confirm(turn.row, settled));
  return undefined;
}
