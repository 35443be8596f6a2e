/**
 * The object of a conversation. This file is long because the object answers many calls. What a call does is in the files
 * that it imports. What all calls share is here: the lock, and the recovery after a crash.
 */

import { hidesTools } from '../../gate/identity/only.ts';
import { retentionOf, UNREADABLE_MS } from '../../gate/settings/retention.ts';
import { inSteps } from '../../kit/async/in-steps.ts';
import { within } from '../../kit/async/timeout.ts';
import { room } from '../../kit/http/body-room.ts';
import { type ApiError, lacksRoom } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { edit } from '../../kit/json/edit.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { EdgeObject } from '../../kit/objects/edge-object.ts';
import { conversationStub } from '../../kit/objects/stubs.ts';
import { pluggedInto } from '../../kit/rooms/rooms.ts';
import { isRevokedCaller, refuseRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { releaseUnused } from '../../named/prefixes/retained-prefix.ts';
import {
  checkBeside,
  namesBeginning,
  type Taken,
  takeNamed,
  withAgentNamed,
  withdrawnFrom,
} from '../../rooms/agents/retained-agent.ts';
import { beginAgain, resumeRun } from '../../rooms/background/begin-again.ts';
import type { Chosen } from '../../rooms/choice/choose-model.ts';
import { ModelChooser } from '../../rooms/choice/model-chooser.ts';
import { refusalOfTurn, refusedToBound, toldToBound } from '../../rooms/page-tokens/bound-turn.ts';
import { withoutEdgeBlocks } from '../../rooms/runs/edge-blocks.ts';
import { ownerOfRoom } from '../../rooms/runs/run-room.ts';
import { subagentOutcomeOf } from '../../rooms/subagents/subagent-outcome.ts';
import { Summarizer } from '../../rooms/summaries/summarizer.ts';
import { backupLines, copyLines, rewindTo } from '../../rooms/transfer/forks.ts';
import { type Imported, importing } from '../../rooms/transfer/imported-turns.ts';
import type { LeftOut } from '../../rooms/transfer/kept-messages.ts';
import { answerBegun, answerRepeated, findRepeatedTurn, refuseBusy } from '../answers/answer-turn.ts';
import {
  conflict,
  crossingText,
  failedAnswer,
  failedResult,
  idTaken,
  interruptedCall,
  isChoosing,
  noMessage,
  pack,
  receivedText,
  stoppedBefore,
  unknownConversation,
  wireError,
} from '../answers/crossing-answer.ts';
import { hiddenAnswer } from '../answers/hidden-answer.ts';
import { accountRequestOf } from '../answers/object-context.ts';
import { pingedAnswer } from '../answers/pinged-answer.ts';
import { resumeTurn } from '../answers/resume-turn.ts';
import { outcomeOfTurn } from '../answers/turn-outcome.ts';
import { reportOfTurn } from '../answers/turn-report.ts';
import type {
  BoundCaller,
  CalledDecision,
  ConversationObject,
  ConversationPlace,
  CountedPrompt,
  CreatedFields,
  CrossingText,
  DecisionAnswer,
  PackedAnswer,
  PromptRequest,
  Result,
  Resumed,
  SubagentOutcome,
  TurnAnswer,
  TurnOutcome,
  TurnRequest,
} from '../contracts/conversation.ts';
import { readRequest } from '../contracts/read-request.ts';
import type { NextRequest } from '../history/next-request.ts';
import { lacksSummary } from '../history/truncate.ts';
import { describe, exportLines, pageOfMessages } from '../history/views.ts';
import { DECIDING_ROOM } from '../storage/approval-rows.ts';
import { DamagedTable, damageBy, damageIn } from '../storage/damaged-row.ts';
import { GRACE_MS, type Profile } from '../storage/rows.ts';
import { Transcript } from '../storage/transcript.ts';
import { endDamagedTurns } from '../turn/end-damaged.ts';
import type { Runner } from '../turn/running-turn.ts';
import { stopped } from '../turn/turn-abort.ts';
import { beginTurn, planTurn, type ReadRequest, turnIdOf, WATCH_MS } from './begin-turn.ts';
import type { ConversationPatch, HistoryQuery, StopQuery, View } from './conversations.schema.ts';
import { promptToCount } from './count-prompt.ts';
import { CONFIRM_AGAIN_MS, type ConversationContext, Maintenance } from './maintenance.ts';
import { CONVERSATION_PARTS, type OpenConversation, partsInUse } from './parts.ts';
import { changesOf, eraseDamaged, storeCopy, storeCreated, storeDeletion } from './profile-changes.ts';

/** How long a stop or a deletion waits for the turn to end. */
const STOP_MS = 10_000;

/**
 * One conversation: its history, and the turn that runs.
 *
 * The object owns a turn before anything goes up, and the turn goes on when its caller leaves. Whether a turn may begin is
 * decided in one step, without waiting. If a crash interrupts a turn, the turn is ended from its log when the object wakes.
 *
 * @example export { Conversation } from 'sluice';
 */
export class Conversation extends EdgeObject implements ConversationObject {
  readonly #transcript: Transcript;
  readonly #maintenance: Maintenance;
  readonly #summarizer: Summarizer;
  readonly #context: ConversationContext;
  #runner: Runner | undefined;
  readonly #hooks = {
    onEnd: () => {
      this.#runner = undefined;
      this.#summarizer.behind();
    },
    // An abort also undoes what was written since the last wait. What is damaged would break the turn again after it.
    onBroken: (thrown: unknown) => {
      logFailure({ conversation: this.#transcript.readable?.id ?? '' }, thrown);
      const abort = () => this.ctx.abort(thrown instanceof Error ? thrown.message : 'a turn did not end');
      if (!damageIn(thrown)) return abort();
      this.#endDamaged(thrown);
      this.ctx.waitUntil(this.ctx.storage.sync().then(abort));
    },
  };
  #recovered = false;
  #isCopying = false;
  readonly #chooser: ModelChooser;
  /** The turns that wait for a summary, or for the choice of their model. */
  readonly #waiting = new Set<{ key: string | undefined; isStopped: boolean }>();
  /** The idempotency keys of subagents that must not begin, because the run that called them has ended. */
  readonly #stoppedKeys = new Set<string>();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#transcript = new Transcript(ctx.storage);
    const shared = { ...this.around, transcript: this.#transcript };
    const isBusy = () => this.#runner !== undefined || this.#isCopying || this.#summarizer.isOpen;
    this.#maintenance = new Maintenance({ ...shared, isBusy, erase: () => this.erase() });
    const maintenance = this.#maintenance;
    this.#summarizer = new Summarizer({ ...shared, maintenance });
    this.#chooser = new ModelChooser(shared);
    this.#context = { ...shared, maintenance, summarizer: this.#summarizer };
  }

  /** Begins a turn, or attaches to the one that the same request began before. `call` is the request without its body. */
  turn(call: string, sent: TurnRequest['body']): Promise<PackedAnswer> {
    return this.#answerTo({ ...readRequest(JSON.parse(call) as Omit<TurnRequest, 'body'>), body: sent }).then(pack);
  }

  async #answerTo(request: TurnRequest): Promise<TurnAnswer> {
    try {
      const read: ReadRequest = Object.assign(request, { body: await receivedText(request.body) });
      this.#recover();
      // Only a first turn brings what an edge has shown. This takes steps, so it comes before the lock, too.
      if (!this.#present()?.turns) read.body = await withoutEdgeBlocks(read.body);
      // What a new conversation begins with is taken before the lock: after the lock nothing may wait.
      const taken =
        namesBeginning(request) && !this.#present()
          ? await takeNamed(this.#context, request.place, request)
          : undefined;
      try {
        const { only } = request.identity;
        const answer = withAgentNamed(await this.#turn(read, taken), this.#transcript, only !== undefined);
        return hiddenAnswer(answer, hidesTools(only) && !request.parent, this.#runner?.turn);
      } finally {
        releaseUnused(this.#context, taken?.retained);
      }
    } catch (thrown) {
      return failedAnswer(thrown);
    }
  }

  /** @returns the prompt of the next turn as it would go up, to be counted; undefined where there is no conversation yet */
  async prompt(request: PromptRequest): Promise<CountedPrompt | undefined> {
    this.#recover();
    return await promptToCount(this.#context, () => this.#present(), readRequest(request));
  }

  /** Ends what a crash has interrupted. Whoever carries a stream that broke calls it: then the turn is booked until now. */
  wake(): void {
    this.#recover();
  }

  /** Resumes a turn after an event, or the running turn from its beginning. */
  resume(after: string | undefined, by?: BoundCaller, show?: string): Resumed {
    this.#recover();
    const refused = refusedToBound(by, this.#transcript);
    if (refused) return { kind: 'error', error: wireError(refused) };
    return resumeTurn(this.#context, this.#runner, after, { hides: hidesTools(by?.only), show });
  }

  /** Stops the running turn, or `only` the one that is named, and keeps what has come. Changes nothing if no turn runs. */
  async stop(only: StopQuery = {}, by?: BoundCaller): Promise<Result<CrossingText>> {
    this.#recover();
    const refused = refusedToBound(by, this.#transcript);
    if (refused) return failedResult(refused);
    const runner = this.#runner;
    const { id, key } = runner?.turn.row ?? {};
    if (only.turn === undefined) await this.#stopWaiting(only.key);
    if (runner && (only.turn ?? id) === id && (only.key ?? key) === key) {
      runner.stop();
      await within(runner.done, STOP_MS);
    }
    // A first turn that was stopped before it said anything leaves no conversation: it is described as it ended.
    const profile = this.#currentProfile() ?? (runner && this.#transcript.profile);
    if (by && profile) return { ok: true, value: toldToBound(profile, this.#runner?.turn.row.id) };
    return this.#described(profile);
  }

  /** Stops the turns that wait before they begin, and a summary with them. @param key only the turn with this key */
  async #stopWaiting(key?: string): Promise<void> {
    const all = [...this.#waiting].filter((one) => key === undefined || one.key === key);
    for (const one of all) one.isStopped = true;
    if (all.length > 0) await within(this.#summarizer.stop(), STOP_MS).catch(() => {});
  }

  /**
   * Ends what runs if its credential has ended. The account calls it after a revocation, and again until it has come back.
   * A run that dies here asks by itself before it goes on.
   *
   * @throws ObjectUnreachable while the account cannot be asked
   */
  async checkCredential(): Promise<void> {
    this.#recover();
    const runner = this.#runner;
    if (runner && (await isRevokedCaller(accountRequestOf(this.#context, runner.identity)))) runner.revoke();
    const { by } = this.#summarizer;
    if (by && (await isRevokedCaller(accountRequestOf(this.#context, by)))) await this.#summarizer.stop();
  }

  /** @returns the conversation without its messages, as JSON text. */
  read(): Result<CrossingText> {
    return this.#described(this.#currentProfile());
  }

  #described(profile: Profile | undefined, left?: LeftOut): Result<CrossingText> {
    if (!profile) return unknownConversation();
    return { ok: true, value: crossingText(describe(profile, this.#transcript, this.#runner?.turn.row.id, left)) };
  }

  /** @returns what a turn did, as JSON text. A failed first turn is found too, though it has left no conversation. */
  turnReport(id: string): Result<CrossingText> {
    this.#recover();
    return this.#transcript.profile ? reportOfTurn(this.#transcript, id) : unknownConversation();
  }

  /** @returns the outcome of the turn with an idempotency key. @param isAwaited whether to wait until the turn has ended */
  async turnOutcome(key: string, isAwaited: boolean): Promise<TurnOutcome | undefined> {
    this.#recover();
    if (isAwaited && this.#runner?.turn.row.key === key) await this.#runner.done;
    return this.#transcript.profile && outcomeOfTurn(this.#transcript, key);
  }

  /** Stops a turn, and keeps what has come. A turn that has ended stays as it is. @returns what the turn did */
  async cancel(turn: string): Promise<Result<CrossingText>> {
    await this.stop({ turn });
    for (const { cancel } of partsInUse()) cancel?.(this.#transcript, turn, this.now());
    this.#maintenance.notePaused();
    return this.turnReport(turn);
  }

  /** Calls a method of what a room has in this object. @returns what it returns; a 409 where that room is not in use */
  async part<T>(room: string, method: string, ...args: readonly unknown[]): Promise<Result<T>> {
    const [part] = pluggedInto(CONVERSATION_PARTS, room);
    const called = part?.methods[method];
    if (!called) return failedResult(lacksRoom(room, 'This is for a room to answer'));
    const object: OpenConversation = {
      context: this.#context,
      hooks: this.#hooks,
      profile: () => this.#currentProfile(),
      refusalOf: (by) => refusedToBound(by, this.#transcript),
      withdrawal: () => withdrawnFrom(this.#context, this.#currentProfile()),
      begun: (runner) => {
        this.#runner = runner;
      },
    };
    // The room types its method, and the caller what it awaits, as with every call of an object.
    return (await called(object, ...args)) as Result<T>;
  }

  /**
   * Lists what waits for approval, as `part` does. The release before calls this and `decide`, and objects of it know nothing
   * else, so this release calls them, too. The next one calls `part`, and the one after it takes the two away.
   */
  approvals(by?: BoundCaller): Promise<Result<CrossingText>> {
    return this.part(DECIDING_ROOM, 'list', by);
  }

  /** Decides on a call that waits for approval, as `part` does: see `approvals`. */
  decide(decision: CalledDecision): Promise<Result<DecisionAnswer>> {
    return this.part(DECIDING_ROOM, 'decide', decision);
  }

  /** @returns a page of messages as JSON text. */
  messages(page: HistoryQuery, by?: BoundCaller): Result<ReadableStream<Uint8Array>> {
    if (!this.#currentProfile()) return unknownConversation();
    const refused = refusedToBound(by, this.#transcript);
    if (refused) return failedResult(refused);
    const value = pageOfMessages(this.#transcript, page, hidesTools(by?.only), by?.only !== undefined);
    return value ? { ok: true, value } : noMessage(page.after_id ?? page.before_id);
  }

  /** @returns the whole conversation as lines of JSON. */
  export(view?: View): Result<ReadableStream<Uint8Array>> {
    const profile = this.#currentProfile();
    return profile ? { ok: true, value: exportLines(profile, this.#transcript, view) } : unknownConversation();
  }

  /** Creates the conversation with the defaults of its turns. It is empty, or has an imported history. */
  async create(
    place: ConversationPlace,
    given: CreatedFields,
    texts: { system?: CrossingText; tools?: CrossingText; messages?: CrossingText },
  ): Promise<Result<CrossingText>> {
    const fields = readRequest(given);
    const system = texts.system && (await receivedText(texts.system));
    const tools = texts.tools && (await receivedText(texts.tools));
    const messages = texts.messages && (await receivedText(texts.messages));
    this.#recover();
    if (!this.#isFree()) return idTaken(place.id);
    let taken: Taken | undefined;
    let imported: Imported;
    try {
      imported = await inSteps(importing(messages ?? '[]'));
      taken = await takeNamed(this.#context, place, fields);
      if (taken?.agent) checkBeside(taken, { system, tools });
    } catch (thrown) {
      return failedResult(thrown);
    }
    if (!this.#isFree()) {
      releaseUnused(this.#context, taken?.retained);
      return idTaken(place.id);
    }
    const by = { account: place.account, only: fields.identity?.only };
    const refused = refusalOfTurn(by, this.#transcript, undefined, taken);
    if (refused) {
      releaseUnused(this.#context, taken?.retained);
      return failedResult(refused);
    }
    const begins = { system, tools, history: imported.turns };
    return await this.#storing(storeCreated(this.#context, place, fields, begins, taken), imported.left);
  }

  /** Changes the fields that are not frozen. */
  patch(patch: ConversationPatch): Result<CrossingText> {
    if (!this.#currentProfile()) return unknownConversation();
    this.#maintenance.change(changesOf(patch));
    return this.read();
  }

  /** Goes back to the state before a message's turn. In an import it goes back to the state before the message itself. */
  rewind(before: string): Result<CrossingText> {
    const profile = this.#currentProfile();
    if (!profile) return unknownConversation();
    if (this.#runner) return failedResult(conflict(profile.id, this.#runner.turn.row.id));
    this.#maintenance.settlements.tell();
    const change = rewindTo(this.#transcript, before);
    if (!change) return noMessage(before);
    // What was settled together with a turn that has gone may have to be settled by itself.
    this.around.alarm.wakeFor(this.now() + CONFIRM_AGAIN_MS);
    this.#maintenance.change(change);
    return this.read();
  }

  /** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
  async fork(to: string, at: string | undefined, by?: BoundCaller): Promise<Result<CrossingText>> {
    const profile = this.#currentProfile();
    if (!profile) return unknownConversation();
    const refused = refusedToBound(by, this.#transcript);
    if (refused) return failedResult(refused);
    // Its first turn is running: there is nothing to copy yet.
    if (!profile.exists && this.#runner) return failedResult(conflict(profile.id, this.#runner.turn.row.id));
    const texts = copyLines(this.#transcript, profile, at);
    if (!texts) return noMessage(at);
    const place = { account: profile.account, id: to };
    return await (conversationStub(this.env, this.settings(), place).adopt(place, texts) as ReturnType<this['fork']>);
  }

  /** @returns the history as the lines that another deployment can restore. */
  backup(): Result<ReadableStream<Uint8Array>> {
    const profile = this.#currentProfile();
    // While its first turn runs, there is nothing to keep yet.
    const value = profile?.exists && backupLines(this.#transcript, profile);
    return value ? { ok: true, value } : unknownConversation();
  }

  /** Begins this conversation with the history of another one. Stores all of it or nothing. */
  async adopt(place: ConversationPlace, lines: ReadableStream<Uint8Array>): Promise<Result<CrossingText>> {
    this.#recover();
    if (!this.#isFree()) return idTaken(place.id);
    return await this.#storing(storeCopy(this.#context, place, lines));
  }

  /**
   * Waits until a history is stored. Until then no turn begins.
   *
   * @returns the conversation, which says how much was left out if that is anything
   */
  async #storing(stored: Promise<void>, left?: LeftOut): Promise<Result<CrossingText>> {
    this.#isCopying = true;
    try {
      await stored;
      return this.#described(this.#currentProfile(), left);
    } catch (thrown) {
      return failedResult(thrown);
    } finally {
      this.#isCopying = false;
    }
  }

  /**
   * Deletes everything, and repeats the report to the account until it is confirmed. What is damaged is deleted unread.
   *
   * @param place whose conversation this is, which its own rows may not say any more
   * @param ends whether its account ends, and needs no report
   * @returns whether the conversation existed
   */
  async erase(place: ConversationPlace | undefined = this.#transcript.readable, ends = false): Promise<boolean> {
    try {
      return await this.#erase(ends);
    } catch (thrown) {
      if (!place) throw thrown;
      this.#maintenance.noteDamage(thrown);
      await eraseDamaged(this.#context, place);
      return true;
    }
  }

  async #erase(ends: boolean): Promise<boolean> {
    this.#recover();
    const { profile } = this.#transcript;
    if (!profile) return false;
    if (ends && (await this.#maintenance.end())) return true;
    await this.#stopWaiting();
    if (this.#summarizer.by) await within(this.#summarizer.stop(), STOP_MS).catch(() => {});
    const existed = profile.exists || this.#runner !== undefined;
    if (this.#runner) {
      this.#runner.stop();
      // This goes on in the same step in which the turn ends: no other turn begins in between.
      await within(this.#runner.done, STOP_MS);
    }
    // The turn may have ended by itself, and a summary begun behind it. Its end is settled by the alarm.
    void this.#summarizer.stop();
    this.#maintenance.settlements.tell();
    storeDeletion(this.#context, this.#transcript.profile ?? profile);
    this.around.alarm.wakeFor(this.now() + CONFIRM_AGAIN_MS);
    await this.#maintenance.clear();
    return existed;
  }

  /** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
  override async alarm(): Promise<void> {
    try {
      await this.#alarm();
    } catch (thrown) {
      this.#maintenance.noteDamage(thrown);
      await this.#maintenance.endAlarm((profile) => eraseDamaged(this.#context, profile));
    }
  }

  async #alarm(): Promise<void> {
    const { alarm } = this.around;
    const isDue = alarm.fired(this.now());
    // Without readable settings, neither the retention nor the account's address is known.
    if (retentionOf(() => this.settings()) === undefined) return alarm.wakeFor(this.now() + UNREADABLE_MS);
    this.#recover();
    const { profile } = this.#transcript;
    if (!profile) return;
    this.#summarizer.settleOpen();
    this.ctx.waitUntil(this.#maintenance.events.send());
    if (this.#runner) {
      const next = this.now() + WATCH_MS;
      // What is due now is done once the turn has ended.
      if (isDue) alarm.wakeFor(next);
      else alarm.watch(next);
      // A renewal that fails is tried again by the next alarm, well before the hold's deadline.
      await within(this.#runner.renew(), STOP_MS).catch(() => {});
    } else if (this.#isCopying) alarm.wakeFor(this.now() + GRACE_MS);
    else if (profile.exists && this.#maintenance.expiresAt(profile) <= this.now()) await this.erase();
    else await this.#maintenance.tidy();
  }

  /** Waits until a subagent's turn has ended. @returns its outcome; undefined if no turn was begun with this key */
  async subagentOutcome(key: string): Promise<SubagentOutcome | undefined> {
    this.#recover();
    const runner = this.#runner;
    if (runner?.turn.row.key === key) await runner.done;
    return subagentOutcomeOf(this.#transcript, key);
  }

  /** Stops a subagent's turn. A turn that has not begun yet will not begin. */
  async stopSubagent(key: string): Promise<SubagentOutcome | undefined> {
    this.#stoppedKeys.add(key);
    await this.stop({ key });
    return subagentOutcomeOf(this.#transcript, key);
  }

  /**
   * @param isSummarized whether a summary was tried already
   * @param chosen how its model was chosen, if that is done
   */
  async #turn(
    request: ReadRequest,
    taken: Taken | undefined,
    isSummarized = false,
    chosen?: Chosen,
  ): Promise<TurnAnswer> {
    this.#recover();
    // What a deletion has left is done now: who was told that it is gone may begin anew at once.
    if (this.#transcript.profile?.deleted) await this.#maintenance.clear();
    this.#checkBound(request, taken);
    const findRepeated = () => findRepeatedTurn(this.#transcript, request, this.now());
    if (findRepeated() || this.#runner || this.#isInTransit || this.#awaited) {
      await refuseRevokedCaller(accountRequestOf(this.#context, request.identity));
      // While the account was asked, the other turn may have ended or failed, and a copy may be there: look again.
      this.#checkBound(request, taken);
      const repeated = findRepeated();
      if (repeated)
        return this.#withHistory(
          await answerRepeated(this.#context, this.#runner, repeated, request),
          repeated.sentFrom,
        );
      refuseBusy(this.#transcript, this.#runner, this.#isInTransit);
      const awaited = this.#awaited;
      if (awaited) throw awaited;
      // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
      if (namesBeginning(request) && !taken && !this.#present()) throw interruptedCall();
    }
    let planned: NextRequest;
    try {
      this.#summarizer.fit();
      planned = planTurn(this.#context, this.#present(), request, taken, chosen);
    } catch (thrown) {
      await refuseRevokedCaller(accountRequestOf(this.#context, request.identity));
      throw thrown;
    }
    const agent = this.#present()?.agent ?? taken?.agent;
    if (planned.toChoose && agent) {
      if (this.#chooser.isBusyWithOther(request.hash)) throw isChoosing();
      const choosing = this.#chooser.choose(request, agent, planned.toChoose, planned.messages);
      return await this.#turn(request, taken, isSummarized, await this.#waitFor(request.key, choosing));
    }
    if (planned.isTruncated && !planned.follows && !isSummarized) {
      const { body, ...cause } = request;
      const before = this.#waitFor(
        request.key,
        this.#summarizer.before({ request: cause, rest: edit(body, { messages: '[]' }) }),
      );
      const coming = before.then(() => this.#turn(request, taken, true, chosen)).catch(failedAnswer);
      if (!request.stream || request.background || request.parent) return await coming;
      return await pingedAnswer(turnIdOf(request), before, coming, { ...request, ...this.#context });
    }
    if (request.parent && this.#stoppedKeys.has(request.key ?? '')) throw stoppedBefore();
    // This takes the lock: from here on no other turn begins.
    const runner = beginTurn(this.#context, request, planned, taken, this.#hooks);
    this.#runner = runner;
    // A long prompt must not stay in memory for as long as the answer takes.
    request.body = '';
    planned.messages = [];
    this.ctx.waitUntil(runner.go(planned));
    return this.#withHistory(await answerBegun(this.#transcript, runner, request), planned.sentFrom);
  }

  /** Waits for work before a turn begins. @throws ApiError if the turn was stopped meanwhile */
  async #waitFor<T>(key: string | undefined, work: Promise<T>): Promise<T> {
    const waiting = { key, isStopped: false };
    this.#waiting.add(waiting);
    const done = await work.finally(() => this.#waiting.delete(waiting));
    if (waiting.isStopped) throw stopped();
    return done;
  }

  /** Says in its headers where a turn has gone up without its oldest turns, and without a summary of them. */
  #withHistory(answer: TurnAnswer, sentFrom: number): TurnAnswer {
    if (answer.kind === 'error' || !lacksSummary(this.#transcript.profile?.history, sentFrom)) return answer;
    return { ...answer, headers: { ...answer.headers, 'sluice-history': 'truncated' } };
  }

  /** Ends the turns that a crash has interrupted, and resumes runs. Runs once, before anything else. */
  #recover(): void {
    if (this.#recovered) return;
    this.#recovered = true;
    const { readable } = this.#transcript;
    if (readable) room.forget(ownerOfRoom({ account: readable.account, conversation: readable.id }));
    try {
      const goesOn = (runner: Runner | undefined) => {
        this.#runner = runner;
        return runner !== undefined;
      };
      this.#maintenance.endCrashedTurns(
        (crashed) => goesOn(resumeRun(this.#context, crashed, this.#hooks)),
        (turn) => {
          const hasBegun = goesOn(beginAgain(this.#context, turn, this.#hooks));
          // If the account cannot be asked here, it refuses the turn itself: that only misses a secret that has ended.
          if (hasBegun) this.ctx.waitUntil(this.checkCredential().catch(() => {}));
          return hasBegun;
        },
      );
      this.#summarizer.settleOpen();
    } catch (thrown) {
      this.#endDamaged(thrown);
    }
  }

  /** Ends what runs without reading it, so that it does not begin again and again. @throws what is no damage */
  #endDamaged(thrown: unknown): void {
    this.#maintenance.noteDamage(thrown);
    this.#runner = undefined;
    const damage = damageIn(thrown);
    this.#transcript.damage ??=
      damage instanceof DamagedTable ? damage : damageBy(() => endDamagedTurns(this.#transcript, this.now()));
  }

  #currentProfile(): Profile | undefined {
    this.#recover();
    return this.#present();
  }

  /** @returns the profile; undefined if the conversation does not exist. It exists from the moment its first turn runs. */
  #present(): Profile | undefined {
    const { profile } = this.#transcript;
    return profile?.exists || this.#runner ? profile : undefined;
  }

  /** @throws ApiError 403 for a bound token that may not use this conversation */
  #checkBound(request: TurnRequest, taken: Taken | undefined): void {
    if (!request.identity.only || request.parent) return;
    const present = this.#present();
    // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
    if (namesBeginning(request) && !taken && !present) throw interruptedCall();
    const refused = refusalOfTurn(request.identity, this.#transcript, present, taken);
    if (refused) throw refused;
  }

  /** Why no turn may begin while calls wait for a decision; undefined while none waits. */
  get #awaited(): ApiError | undefined {
    const { profile, approvals } = this.#transcript;
    for (const { refusal } of partsInUse()) {
      const refused = refusal?.(this.#transcript);
      if (refused) return refused;
    }
    if (!profile || approvals.paused === null) return undefined;
    return lacksRoom(DECIDING_ROOM, 'This conversation waits for an approval');
  }

  get #isInTransit(): boolean {
    return this.#isCopying || this.#transcript.profile?.deleted === true;
  }

  #isFree(): boolean {
    return !this.#transcript.profile?.exists && !this.#runner && !this.#isInTransit;
  }
}
