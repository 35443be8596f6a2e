/** Takes a turn upstream: admitted, sent, read, stored and shown, until it ends in one way or another. */

import {
  type Admission,
  admission,
  type MeterRequest,
  type RequestMeter,
  requestMeterOf,
} from '../../accounts/admission/admission.ts';
import { payments } from '../../accounts/admission/payments.ts';
import type { StoredGrant } from '../../accounts/admission/settle.ts';
import type { Settled } from '../../durable/contracts/settlement.ts';
import { ApiError, DO_NOT_RETRY, toApiError } from '../../http/errors.ts';
import { type JsonBody, RELEASED } from '../../http/json-body.ts';
import type { Sendable } from '../../http/long-body.ts';
import { isObject, parseObject } from '../../json/object.ts';
import { retiresSoon } from '../../pricing/models.ts';
import type { Settings } from '../../settings/settings.ts';
import { bufferedResponse, isBeginning, readBuffered } from '../../upstream/buffered.ts';
import { isEventStream, refuseEncoding } from '../../upstream/content-type.ts';
import { endOf, interrupted, timedOut } from '../../upstream/failure.ts';
import { headersDown, type PlainHeaders } from '../../upstream/headers.ts';
import { bodyUp } from '../../upstream/request/body-up.ts';
import { RequestBody } from '../../upstream/request/request-body.ts';
import { mayHaveRun, send } from '../../upstream/send.ts';
import { drain, drive, keepBuffer, type Piece, readTee, takeBuffer } from '../../upstream/tee-reader.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import { reportOf } from '../../upstream/usage/usage-report.ts';
import type { NextRequest } from '../history/next-request.ts';
import type { Transcript } from '../storage/transcript.ts';
import { eventsOf } from './message-events.ts';
import { Publisher } from './publisher.ts';
import type { Turn } from './turn.ts';
import type { TurnEnd } from './turn-ending.ts';
import { unansweredOutcome } from './turn-report.ts';

/** What a run needs of the request that began it, and of the object that it runs in. */
export interface TurnContext extends Pick<MeterRequest, 'requestId' | 'identity' | 'accounts' | 'store' | 'waitUntil'> {
  conversation: string;
  /** Bytes of what is asked. */
  adds: number;
  /** Lays the conversation's prefix under a turn. */
  prefix?: { ref: string; lay(body: JsonBody): Promise<JsonBody> } | undefined;
  settings: Settings;
  upstream: Upstream;
  transcript: Transcript;
  /** The caller's headers and query: they go up. */
  headers: PlainHeaders;
  query: string;
  now(): number;
  /** Told once: what confirms the settlement, if there is one to confirm. */
  onEnd(settled: Promise<Settled> | undefined): void;
  /** The end could not be stored: only an object that wakes anew can still close the turn from its log. */
  onBroken(thrown: unknown): void;
}

/** What is known once the upstream has answered. */
export type Started =
  | { kind: 'stream'; headers: Record<string, string> }
  | { kind: 'refused'; status: number; headers: Record<string, string>; body: string }
  | { kind: 'error'; error: ApiError };

/** An account that does not answer must not keep a conversation locked. */
const ADMIT_MS = 45_000;
/** Between two looks at what has come, once something has been said. */
const SHOW_MS = 16;
const PING_MS = 15_000;
/** An answer that takes longer has what settles it stored by itself. */
const GRANT_MS = 20;
const RENEW_MS = 180_000;
/** A stream that has come to its last event is given so long to end. */
const DRAIN_MS = 5_000;
/** Response headers of the upstream that say something about the connection to it, not about the answer. */
const NOT_KEPT = ['date', 'content-type', 'cache-control', 'vary', 'server', 'via'];

/** What is settled at the account's own figure: the hold, where it has one. */
export const UNKNOWN_GRANT: StoredGrant = { hold: Number.NaN, lowered: undefined };

export class TurnRunner {
  readonly turn: Turn;
  /** Settles when the upstream has answered, or will not. Never rejects. */
  readonly started: Promise<Started>;
  /** Settles when the turn has ended. Never rejects. */
  readonly done: Promise<void>;
  readonly #context: TurnContext;
  readonly #showing: Publisher;
  readonly #controller = new AbortController();
  #resolve: (started: Started) => void = () => {};
  #finished: () => void = () => {};
  /** Has the caller be told of an answer whose headers have come; once is enough. */
  #begin: () => void = () => {};
  #meter: Pick<RequestMeter, 'settle' | 'renew'> | undefined;
  #renewedAt: number;
  #stopping = false;
  #ended = false;
  #tickTimer: ReturnType<typeof setTimeout> | undefined;
  #grantTimer: ReturnType<typeof setTimeout> | undefined;
  /** What is waited for has so long to come, from then on; or the turn is given up for that reason. */
  #wait: { ms: number; since: number; reason: () => ApiError };
  /** Of the upstream's stream, and of its copy. */
  #readers: readonly ReadableStreamBYOBReader[] = [];
  #givenUp: ApiError | undefined;
  /** The turn has ended, and its stream is about to. */
  #draining = false;
  readonly #aborted: Promise<never>;
  #rejectAborted: (reason: unknown) => void = () => {};

  constructor(turn: Turn, context: TurnContext) {
    this.turn = turn;
    this.#context = context;
    this.#renewedAt = context.now();
    this.#showing = new Publisher(turn, context.now);
    this.#wait = { ms: ADMIT_MS, since: this.#showing.at, reason: unanswered };
    this.#aborted = new Promise((_, reject) => {
      this.#rejectAborted = reject;
    });
    this.#aborted.catch(() => {});
    this.started = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.done = new Promise((resolve) => {
      this.#finished = resolve;
    });
  }

  /** Runs the turn to its end. Never rejects. */
  async go(plan: NextRequest): Promise<void> {
    const { STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS } = this.#context.settings;
    this.#tickIn(Math.min(PING_MS, STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS));
    try {
      await this.#go(plan);
    } catch (thrown) {
      const error = toApiError(thrown);
      this.#resolve({ kind: 'error', error });
      this.#end(this.#stopping ? { kind: 'stopped' } : { kind: 'cut', error, end: cutOr(error) });
    } finally {
      // A timer that is left to run out costs the isolate a turn of its own.
      if (!this.#draining) clearTimeout(this.#tickTimer);
      this.#finished();
    }
  }

  /** Ends the turn and keeps what was said. */
  stop(): void {
    this.#stopping = true;
    this.#abort(stopped());
  }

  /** Keeps the hold while the turn runs. */
  async renew(): Promise<void> {
    const now = this.#context.now();
    if (!this.#meter || now - this.#renewedAt < RENEW_MS) return;
    this.#renewedAt = now;
    await this.#meter.renew('streaming');
  }

  async #go(plan: NextRequest): Promise<void> {
    const { settings, upstream, headers, query, prefix } = this.#context;
    if (prefix) plan.body = await this.#orAborted(prefix.lay(plan.body));
    const granted = await this.#admit(plan);
    const bodyOf = ({ maxTokens }: Pick<RequestMeter, 'maxTokens'>) =>
      maxTokens === undefined ? bodyUp(plan.body, {}) : lowered(plan.body, maxTokens);
    const paid = payments(granted, bodyOf, (again) => this.#take(again));
    const body = bodyOf(granted);
    // The edge has taken out what does not go up, but for this.
    if (!upstream.simulated) delete headers['sluice-simulate'];
    headers['x-api-key'] = upstream.apiKey;
    this.#expect(settings.UPSTREAM_TIMEOUT_MS, timedOut);
    const { course } = this.turn;
    const payment = paid.payment(() => unansweredOutcome(this.turn.course.sentAt, this.#context.now()));
    const answering = send(
      upstream,
      { method: 'POST', path: `/v1/messages${query}`, headers, body },
      {
        maxRetries: settings.UPSTREAM_MAX_RETRIES,
        timeoutMs: settings.UPSTREAM_TIMEOUT_MS,
        controller: this.#controller,
        isWatched: true,
        caller: headers,
        course,
        payment,
      },
    );
    // It has gone up: what this turn costs, if the object dies now, is written without holding it up.
    this.#take(granted);
    const response = await this.#orAborted(answering);
    plan.body = RELEASED;
    granted.release();
    this.turn.begin(this.#context.now());
    this.turn.status = response.status;
    this.turn.upstreamRequestId = response.headers.get('request-id') ?? undefined;
    refuseEncoding(response);
    if (!response.ok || !response.body || !isEventStream(response)) {
      await this.#readWhole(response, granted.headers);
      return;
    }
    const retires = retiresSoon(settings.models.find(plan.model));
    const notice = retires === undefined ? {} : { 'sluice-model-retires': retires };
    const kept = headersKept(response.headers);
    const started: Started = { kind: 'stream', headers: { ...kept, ...notice, ...granted.headers } };
    this.#begin = () => this.#resolve(started);
    const how = await this.#read(response.body);
    this.#end(how);
    this.#begin();
  }

  /** A try has been admitted: what settles it is stored. */
  #take(admission: Admission): void {
    if (this.#ended) {
      // The turn was stopped while this try was admitted, and it never goes up.
      const { done } = admission.settle(unansweredOutcome(this.turn.course.sentAt, this.#context.now()));
      this.#context.waitUntil(done);
      return;
    }
    this.#meter = admission;
    this.turn.grant(admission, this.#context.now());
    // An answer that is there at once stores it with its end, and needs no row of its own for it.
    this.#grantTimer ??= setTimeout(() => {
      this.#grantTimer = undefined;
      this.turn.storeGrant();
    }, GRANT_MS);
  }

  async #admit(plan: NextRequest): Promise<Admission> {
    const { requestId, identity, accounts, store, settings, upstream, headers, waitUntil, conversation } =
      this.#context;
    const request: MeterRequest = {
      requestId,
      route: this.turn.row.route,
      identity,
      accounts,
      store,
      settings,
      upstream,
      body: plan.body,
      model: plan.model,
      headers,
      conversation,
      prefix: this.#context.prefix?.ref,
      count: plan.count,
      streams: true,
      adds: this.#context.adds,
      waitUntil,
    };
    // Until the account has refused, it may have set something aside.
    this.#meter = requestMeterOf(request, UNKNOWN_GRANT);
    this.#expect(ADMIT_MS, unanswered);
    try {
      const granted = await this.#orAborted(admission(request));
      this.#meter = granted;
      return granted;
    } catch (thrown) {
      if (thrown instanceof ApiError && thrown.status < 500) this.#meter = undefined;
      throw thrown;
    }
  }

  /** An answer that is no stream: the upstream's own refusal is the caller's to read, word for word. */
  async #readWhole(response: Response, standing: Record<string, string>): Promise<void> {
    // It is watched there.
    this.#expect(Number.POSITIVE_INFINITY, timedOut);
    const { course } = this.turn;
    if (!response.ok && !mayHaveRun(response, { isApiError: false, elapsedMs: course.elapsedMs ?? 0 }))
      course.sentAt = undefined;
    const body = await readBuffered(response, this.#context.settings.STREAM_IDLE_MS, this.#controller);
    const json = parseObject(body);
    const report = reportOf(json, body.length);
    if (response.ok && report.completed) {
      this.#takeWhole(json, response, standing);
      return;
    }
    if (response.ok && isBeginning(body)) throw interrupted(false);
    const known = report.error_type !== undefined;
    // What is no answer of the API has not been worked on by it.
    if (response.ok || !mayHaveRun(response, { isApiError: known, elapsedMs: course.elapsedMs ?? 0 }))
      course.sentAt = undefined;
    const told = { type: report.error_type ?? 'api_error', logged: report.error_type ?? `upstream_${response.status}` };
    const how = (message: string): TurnEnd => ({
      kind: 'cut',
      error: { ...told, type: told.type as ApiError['type'], message },
      end: 'error',
    });
    try {
      const answer = bufferedResponse(response, body, {
        isReadable: known,
        expected: 'message',
        errorType: report.error_type,
        requestId: this.#context.requestId,
      });
      const text = await answer.text();
      const headers = { ...Object.fromEntries(answer.headers), ...standing };
      this.#resolve({ kind: 'refused', status: answer.status, headers, body: text });
      this.#end(how('The upstream refused this turn: it has not become part of the conversation.'));
    } catch (thrown) {
      const error = toApiError(thrown);
      this.#resolve({ kind: 'error', error });
      this.#end({ kind: 'cut', error, end: 'error' });
    }
  }

  /** What is before the API may answer with a message where a stream was asked for: it is a turn like any other. */
  #takeWhole(json: object | undefined, response: Response, standing: Record<string, string>): void {
    if (!isObject(json) || json.type !== 'message') throw interrupted(false);
    this.turn.firstByteAt = this.#context.now();
    const { how } = this.turn.take(new TextEncoder().encode(eventsOf(json)), this.#context.now());
    this.#end(how ?? { kind: 'cut', error: interrupted(false), end: 'cut' });
    this.#resolve({ kind: 'stream', headers: { ...headersKept(response.headers), ...standing } });
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<TurnEnd> {
    const { turn } = this;
    let how: TurnEnd | undefined;
    /** @returns whether the turn has ended by it */
    const take = (piece: Uint8Array): boolean => {
      // A turn that is given up has its readers cancelled, which ends every wait: to race each read costs as much as it.
      if (this.#givenUp) throw this.#givenUp;
      this.#wait.since = Date.now();
      turn.firstByteAt ??= this.#context.now();
      const taken = turn.take(piece, this.#context.now());
      how = taken.how;
      if (how) return true;
      this.#showing.pass(taken);
      // An answer that is there at once is handed over whole; for another the caller does not wait.
      if (turn.log.events > 0) this.#begin();
      return false;
    };
    this.#expect(this.#context.settings.STREAM_IDLE_MS, () => interrupted(true));
    let coming: Promise<boolean> | undefined;
    try {
      const reader = await this.#readFirst(body, take);
      if (reader && how) coming = drain(reader);
      else if (reader) {
        // From here on what has come is looked at now and then: each read costs much more than a few milliseconds' wait.
        reader.releaseLock();
        const [stream, copy] = body.tee();
        const late = copy.getReader({ mode: 'byob' });
        const driven = drive(stream);
        this.#readers = [driven.reader, late];
        coming = driven.whole;
        await readTee(late, coming, SHOW_MS, take);
        late.cancel().catch(() => {});
      }
      if (this.#givenUp) throw this.#givenUp;
      how ??= turn.takeRest() ?? { kind: 'cut', error: interrupted(false), end: 'cut' };
    } catch (thrown) {
      const reason = this.#givenUp ?? thrown;
      const end = cutOr(reason);
      how = this.#stopping ? { kind: 'stopped' } : { kind: 'cut', error: interrupted(end === 'silent', reason), end };
    }
    if (coming !== undefined && how.kind === 'complete') {
      this.#draining = true;
      this.#context.waitUntil(this.#drain(coming));
    }
    // Nobody listens any more, and nothing more is to be paid.
    else this.#abort(stopped());
    return how;
  }

  /**
   * Reads what comes until something has been said: it is shown as it comes.
   *
   * @returns the reader, unless nothing more can come
   */
  async #readFirst(
    body: ReadableStream<Uint8Array>,
    take: (piece: Uint8Array) => boolean,
  ): Promise<ReadableStreamBYOBReader | undefined> {
    const reader = body.getReader({ mode: 'byob' });
    this.#readers = [reader];
    let buffer = takeBuffer();
    let isLast = false;
    while (!this.#showing.said && !isLast) {
      const { value, done }: Piece = await reader.read(new Uint8Array(buffer));
      if (value) buffer = value.buffer as ArrayBuffer;
      if (done || !value) return undefined;
      isLast = take(value);
    }
    keepBuffer(new Uint8Array(buffer));
    return reader;
  }

  /** Behind the last event the stream ends, and only then its connection can be used again. */
  async #drain(coming: Promise<boolean>): Promise<void> {
    this.#expect(DRAIN_MS, stopped);
    await coming;
    clearTimeout(this.#tickTimer);
  }

  #expect(ms: number, reason: () => ApiError): void {
    this.#wait = { ms, since: Date.now(), reason };
  }

  #tickIn(ms: number): void {
    this.#tickTimer = setTimeout(() => this.#tick(), Math.max(1, ms));
  }

  /** Says in a silence that the turn still runs, and gives up what does not come: one timer for everything. */
  #tick(): void {
    const now = Date.now();
    const { ms, since, reason } = this.#wait;
    if (now - since >= ms) {
      this.#abort(reason());
      return;
    }
    if (now - this.#showing.at >= PING_MS) {
      // Whoever asked waits for the first event no longer than for a ping.
      this.#begin();
      this.#showing.ping();
      this.turn.cover(this.#context.now());
    }
    const { STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS } = this.#context.settings;
    const next = Math.min(since + ms - now, this.#showing.at + PING_MS - now, STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS);
    this.#tickIn(next);
  }

  #end(how: TurnEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#grantTimer !== undefined) clearTimeout(this.#grantTimer);
    this.#showing.end();
    const { onEnd, onBroken, now, requestId } = this.#context;
    try {
      onEnd(this.turn.end(how, this.#meter, now(), requestId));
    } catch (thrown) {
      onBroken(thrown);
    }
  }

  /** What never comes must not be waited for once the turn has been given up. */
  async #orAborted<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#aborted]);
  }

  #abort(reason: ApiError): void {
    this.#givenUp ??= reason;
    this.#controller.abort(reason);
    this.#rejectAborted(reason);
    for (const reader of this.#readers) reader.cancel(reason).catch(() => {});
  }
}

function cutOr(thrown: unknown): 'cut' | 'silent' {
  return endOf(thrown) === 'silent' ? 'silent' : 'cut';
}

function headersKept(headers: Headers): PlainHeaders {
  const kept = headersDown(headers);
  for (const name of NOT_KEPT) delete kept[name];
  return kept;
}

function lowered(body: JsonBody, maxTokens: number): Sendable {
  const changes = { max_tokens: String(maxTokens) };
  return body instanceof RequestBody ? body.with(changes).bytes : bodyUp(body, changes);
}

function stopped(): ApiError {
  return new ApiError('api_error', 'This turn was stopped before anything was said.', {
    headers: DO_NOT_RETRY,
    logged: 'stopped',
  });
}

function unanswered(): ApiError {
  return new ApiError('api_error', 'The account did not answer in time. Try again in a moment.', {
    status: 503,
    headers: { 'retry-after': '1' },
    logged: 'account_unreachable: no answer',
  });
}
