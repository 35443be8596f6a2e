/** What all calls of a conversation's object share: the lock, and the recovery after a crash. */

import type { CallingSurroundings } from '../../claude/calling-object.ts';
import type { BoundCaller } from '../../gate/identity/caller.ts';
import { within } from '../../kit/async/timeout.ts';
import { bodyMemory } from '../../kit/http/body-memory.ts';
import { type ApiError, toApiError } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { isRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { refusedToBound } from '../history/guard.ts';
import { DamagedTable, damageBy, damageIn } from '../history/storage/damaged-row.ts';
import type { Profile, TurnRow } from '../history/storage/rows.ts';
import { Transcript } from '../history/storage/transcript.ts';
import { wakingTurns } from '../history/storage/turn-queries.ts';
import { describe } from '../shown/views.ts';
import { endDamagedTurns } from '../turn/end-damaged.ts';
import { memoryOwner } from '../turn/reserve-memory.ts';
import { restoreCrashed } from '../turn/restore-turn.ts';
import type { Runner } from '../turn/running-turn.ts';
import { stopped } from '../turn/turn-abort.ts';
import type { CrossingText, Result } from './contract.ts';
import type { StopQuery } from './conversations.schema.ts';
import type { LeftOut } from './conversations-answers.schema.ts';
import { crossingText, failedResult, turnInterrupted, unknownConversation } from './crossing-answer.ts';
import { Maintenance } from './maintenance.ts';
import { withdrawnFrom } from './named-beginning.ts';
import { accountRequestOf } from './object-context.ts';
import { type OpenConversation, type OpenPart, partsInUse } from './parts.ts';

/** How long a stop or a deletion waits for the turn to end; milliseconds. */
export const STOP_MS = 10_000;

/** The state of a conversation's object in memory. */
export class ConversationState implements OpenConversation {
  readonly transcript: Transcript;
  readonly maintenance: Maintenance;
  readonly parts: OpenPart[] = [];
  readonly alarm: CallingSurroundings['alarm'];
  readonly now: CallingSurroundings['now'];
  readonly settings: CallingSurroundings['settings'];
  readonly upstream: CallingSurroundings['upstream'];
  readonly waitUntil: CallingSurroundings['waitUntil'];
  readonly deleteAll: CallingSurroundings['deleteAll'];
  /** The turn that runs: it has the lock. */
  runner: Runner | undefined;
  readonly #ctx: DurableObjectState;
  readonly #around: CallingSurroundings;
  #recovered = false;
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
    this.transcript = new Transcript(ctx.storage);
    const isBusy = () =>
      this.runner !== undefined ||
      this.#isCopying ||
      this.transcript.firstOf(({ isBusy }) => isBusy || undefined) === true;
    const isOpen = () => this.parts.some((part) => part.isOpen?.());
    this.maintenance = new Maintenance({ ...around, transcript: this.transcript, isBusy, isOpen, erase });
    for (const { open } of partsInUse()) if (open) this.parts.push(open(this));
  }

  get env(): CallingSurroundings['env'] {
    return this.#around.env;
  }

  /** Ends the turns that a crash has interrupted, and resumes runs. Runs once, before anything else. */
  recover(): void {
    if (this.#recovered) return;
    this.#recovered = true;
    const { readable } = this.transcript;
    if (readable) bodyMemory.forget(memoryOwner({ account: readable.account, conversation: readable.id }));
    try {
      endCrashedTurns(this, (runner) => {
        this.runner = runner;
        // A run asks by itself. If the account cannot be asked, it refuses the turn itself: that only misses a secret that has ended.
        if (runner.turn.row.run === null) this.#ctx.waitUntil(this.checkCredential().catch(() => {}));
      });
      for (const part of this.parts) part.settle?.();
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
    for (const part of this.parts) {
      const by = part.by?.();
      if (by && (await isRevokedCaller(accountRequestOf(this, by)))) await part.stop?.();
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

  /** @returns the 403 for a bound token that may not use this conversation; undefined for whoever may */
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
    for (const part of this.parts) part.ended?.();
  };

  // An abort also undoes what was written since the last wait. What is damaged would break the turn again after it.
  readonly broke = (thrown: unknown): void => {
    logFailure({ conversation: this.transcript.readable?.id ?? '' }, thrown);
    const abort = () => this.#ctx.abort(thrown instanceof Error ? thrown.message : 'a turn did not end');
    if (damageIn(thrown)) {
      this.endDamaged(thrown);
      this.#ctx.waitUntil(this.#ctx.storage.sync().then(abort));
    } else abort();
  };

  /** Describes a conversation. @param left what was left out of the history that it begins with */
  described(profile: Profile | undefined, left?: LeftOut): Result<CrossingText> {
    if (!profile) return unknownConversation();
    return { ok: true, value: crossingText(describe(profile, this.transcript, this.runner?.turn.row.id, left)) };
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
    for (const { refusal } of partsInUse()) {
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

  /** Stops what rooms have under way, and waits for its end a while. */
  async stopParts(isMeant = (part: OpenPart) => part.by?.() !== undefined): Promise<void> {
    const stopping = this.parts.filter(isMeant).map((part) => part.stop?.());
    if (stopping.some((one) => one)) await within(Promise.all(stopping), STOP_MS).catch(() => {});
  }

  /**
   * Waits until a history is stored. Until then no turn begins.
   *
   * @returns the conversation, which says how much was left out if that is anything
   */
  async storing(stored: Promise<void>, left?: LeftOut): Promise<Result<CrossingText>> {
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
 * @param goesOn called with the runner of what goes on
 */
function endCrashedTurns(conversation: OpenConversation, goesOn: (runner: Runner) => void): void {
  const { transcript, maintenance } = conversation;
  const unsettled = wakingTurns(transcript);
  const running = unsettled.filter(({ status }) => status === 'running');
  const going = [
    ...running.filter(({ run, seq }) => run === seq).map((row) => byParts(conversation, (part) => part.resume?.(row))),
    ...running.filter(({ run }) => run === null).map((row) => endOrBegin(conversation, row)),
  ].filter((runner) => runner !== undefined);
  for (const runner of going) goesOn(runner);
  const { profile } = transcript;
  // A first turn must not continue a copy that was interrupted.
  if (profile && !profile.exists && !profile.deleted && going.length === 0) transcript.dropUnborn();
  maintenance.confirmSoon(unsettled.length > 0);
}

/** @returns what the first room makes that goes on; undefined if none does */
function byParts({ parts }: OpenConversation, goOn: (part: OpenPart) => Runner | undefined): Runner | undefined {
  for (const part of parts) {
    const runner = goOn(part);
    if (runner) return runner;
  }
  return undefined;
}

/** Ends a turn that was interrupted, unless it begins again. */
function endOrBegin(conversation: OpenConversation, row: TurnRow): Runner | undefined {
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
    for (const part of conversation.parts) part.tell?.(turn);
    return confirmed;
  });
  if (settled !== undefined) waitUntil(maintenance.settlements.confirm(turn.row, settled));
  return undefined;
}
