import { DurableObject } from 'cloudflare:workers';
import { revoked } from '../accounts/admission/admission.ts';
import { within } from '../async/timeout.ts';
import type { Bindings } from '../durable/bindings.ts';
import { callAccount } from '../durable/call-account.ts';
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
  TurnSummary,
} from '../durable/contracts/conversation.ts';
import { conversationStub } from '../durable/stubs.ts';
import { ApiError, invalidRequest, toApiError } from '../http/errors.ts';
import { logFailure } from '../http/log.ts';
import type { Identity } from '../identity/caller.ts';
import type { PrefixReader } from '../prefixes/find-prefix.ts';
import { retentionOf, UNREADABLE_MS } from '../settings/retention.ts';
import { type Settings, settingsOf } from '../settings/settings.ts';
import { type Upstream, upstreamOf } from '../upstream/upstream.ts';
import type { ConversationFields, ConversationPatch, HistoryQuery, StopQuery } from './conversations.schema.ts';
import { adopt, forkTo, rewindTo } from './history/forks.ts';
import {
  checkHeld,
  holdPrefix,
  layHeld,
  refOf,
  releasePrefix,
  type TakenPrefix,
  takePrefix,
} from './history/held-prefix.ts';
import { type NextRequest, newProfile, nextCountRequest, nextRequest } from './history/next-request.ts';
import { describe, exportLines, pageOfMessages } from './history/views.ts';
import { CONFIRM_AGAIN_MS, GRACE_MS, Maintenance } from './maintenance.ts';
import type { HeldPrefix, Profile, TurnRow } from './storage/rows.ts';
import { RECENT } from './storage/tables.ts';
import { Transcript } from './storage/transcript.ts';
import { EventLog } from './turn/event-log.ts';
import { Turn } from './turn/turn.ts';
import { recallTurn, recoverTurn } from './turn/turn-recovery.ts';
import { type Started, TurnRunner } from './turn/turn-runner.ts';
import {
  bufferedAnswer,
  conflict,
  crossing,
  died,
  ended,
  idTaken,
  inTransit,
  interruptedCall,
  keptHeaders,
  noMessage,
  otherBody,
  pack,
  receivedText,
  unknownConversation,
  wireError,
} from './turn-answer.ts';

/** A turn's request whose body has come. */
type ReadRequest = TurnRequest & { body: string };

/** An object that died in the middle of a turn is looked after so often. */
const WATCH_MS = 30_000;
const STOP_MS = 10_000;

/**
 * One conversation: its history, and the turn that runs.
 *
 * A turn is owned here before anything goes up, and goes on when its caller has left. Whether one may begin is decided
 * in one step, without waiting; what dies is closed from its log when the object wakes.
 */
export class Conversation extends DurableObject<Bindings> implements ConversationObject {
  readonly #transcript: Transcript;
  readonly #upkeep: Maintenance;
  #run: TurnRunner | undefined;
  #recovered = false;
  #adopting = false;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#transcript = new Transcript(ctx.storage);
    this.#upkeep = new Maintenance({
      transcript: this.#transcript,
      storage: ctx.storage,
      accounts: env,
      settings: () => this.settings(),
      now: () => this.now(),
      waitUntil: (work) => ctx.waitUntil(work),
      isBusy: () => this.#run !== undefined || this.#adopting,
      erase: () => this.erase(),
    });
    void ctx.blockConcurrencyWhile(async () => {
      this.#upkeep.alarmAt = await ctx.storage.getAlarm();
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
        if (taken) this.#releaseUnless(taken);
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
      const { bytes } = held ? await layHeld(this.#reader(place.account), held, asked) : asked;
      return { ok: true, value: new Blob([bytes]).stream() };
    } catch (thrown) {
      // Who may ask nothing is told nothing about what is here either.
      const refused = await this.#refuseRevoked(identity).catch(toApiError);
      return { ok: false, error: wireError(refused ?? toApiError(thrown)) };
    }
  }

  /** @returns the rest of a turn after an event, and what comes; without one the turn that runs, from its beginning. */
  resume(after: string | undefined): Resumed {
    this.#recover();
    if (after === undefined) {
      if (!this.#present()) return { kind: 'unknown' };
      const log = this.#run?.turn.log;
      return log ? { kind: 'stream', turn: log.id, body: log.follow(0) } : { kind: 'none' };
    }
    const [, id, number] = /^([\w-]{1,64})-(\d{1,15})$/.exec(after) ?? [];
    if (id === undefined) {
      const error = invalidRequest(
        'Last-Event-ID: not an id of an event of this edge. Send the last one that you got.',
      );
      return { kind: 'error', error: wireError(error) };
    }
    const event = Number(number);
    if (this.#run?.turn.row.id === id) return { kind: 'stream', turn: id, body: this.#run.turn.log.follow(event) };
    const row = this.#transcript.turns('id = ?', id).at(-1);
    // A first turn that failed can still be heard, though it has left no conversation.
    if (!row && !this.#present()) return { kind: 'unknown' };
    const log = row && this.#logOf(row);
    if (!row || !log) return row && event === row.events ? { kind: 'none' } : { kind: 'gone' };
    if (event === row.events) return { kind: 'none' };
    // Beyond the log, which a crash has shortened, there is still the end.
    return { kind: 'stream', turn: id, body: log.follow(Math.min(event, row.events - 1)) };
  }

  /**
   * Ends the turn that runs and keeps what was said; where none runs, nothing changes.
   *
   * @param only the turn that is meant, by its id or by the key that it was begun with: another one goes on
   */
  async stop(only: StopQuery = {}): Promise<Result<CrossingText>> {
    this.#recover();
    const run = this.#run;
    const { id, key } = run?.turn.row ?? {};
    if (run && (only.turn ?? id) === id && (only.key ?? key) === key) {
      run.stop();
      await within(run.done, STOP_MS);
    }
    return this.read();
  }

  /** @returns the conversation by itself. */
  read(): Result<CrossingText> {
    this.#recover();
    const profile = this.#present();
    if (!profile) return unknownConversation();
    return { ok: true, value: crossing(describe(profile, this.#transcript, this.#run?.turn.row.id)) };
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
      if (prefix) this.#releaseUnless(prefix);
      return idTaken(place.id);
    }
    const now = this.now();
    const transcript = this.#transcript;
    this.#start({ ...this.#begun(place, now), exists: true, unreported: true, prefix: heldOf(prefix) });
    transcript.together(() => {
      transcript.freeze('system', system);
      transcript.freeze('tools', tools);
      const { model, maxTokens } = prefix ?? {};
      this.#upkeep.change({
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
    this.#upkeep.change(changesOf(patch));
    return this.read();
  }

  /** Goes back to before the turn, or the imported message, that an id names. */
  rewind(before: string): Result<CrossingText> {
    this.#recover();
    const profile = this.#present();
    if (!profile) return unknownConversation();
    if (this.#run) return { ok: false, error: wireError(conflict(profile.id, this.#run.turn.row.id)) };
    const change = rewindTo(this.#transcript, before);
    if (!change) return noMessage(before);
    this.#upkeep.change(change);
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
      this.#start(this.#begun(place, this.now()));
      // If this dies here, the alarm clears what has been written.
      this.#upkeep.wakeFor(this.now() + GRACE_MS);
      const whole = await adopt(transcript, lines);
      if (whole?.prefix) {
        held = await holdPrefix(this.#reader(place.account), whole.prefix, place.id);
        whole.prefix = held;
      }
      if (!whole || transcript.profile?.deleted)
        throw new ApiError('api_error', 'The conversation could not be copied whole. Try again.');
      this.#upkeep.change({ ...whole, exists: true });
      return this.read();
    } catch (thrown) {
      transcript.empty();
      if (held) this.#release(held);
      this.#upkeep.wakeFor(this.now());
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
    const existed = profile.exists || this.#run !== undefined;
    if (this.#run) {
      this.#run.stop();
      // It ends and this goes on in one: no other turn begins in between.
      await within(this.#run.done, STOP_MS);
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
    this.#upkeep.wakeFor(this.now() + CONFIRM_AGAIN_MS);
    await this.#upkeep.clear();
    return existed;
  }

  /** Watches over the turn that runs, repeats what was not confirmed, and lets go of what has had its time. */
  override async alarm(): Promise<void> {
    this.#upkeep.alarmAt = null;
    const now = this.now();
    // Neither how long to keep it nor whom to settle with is known then.
    if (retentionOf(() => this.settings()) === undefined) return this.#upkeep.wakeFor(now + UNREADABLE_MS);
    this.#recover();
    const { profile } = this.#transcript;
    if (!profile) return;
    if (this.#run) {
      this.#upkeep.wakeFor(now + WATCH_MS);
      // Asked again at the next look, well before the hold's deadline.
      await within(this.#run.renew(), STOP_MS).catch(() => {});
      return;
    }
    if (this.#adopting) return this.#upkeep.wakeFor(now + GRACE_MS);
    if (profile.exists && this.#upkeep.isOver(profile, now)) {
      await this.erase();
      return;
    }
    this.#upkeep.letGo(now);
    await this.#upkeep.settlePending();
    if (!this.#run && !this.#transcript.profile?.exists) await this.#upkeep.clear();
    else this.#upkeep.wakeNext();
  }

  async #turn(request: ReadRequest, prefix: TakenPrefix | undefined): Promise<TurnAnswer> {
    this.#recover();
    if (this.#repeated(request) || this.#run || this.#isInTransit) {
      await this.#refuseRevoked(request.identity);
      // What stood in the way may be gone by now: a turn may have ended, or failed and be none.
      const repeated = this.#repeated(request);
      if (repeated && repeated.hash !== request.hash) throw otherBody();
      if (repeated) return await this.#attach(repeated, request);
      if (this.#run) throw conflict(request.place.id, this.#run.turn.row.id);
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
      await this.#refuseRevoked(request.identity);
      throw thrown;
    }
    const run = this.#begin(request, planned, prefix);
    // A long prompt must not lie in memory as long as the answer takes.
    request.body = '';
    planned.messages = [];
    this.ctx.waitUntil(run.go(planned));
    return await this.#answer(run, request.stream);
  }

  /** Takes the lock: from here on no other turn begins. */
  #begin(request: TurnRequest, planned: NextRequest, taken: TakenPrefix | undefined): TurnRunner {
    const { place, requestId } = request;
    // A deployment that has no upstream must find out before there is a turn.
    const upstream = this.upstream();
    const now = this.now();
    const transcript = this.#transcript;
    const isNew = !transcript.profile?.exists;
    const prefix = isNew ? heldOf(taken) : (transcript.profile?.prefix ?? null);
    if (isNew) this.#start(this.#begun(place, now));
    const profile = transcript.profile;
    if (!profile) throw new TypeError('A conversation without a profile.');
    const row = this.#newTurn(request, planned, now);
    if (isNew) {
      transcript.together(() => {
        const { model, maxTokens, system, tools } = planned.defaults;
        if (system !== undefined) transcript.freeze('system', system);
        if (tools !== undefined) transcript.freeze('tools', tools);
        transcript.save({ ...profile, model, maxTokens, prefix });
      });
    } else if (planned.sentFrom !== profile.sentFrom) transcript.save({ ...profile, sentFrom: planned.sentFrom });
    const messages = planned.messages.map(({ role, text }, index) => {
      const id = `msg_${row.id}_${index + 1}`;
      return { seq: profile.nextMessage + index, turn: row.seq, id, role, createdAt: now, text };
    });
    transcript.beginTurn(row, messages);
    const known = transcript.recollection;
    if (known) transcript.recollect({ ...known, fresh: { turn: row.seq, messages: planned.messages } });
    this.#upkeep.wakeFor(now + WATCH_MS);
    const turn = new Turn(transcript, row, planned.maxTokens, { asked: planned.messages.length });
    const run = new TurnRunner(turn, {
      requestId,
      identity: request.identity,
      accounts: this.env,
      store: this.env.STORE,
      waitUntil: (work) => this.ctx.waitUntil(work),
      conversation: place.id,
      adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
      prefix: prefix
        ? { ref: refOf(prefix), lay: (body) => layHeld(this.#reader(place.account), prefix, body) }
        : undefined,
      settings: this.settings(),
      upstream,
      transcript,
      headers: request.headers,
      query: request.query,
      now: () => this.now(),
      onEnd: (settled) => {
        this.#run = undefined;
        if (settled !== undefined) this.ctx.waitUntil(this.#upkeep.confirm(row, settled));
        else this.#upkeep.forgetFailed(row);
      },
      // What was written since the last wait is lost with the object.
      onBroken: (thrown) => this.ctx.abort(thrown instanceof Error ? thrown.message : 'a turn could not be ended'),
    });
    this.#run = run;
    return run;
  }

  #newTurn(request: TurnRequest, planned: NextRequest, now: number): TurnRow {
    return {
      seq: Math.max(this.#transcript.profile?.nextTurn ?? 1, this.#transcript.newestTurn + 1),
      id: `turn_${request.requestId.slice(-12)}`,
      requestId: request.requestId,
      key: request.key ?? null,
      hash: request.hash,
      status: 'running',
      route: request.route,
      model: planned.model,
      beganAt: now,
      endedAt: null,
      grant: null,
      sentAt: null,
      coversUntil: null,
      outcome: null,
      settled: false,
      cost: 0,
      tokens: null,
      frame: planned.frame,
      sentFrom: planned.sentFrom,
      follows: planned.follows,
      events: 0,
    };
  }

  async #answer(run: TurnRunner, stream: boolean): Promise<TurnAnswer> {
    const { row, log } = run.turn;
    const started: Started = await run.started;
    if (started.kind === 'error') return { kind: 'error', error: wireError(started.error) };
    if (started.kind === 'refused') return { ...started, kind: 'whole', turn: row.id };
    if (stream) {
      const events = log.whole;
      const trailer = run.turn.ended?.trailer;
      if (events !== undefined && trailer) return { ...started, kind: 'ended', turn: row.id, events, trailer };
      const { text, after } = log.opening;
      return { ...started, turn: row.id, first: text, body: log.follow(after) };
    }
    await run.done;
    return bufferedAnswer(run.turn, started.headers);
  }

  async #attach(row: TurnRow, request: TurnRequest): Promise<TurnAnswer> {
    if (this.#run?.turn.row.seq === row.seq) return await this.#answer(this.#run, request.stream);
    const [stored] = this.#transcript.turns('seq = ?', row.seq);
    const log = stored && this.#logOf(stored);
    if (!stored || stored.status === 'failed' || !log) throw ended(this.#transcript.profile?.id ?? '', row.id);
    const headers = keptHeaders(stored);
    if (request.stream) return { kind: 'stream', turn: row.id, headers, body: log.follow(0) };
    return bufferedAnswer(recallTurn(this.#transcript, stored), headers);
  }

  /** The turn that the same request began before, running or ended not long ago. */
  #repeated({ key, retried, hash, again, requestId }: TurnRequest): TurnRow | undefined {
    const transcript = this.#transcript;
    if (again) {
      const begun = transcript.turns("request_id = ? and status != 'failed'", requestId).at(-1);
      if (begun) return begun;
      throw interruptedCall();
    }
    if (key !== undefined) return transcript.turns("key = ? and status != 'failed'", key).at(-1);
    if (!retried) return undefined;
    const [latest] = transcript.turns('seq = (select max(seq) from turns)');
    if (!latest || latest.status === 'failed' || latest.hash !== hash) return undefined;
    return latest.endedAt === null || latest.endedAt > this.now() - GRACE_MS ? latest : undefined;
  }

  /** @returns what can be read of an ended turn's log, while it is kept. */
  #logOf(row: TurnRow): EventLog | undefined {
    const [kept] = this.#transcript.read('select count(*) as rows from log where turn = ?', row.seq);
    const rows = Number(kept?.rows ?? 0);
    if (rows === 0 || row.outcome === null) return undefined;
    const trailer: TurnSummary = { outcome: row.outcome, nanodollars: row.cost };
    return new EventLog(this.#transcript, row, { events: row.events, rows }, JSON.stringify(trailer));
  }

  #reader(account: string): PrefixReader {
    return { account, accounts: this.env, store: this.env.STORE, settings: this.settings() };
  }

  async #take({ account, id }: ConversationPlace, ref: string): Promise<TakenPrefix> {
    return await takePrefix(this.#reader(account), ref, id);
  }

  /** Lets a prefix go that was taken for a conversation which did not come to be, or was there before. */
  #releaseUnless(taken: TakenPrefix): void {
    const { profile } = this.#transcript;
    if (profile?.prefix?.holder !== taken.holder) this.#release(taken);
  }

  /** A hold that cannot be told to be over keeps a version readable, and nothing else: it is enough that the log says it. */
  #release(held: HeldPrefix): void {
    const releasing = releasePrefix({ accounts: this.env, settings: this.settings() }, held);
    this.ctx.waitUntil(releasing.catch((thrown: unknown) => logFailure({ prefix_not_released: held.holder }, thrown)));
  }

  async #refuseRevoked(identity: Identity): Promise<void> {
    const { token } = identity;
    if (!token) return;
    const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
    const request = { identity, accounts: this.env, settings: this.settings() };
    if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
  }

  /** Closes turns that an object has left behind when it died: once, before anything else is done. */
  #recover(): void {
    if (this.#recovered) return;
    this.#recovered = true;
    const open = this.#transcript.turns(`settled = 0 and ${RECENT}`);
    for (const row of open) {
      if (row.status !== 'running') continue;
      const turn = recoverTurn(this.#transcript, row);
      const meter = this.#upkeep.meterOf(turn.row);
      let settled: ReturnType<Turn['end']>;
      this.#transcript.together(() => {
        settled = turn.end({ kind: 'cut', error: died(), end: 'cut' }, meter, this.now());
      });
      if (settled !== undefined) this.ctx.waitUntil(this.#upkeep.confirm(turn.row, settled));
    }
    const { profile } = this.#transcript;
    // A copy that died in its middle must not be what a first turn goes on with.
    if (profile && !profile.exists && !profile.deleted) this.#transcript.dropUnborn();
    if (open.length === 0 && !profile?.unreported) return;
    this.#upkeep.wakeFor(this.now() + CONFIRM_AGAIN_MS);
    this.ctx.waitUntil(this.#upkeep.settlePending());
  }

  /** A conversation is there from its first turn on, while that runs. */
  #present(): Profile | undefined {
    const { profile } = this.#transcript;
    return profile?.exists || this.#run ? profile : undefined;
  }

  get #isInTransit(): boolean {
    return this.#adopting || this.#transcript.profile?.deleted === true;
  }

  #isFree(): boolean {
    return !this.#transcript.profile?.exists && !this.#run && !this.#isInTransit;
  }

  /** Makes the profile of what comes to be here, and takes out what a turn or a copy that came to nothing has left. */
  #start(profile: Profile): void {
    const transcript = this.#transcript;
    const { prefix, nextTurn = 1 } = transcript.profile ?? {};
    if (prefix) this.#release(prefix);
    transcript.create(profile);
    // Who still listens to a turn that failed must not hear another one that has its number.
    const next = Math.max(nextTurn, transcript.newestTurn + 1);
    transcript.empty();
    if (next > profile.nextTurn) transcript.save({ ...profile, nextTurn: next });
  }

  #begun(place: ConversationPlace, now: number): Profile {
    return newProfile(place, now, Math.max((this.#transcript.profile?.version ?? 0) + 1, now));
  }
}

function heldOf(taken: TakenPrefix | undefined): HeldPrefix | null {
  if (!taken) return null;
  const { owner, name, hash, holder } = taken;
  return { owner, name, hash, holder };
}

function changesOf(fields: ConversationPatch & { model?: string | undefined }): Partial<Profile> {
  const change: Partial<Profile> = {};
  if (fields.title !== undefined) change.title = fields.title;
  if (fields.metadata !== undefined) change.metadata = fields.metadata;
  if (fields.model !== undefined) change.model = fields.model;
  if (fields.max_tokens !== undefined) change.maxTokens = fields.max_tokens;
  if (fields.retention_seconds !== undefined) change.retentionSeconds = fields.retention_seconds;
  if (fields.history !== undefined) {
    change.history = fields.history;
    // Another limit: what was left out may have room again.
    change.sentFrom = 0;
  }
  return change;
}
