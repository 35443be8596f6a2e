/** What all calls of a conversation's object share. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { bodyMemory } from '../../kit/http/body-memory.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { findCredentialRejection } from '../../money/admission/refuse-revoked.ts';
import { findConversationRestrictionError } from '../history/guard.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import type { ConversationProfile } from '../history/storage/rows.ts';
import { Transcript } from '../history/storage/transcript.ts';
import { createMemoryOwnerName } from '../turn/reserve-memory.ts';
import { createTurnStoppedError } from '../turn/turn-abort.ts';
import type { TurnRunner } from '../turn/turn-handle.ts';
import { formatConversationJson } from '../views/views.ts';
import { callHookOfEachPlugin, stopPluginWork } from './call-hooks.ts';
import type { RpcResult, RpcText } from './contract.ts';
import type { StopTurnQuery } from './conversations.schema.ts';
import type { ImportOmissions } from './conversations-answers.schema.ts';
import { endCrashedTurns } from './crash-recovery.ts';
import { endDamagedWork } from './damaged-conversation.ts';
import { type ConversationContext, type ConversationHooks, conversationPlugins } from './hooks.ts';
import { findWithdrawalError } from './initial-context.ts';
import { ConversationMaintainer } from './maintenance.ts';
import { createAccountRequest } from './object-context.ts';
import { createConversationNotFoundResult, toFailedResult, toRpcText } from './rpc-response.ts';
import { TurnLock } from './turn-lock.ts';

/** How long a stop or a deletion waits for the turn to end; milliseconds. */
export const STOP_MS = 10_000;

/** The state of a conversation's object in memory. */
export class ConversationState implements ConversationContext {
  readonly transcript: Transcript;
  readonly maintenance: ConversationMaintainer;
  readonly hooks: ConversationHooks[] = [];
  readonly alarm: UpstreamObjectServices['alarm'];
  readonly now: UpstreamObjectServices['now'];
  readonly settings: UpstreamObjectServices['settings'];
  readonly getUpstream: UpstreamObjectServices['getUpstream'];
  readonly waitUntil: UpstreamObjectServices['waitUntil'];
  readonly deleteRowsAndAlarm: UpstreamObjectServices['deleteRowsAndAlarm'];
  readonly abortObjectWithMessage: UpstreamObjectServices['abortObjectWithMessage'];
  readonly retries: UpstreamObjectServices['retries'];
  readonly lock: TurnLock;
  readonly #ctx: DurableObjectState;
  readonly #surroundings: UpstreamObjectServices;
  #recovery: 'pending' | 'running' | 'done' = 'pending';
  #failedRecoveries = 0;
  /** The turns that wait before they begin. */
  readonly #waitingTurns = new Set<{ key: string | undefined; isStopped: boolean }>();

  /** @param erase deletes the conversation */
  constructor(ctx: DurableObjectState, around: UpstreamObjectServices, erase: () => Promise<unknown>) {
    this.#ctx = ctx;
    this.#surroundings = around;
    this.alarm = around.alarm;
    this.now = around.now;
    this.settings = around.settings;
    this.getUpstream = around.getUpstream;
    this.waitUntil = around.waitUntil;
    this.deleteRowsAndAlarm = around.deleteRowsAndAlarm;
    this.abortObjectWithMessage = around.abortObjectWithMessage;
    this.retries = around.retries;
    this.transcript = new Transcript(ctx.storage);
    this.lock = new TurnLock(() => callHookOfEachPlugin(this, 'onTurnEnded', (part) => part.onTurnEnded?.()));
    const hasRunningWork = () =>
      !this.lock.isFree || this.transcript.findFirstFromPlugins(({ isBusy }) => isBusy || undefined) === true;
    const hasPendingPluginWork = () =>
      callHookOfEachPlugin(this, 'hasPendingWork', (part) => part.hasPendingWork?.()).some((one) => one);
    this.maintenance = new ConversationMaintainer({
      ...around,
      transcript: this.transcript,
      hasRunningWork,
      hasPendingPluginWork,
      erase,
    });
    for (const { createHooks: open } of conversationPlugins()) if (open) this.hooks.push(open(this));
  }

  get env(): UpstreamObjectServices['env'] {
    return this.#surroundings.env;
  }

  /**
   * Ends the turns that a crash has interrupted, and resumes runs. Runs before anything else, until it has succeeded once: a
   * recovery that throws is repeated by the next call or alarm.
   */
  recoverFromCrash(): void {
    // Return if the recovery has begun: it calls plugins that read `visibleProfile`, which calls this method again.
    if (this.#recovery !== 'pending') return;
    this.#recovery = 'running';
    try {
      this.#recoverTurns();
      this.#recovery = 'done';
    } catch (thrown) {
      this.#recovery = 'pending';
      this.#failedRecoveries += 1;
      throw thrown;
    }
  }

  #recoverTurns(): void {
    const { uncheckedProfile: readable } = this.transcript;
    if (readable)
      bodyMemory.releaseMemoryOfObject(createMemoryOwnerName({ account: readable.account, conversation: readable.id }));
    try {
      const acquireLockForRunner = (runner: TurnRunner) => {
        this.lock.acquire(runner);
        // The caller's credential may have been revoked while the object was down, so check it. A run checks its own
        // credential. An account that cannot be reached also admits no request, so ignore that error.
        if (runner.turn.row.run === null) this.#ctx.waitUntil(this.stopIfCredentialEnded().catch(() => {}));
      };
      endCrashedTurns(this, { onResumed: acquireLockForRunner, isLastTry: this.#failedRecoveries > 0 });
      callHookOfEachPlugin(this, 'settleOpenWork', (part) => part.settleOpenWork?.());
    } catch (thrown) {
      endDamagedWork(this, thrown);
    }
  }

  /** Ends all running work whose credential was revoked, or whose account is blocked. @throws ObjectUnreachableError if the account cannot be reached */
  async stopIfCredentialEnded(): Promise<void> {
    this.recoverFromCrash();
    const { holder: runner } = this.lock;
    const rejection = runner && (await findCredentialRejection(createAccountRequest(this, runner.identity)));
    if (rejection?.outcome === 'revoked') runner?.stopForRevokedCredential();
    else if (rejection) runner?.stopTurn();
    const working = callHookOfEachPlugin(this, 'getCaller', (part) => ({ part, caller: part.getCaller?.() }));
    for (const { part, caller } of working) {
      if (caller && (await findCredentialRejection(createAccountRequest(this, caller))))
        await stopPluginWork(this, part);
    }
  }

  /**
   * The profile, if callers can see the conversation: from the moment its first turn runs, until it is deleted. Recovers from a
   * crash first, because that may end the first turn. Compare `Transcript.storedProfile`.
   *
   * @throws DamagedRow if it cannot be read
   */
  get visibleProfile(): ConversationProfile | undefined {
    this.recoverFromCrash();
    const { storedProfile: profile } = this.transcript;
    return profile?.exists || this.lock.holder ? profile : undefined;
  }

  /** @returns the 403 for a restricted token that may not use this conversation; undefined for any other caller */
  findRestrictionError(caller: RestrictedCaller | undefined): ApiError | undefined {
    return findConversationRestrictionError(caller, this.transcript);
  }

  readonly findProfileForCaller = (by: RestrictedCaller | undefined): RpcResult<ConversationProfile> => {
    const profile = this.visibleProfile;
    if (!profile) return createConversationNotFoundResult();
    const refused = this.findRestrictionError(by);
    return refused ? toFailedResult(refused) : { ok: true, value: profile };
  };

  readonly findWithdrawalError = (): Promise<unknown> => findWithdrawalError(this, this.visibleProfile);

  // An abort also undoes the writes since the last await. If a row is damaged, first store the end of the turn, or the turn
  // would fail in the same way after each restart.
  readonly abortObject = (thrown: unknown): void => {
    logBackgroundFailure({ conversation: this.transcript.uncheckedProfile?.id ?? '' }, thrown);
    const abort = () => this.#ctx.abort(thrown instanceof Error ? thrown.message : 'a turn did not end');
    if (findDamageInError(thrown)) {
      endDamagedWork(this, thrown);
      this.#ctx.waitUntil(this.#ctx.storage.sync().then(abort));
    } else abort();
  };

  /** Describes a conversation. @param omitted what was left out of its imported history */
  describeAsResult(profile: ConversationProfile | undefined, omitted?: ImportOmissions): RpcResult<RpcText> {
    if (!profile) return createConversationNotFoundResult();
    return {
      ok: true,
      value: toRpcText(formatConversationJson(profile, this.transcript, this.lock.holder?.turn.row.id, omitted)),
    };
  }

  get isBeingCopiedOrDeleted(): boolean {
    return this.lock.isStoringHistory || this.transcript.storedProfile?.deleted === true;
  }

  get isConversationIdFree(): boolean {
    this.recoverFromCrash();
    return !this.transcript.storedProfile?.exists && this.lock.isFree && !this.transcript.storedProfile?.deleted;
  }

  /** Why no turn may begin while calls wait for a decision; undefined while none waits. */
  get pendingApprovalError(): ApiError | undefined {
    for (const { refusal } of conversationPlugins()) {
      const refused = refusal?.(this.transcript);
      if (refused) return refused;
    }
    return undefined;
  }

  /** Waits for work before a turn begins. @throws ApiError if the turn was stopped meanwhile */
  async waitBeforeTurn<T>(key: string | undefined, work: Promise<T>): Promise<T> {
    const waiting = { key, isStopped: false };
    this.#waitingTurns.add(waiting);
    const result = await work.finally(() => this.#waitingTurns.delete(waiting));
    if (waiting.isStopped) throw createTurnStoppedError();
    return result;
  }

  /**
   * Stops the running turn, or only the turn `only`, and keeps the part of the answer that has arrived. Waits for its end for a
   * limited time.
   */
  async stopTurn(only: StopTurnQuery): Promise<void> {
    this.recoverFromCrash();
    const { holder: runner } = this.lock;
    const { id, key } = runner?.turn.row ?? {};
    if (only.turn === undefined) await this.stopWaitingTurns(only.key);
    if (runner && (only.turn ?? id) === id && (only.key ?? key) === key) {
      runner.stopTurn();
      await waitWithTimeout(runner.done, STOP_MS);
    }
  }

  /** Stops the turns that wait before they begin, and the work that they wait for. @param key only the turn with this key */
  async stopWaitingTurns(key?: string): Promise<void> {
    const all = [...this.#waitingTurns].filter((one) => key === undefined || one.key === key);
    for (const one of all) one.isStopped = true;
    if (all.length > 0) await this.stopPluginWork(() => true);
  }

  /** Stops what plugins have under way, and waits for its end a while. */
  async stopPluginWork(isMeant = (part: ConversationHooks) => part.getCaller?.() !== undefined): Promise<void> {
    // Default: the plugins that work for a caller now (`getCaller`).
    const meant = callHookOfEachPlugin(this, 'getCaller', (part) => (isMeant(part) ? [part] : [])).flat();
    const stopping = meant.map((part) => stopPluginWork(this, part));
    if (stopping.some((one) => one)) await waitWithTimeout(Promise.all(stopping), STOP_MS).catch(() => undefined);
  }

  /**
   * Waits until a history is stored. Until then no turn begins.
   *
   * @returns the conversation, with the number of messages that were left out, if any
   */
  async waitUntilHistoryStored(stored: Promise<void>, omitted?: ImportOmissions): Promise<RpcResult<RpcText>> {
    try {
      await this.lock.holdWhileStoring(stored);
      return this.describeAsResult(this.visibleProfile, omitted);
    } catch (thrown) {
      return toFailedResult(thrown);
    }
  }
}
