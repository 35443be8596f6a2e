import { DurableObject } from 'cloudflare:workers';
import { within } from '../async/timeout.ts';
import type { Bindings } from '../durable/bindings.ts';
import type {
  ConversationObject,
  ConversationPlace,
  CrossingText,
  PackedAnswer,
  PromptRequest,
  Result,
  Resumed,
  TurnAnswer,
  TurnRequest,
} from '../durable/contracts/conversation.ts';
import { conversationStub } from '../durable/stubs.ts';
import { ApiError, toApiError } from '../http/errors.ts';
import { retentionOf, UNREADABLE_MS } from '../settings/retention.ts';
import { type Settings, settingsOf } from '../settings/settings.ts';
import { type Upstream, upstreamOf } from '../upstream/upstream.ts';
import { answerOf, attachTo, findRepeatedTurn, resumeTurn } from './attach.ts';
import { beginTurn, WATCH_MS } from './begin-turn.ts';
import type { ConversationContext } from './conversation-context.ts';
import type { ConversationFields, ConversationPatch, HistoryQuery, StopQuery } from './conversations.schema.ts';
import { adopt, forkTo, rewindTo } from './history/forks.ts';
import { checkHeld, holdPrefix, layHeld, type TakenPrefix, takePrefix } from './history/held-prefix.ts';
import { type NextRequest, nextCountRequest, nextRequest } from './history/next-request.ts';
import { describe, exportLines, pageOfMessages } from './history/views.ts';
import { CONFIRM_AGAIN_MS, GRACE_MS, Maintenance } from './maintenance.ts';
import { heldOf, prefixReaderOf, releaseInBackground, releaseUnused } from './prefix-holds.ts';
import { changesOf, firstProfile, startConversation } from './profile-changes.ts';
import { recoverTurns } from './recover-turns.ts';
import { refuseRevokedCaller } from './refuse-revoked-caller.ts';
import type { HeldPrefix, Profile, TurnRow } from './storage/rows.ts';
import { Transcript } from './storage/transcript.ts';
import type { TurnRunner } from './turn/turn-runner.ts';
import {
  conflict,
  crossing,
  idTaken,
  inTransit,
  interruptedCall,
  noMessage,
  otherBody,
  pack,
  receivedText,
  unknownConversation,
  wireError,
} from './turn-answer.ts';

/** A turn's request whose body has come. */
type ReadRequest = TurnRequest & { body: string };

/** How long a stop or a deletion waits for the turn to end. */
const STOP_MS = 10_000;

/**
 * One conversation: its history, and the turn that runs.
 *
 * A turn is owned here before anything goes up, and goes on when its caller has left. Whether one may begin is decided
 * in one step, without waiting; what dies is closed from its log when the object wakes.
 */
export class Conversation extends DurableObject<Bindings> implements ConversationObject {
  readonly #transcript: Transcript;
  readonly #maintenance: Maintenance;
  readonly #context: ConversationContext;
  #runner: TurnRunner | undefined;
  #recovered = false;
  #adopting = false;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#transcript = new Transcript(ctx.storage);
    this.#maintenance = new Maintenance({
      transcript: this.#transcript,
      storage: ctx.storage,
      accounts: env,
      settings: () => this.settings(),
      now: () => this.now(),
      waitUntil: (work) => ctx.waitUntil(work),
      isBusy: () => this.#runner !== undefined || this.#adopting,
      erase: () => this.erase(),
    });
    this.#context = {
      transcript: this.#transcript,
      maintenance: this.#maintenance,
      env,
      settings: () => this.settings(),
      upstream: () => this.upstream(),
      now: () => this.now(),
      waitUntil: (work) => ctx.waitUntil(work),
    };
    void ctx.blockConcurrencyWhile(async () => {
      this.#maintenance.alarmAt = await ctx.storage.getAlarm();
    });
  }

  /** The clock; tests put their own in its place. */
  protected now(): number {
    return Date.now();
  }

  protected settings(): Settings {
    return settingsOf(this.env);
  }

  protected upstream(): Upstream {
    return upstreamOf(this.settings());
  }

  /**
   * Begins a turn, or attaches to the one that the same request began before.
   *
   * @param call the rest of a turn's request as JSON
   */
  turn(call: string, sent: TurnRequest['body']): Promise<PackedAnswer> {
    return this.#answerTo({ ...(JSON.parse(call) as Omit<TurnRequest, 'body'>), body: sent }).then(pack);
  }

  async #answerTo(request: TurnRequest): Promise<TurnAnswer> {
    try {
      const read: ReadRequest = Object.assign(request, { body: await receivedText(request.body) });
      const { prefix } = request;
      this.#recover();
      // What a conversation holds is found before its first turn: once that may begin, nothing is waited for.
      const taken = prefix === undefined || this.#present() ? undefined : await this.#take(request.place, prefix);
      try {
        return await this.#turn(read, taken);
      } finally {
        if (taken) releaseUnused(this.#context, taken);
      }
    } catch (thrown) {
      return { kind: 'error', error: wireError(toApiError(thrown)) };
    }
  }

  /**
   * @returns the prompt of a turn as it would go up, to be counted; undefined where there is no conversation yet, so that
   * the request is all there is
   */
  async prompt(request: PromptRequest): Promise<Result<ReadableStream<Uint8Array>> | undefined> {
    this.#recover();
    const { place, prefix, identity } = request;
    try {
      const text = await receivedText(request.body);
      const profile = this.#present();
      if (!profile?.exists) return undefined;
      if (prefix !== undefined) checkHeld(profile.prefix, prefix);
      const asked = nextCountRequest(text, this.#transcript, this.settings());
      const held = profile.prefix;
      const { bytes } = held ? await layHeld(prefixReaderOf(this.#context, place.account), held, asked) : asked;
      return { ok: true, value: new Blob([bytes]).stream() };
    } catch (thrown) {
      // Who may ask nothing is told nothing about what is here either.
      const refused = await refuseRevokedCaller(this.#context, identity).catch(toApiError);
      return { ok: false, error: wireError(refused ?? toApiError(thrown)) };
    }
  }

  /** @returns the rest of a turn after an event, and what comes; without one the turn that runs, from its beginning. */
  resume(after: string | undefined): Resumed {
    this.#recover();
    return resumeTurn(this.#transcript, this.#runner, after);
  }

  /**
   * Ends the turn that runs and keeps what was said; where none runs, nothing changes.
   *
   * @param only the turn that is meant, by its id or by the key that it was begun with: another one goes on
   */
  async stop(only: StopQuery = {}): Promise<Result<CrossingText>> {
    this.#recover();
    const runner = this.#runner;
    const { id, key } = runner?.turn.row ?? {};
    if (runner && (only.turn ?? id) === id && (only.key ?? key) === key) {
      runner.stop();
      await within(runner.done, STOP_MS);
    }
    return this.read();
  }

  /** @returns the conversation by itself. */
  read(): Result<CrossingText> {
    this.#recover();
    const profile = this.#present();
    if (!profile) return unknownConversation();
    return { ok: true, value: crossing(describe(profile, this.#transcript, this.#runner?.turn.row.id)) };
  }

  /** @returns a page of messages as JSON text. */
  messages(page: HistoryQuery): Result<ReadableStream<Uint8Array>> {
    this.#recover();
    if (!this.#present()) return unknownConversation();
    const value = pageOfMessages(this.#transcript, page);
    return value ? { ok: true, value } : noMessage(page.after_id ?? page.before_id);
  }

  /** @returns the whole conversation as lines of JSON. */
  export(): Result<ReadableStream<Uint8Array>> {
    this.#recover();
    const profile = this.#present();
    return profile ? { ok: true, value: exportLines(profile, this.#transcript) } : unknownConversation();
  }

  /** Creates it, empty, with what its turns shall have in common. */
  async create(
    place: ConversationPlace,
    fields: Omit<ConversationFields, 'system' | 'tools'>,
    texts: { system?: CrossingText; tools?: CrossingText },
  ): Promise<Result<CrossingText>> {
    const system = texts.system === undefined ? undefined : await receivedText(texts.system);
    const tools = texts.tools === undefined ? undefined : await receivedText(texts.tools);
    this.#recover();
    if (!this.#isFree()) return idTaken(place.id);
    let prefix: TakenPrefix | undefined;
    try {
      if (fields.prefix !== undefined) prefix = await this.#take(place, fields.prefix);
    } catch (thrown) {
      return { ok: false, error: wireError(toApiError(thrown)) };
    }
    if (!this.#isFree()) {
      if (prefix) releaseUnused(this.#context, prefix);
      return idTaken(place.id);
    }
    const now = this.now();
    const transcript = this.#transcript;
    startConversation(this.#context, {
      ...firstProfile(this.#context, place, now),
      exists: true,
      unreported: true,
      prefix: heldOf(prefix),
    });
    transcript.together(() => {
      transcript.freeze('system', system);
      transcript.freeze('tools', tools);
      const { model, maxTokens } = prefix ?? {};
      this.#maintenance.change({
        ...(model === undefined ? {} : { model }),
        ...(maxTokens === undefined ? {} : { maxTokens }),
        ...changesOf(fields),
      });
    });
    return this.read();
  }

  /** Changes what is not frozen. */
  patch(patch: ConversationPatch): Result<CrossingText> {
    this.#recover();
    if (!this.#present()) return unknownConversation();
    this.#maintenance.change(changesOf(patch));
    return this.read();
  }

  /** Goes back to before the turn, or the imported message, that an id names. */
  rewind(before: string): Result<CrossingText> {
    this.#recover();
    const profile = this.#present();
    if (!profile) return unknownConversation();
    if (this.#runner) return { ok: false, error: wireError(conflict(profile.id, this.#runner.turn.row.id)) };
    const change = rewindTo(this.#transcript, before);
    if (!change) return noMessage(before);
    this.#maintenance.change(change);
    return this.read();
  }

  /** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
  async fork(to: string, at: string | undefined): Promise<Result<CrossingText>> {
    this.#recover();
    const profile = this.#present();
    if (!profile) return unknownConversation();
    const texts = forkTo(this.#transcript, profile, at);
    if (!texts) return noMessage(at);
    const place = { account: profile.account, id: to };
    return await (conversationStub(this.env, this.settings(), place).adopt(place, texts) as Promise<
      Result<CrossingText>
    >);
  }

  /** Takes another conversation's history as its own beginning: all of it, or nothing. */
  async adopt(place: ConversationPlace, lines: ReadableStream<Uint8Array>): Promise<Result<CrossingText>> {
    this.#recover();
    if (!this.#isFree()) return idTaken(place.id);
    this.#adopting = true;
    const transcript = this.#transcript;
    let held: HeldPrefix | undefined;
    try {
      startConversation(this.#context, firstProfile(this.#context, place, this.now()));
      // If this dies here, the alarm clears what has been written.
      this.#maintenance.wakeFor(this.now() + GRACE_MS);
      const whole = await adopt(transcript, lines);
      if (whole?.prefix) {
        held = await holdPrefix(prefixReaderOf(this.#context, place.account), whole.prefix, place.id);
        whole.prefix = held;
      }
      if (!whole || transcript.profile?.deleted)
        throw new ApiError('api_error', 'The conversation could not be copied whole. Try again.');
      this.#maintenance.change({ ...whole, exists: true });
      return this.read();
    } catch (thrown) {
      transcript.empty();
      if (held) releaseInBackground(this.#context, held);
      this.#maintenance.wakeFor(this.now());
      return { ok: false, error: wireError(toApiError(thrown)) };
    } finally {
      this.#adopting = false;
    }
  }

  /** Deletes everything. @returns whether there was something; what the account is to be told is repeated until it is */
  async erase(): Promise<boolean> {
    this.#recover();
    const { profile } = this.#transcript;
    if (!profile) return false;
    const existed = profile.exists || this.#runner !== undefined;
    if (this.#runner) {
      this.#runner.stop();
      // It ends and this goes on in one: no other turn begins in between.
      await within(this.#runner.done, STOP_MS);
    }
    const last = this.#transcript.profile ?? profile;
    this.#transcript.together(() => {
      this.#transcript.empty();
      const version = Math.max(last.version + 1, this.now());
      this.#transcript.save({
        ...last,
        version,
        exists: false,
        deleted: true,
        unreported: true,
        title: null,
        metadata: null,
      });
    });
    this.#maintenance.wakeFor(this.now() + CONFIRM_AGAIN_MS);
    await this.#maintenance.clear();
    return existed;
  }

  /** Watches over the turn that runs, repeats what was not confirmed, and lets go of what has had its time. */
  override async alarm(): Promise<void> {
    this.#maintenance.alarmAt = null;
    const now = this.now();
    // Neither how long to keep it nor whom to settle with is known then.
    if (retentionOf(() => this.settings()) === undefined) return this.#maintenance.wakeFor(now + UNREADABLE_MS);
    this.#recover();
    const { profile } = this.#transcript;
    if (!profile) return;
    if (this.#runner) {
      this.#maintenance.wakeFor(now + WATCH_MS);
      // Asked again at the next look, well before the hold's deadline.
      await within(this.#runner.renew(), STOP_MS).catch(() => {});
      return;
    }
    if (this.#adopting) return this.#maintenance.wakeFor(now + GRACE_MS);
    if (profile.exists && this.#maintenance.isOver(profile, now)) {
      await this.erase();
      return;
    }
    this.#maintenance.letGo(now);
    await this.#maintenance.settlePending();
    if (!this.#runner && !this.#transcript.profile?.exists) await this.#maintenance.clear();
    else this.#maintenance.wakeNext();
  }

  async #turn(request: ReadRequest, prefix: TakenPrefix | undefined): Promise<TurnAnswer> {
    this.#recover();
    if (this.#repeated(request) || this.#runner || this.#isInTransit) {
      await refuseRevokedCaller(this.#context, request.identity);
      // What stood in the way may be gone by now: a turn may have ended, or failed and be none.
      const repeated = this.#repeated(request);
      if (repeated && repeated.hash !== request.hash) throw otherBody();
      if (repeated) return await attachTo(this.#transcript, this.#runner, repeated, request.stream);
      if (this.#runner) throw conflict(request.place.id, this.#runner.turn.row.id);
      if (this.#isInTransit) throw inTransit();
      // Its prefix was not taken, since a turn ran that would have told which one is held.
      if (request.prefix !== undefined && prefix === undefined && !this.#present()) throw interruptedCall();
    }
    let planned: NextRequest;
    try {
      const present = this.#present();
      if (present && request.prefix !== undefined) checkHeld(present.prefix, request.prefix);
      const betas = request.headers['anthropic-beta'];
      planned = nextRequest(request.body, this.#transcript, this.settings(), { prefix, betas });
    } catch (thrown) {
      await refuseRevokedCaller(this.#context, request.identity);
      throw thrown;
    }
    const runner = this.#begin(request, planned, prefix);
    // A long prompt must not lie in memory as long as the answer takes.
    request.body = '';
    planned.messages = [];
    this.ctx.waitUntil(runner.go(planned));
    return await answerOf(runner, request.stream);
  }

  /** Takes the lock: from here on no other turn begins. */
  #begin(request: TurnRequest, planned: NextRequest, taken: TakenPrefix | undefined): TurnRunner {
    this.#runner = beginTurn(this.#context, request, planned, taken, {
      onEnd: () => {
        this.#runner = undefined;
      },
      // What was written since the last wait is lost with the object.
      onBroken: (thrown) => this.ctx.abort(thrown instanceof Error ? thrown.message : 'a turn could not be ended'),
    });
    return this.#runner;
  }

  #repeated(request: TurnRequest): TurnRow | undefined {
    return findRepeatedTurn(this.#transcript, request, this.now());
  }

  async #take({ account, id }: ConversationPlace, ref: string): Promise<TakenPrefix> {
    return await takePrefix(prefixReaderOf(this.#context, account), ref, id);
  }

  /** Closes turns that an object has left behind when it died: once, before anything else is done. */
  #recover(): void {
    if (this.#recovered) return;
    this.#recovered = true;
    recoverTurns(this.#context);
  }

  /** A conversation is there from its first turn on, while that runs. */
  #present(): Profile | undefined {
    const { profile } = this.#transcript;
    return profile?.exists || this.#runner ? profile : undefined;
  }

  get #isInTransit(): boolean {
    return this.#adopting || this.#transcript.profile?.deleted === true;
  }

  #isFree(): boolean {
    return !this.#transcript.profile?.exists && !this.#runner && !this.#isInTransit;
  }
}
