import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import type { ServedRoutePath } from '../edge/answers.ts';
import { isRetryable, parseJsonObject, readErrorEvent, SluiceError, UnreadableError } from './errors.ts';
import { createEventReader, parseEventNumber, type ServerSentEvent } from './events.ts';
import { addDollars, MessageBuilder } from './message.ts';
import { computeBackoffMs, onPageReturn, sleepUntilPageReturn } from './pause.ts';
import { PausedAnswerMerger } from './paused-answer.ts';
import type { MessageRequest } from './requests.ts';
import { SdkStyleStreamReader } from './sdk-reader.ts';
import { createMissingEvents, readStoredAnswer } from './stored-answer.ts';
import { createConnectionError, createIdempotencyKey, encodePathSegment, type Transport } from './transport.ts';

export interface MessageStreamOptions {
  /** Aborting it closes the stream, as `close()` does. */
  signal?: AbortSignal | undefined;
  /** Headers of the request that starts the turn. */
  headers?: Record<string, string> | undefined;
  /** Called when the connection is open, and each time it is lost; `retryAt` is the time of the next attempt. */
  onConnection?: ((state: 'open' | 'lost', retryAt?: Date) => void) | undefined;
  /** `empty`: following a conversation that does not exist yet is no error, and finds no turn. */
  ifAbsent?: 'empty' | undefined;
  /** Follows this turn, also if it has just ended. */
  turn?: string | undefined;
}

/** The start of a stream: a request, or a turn that is already running. */
export interface StreamStart {
  conversation: string | undefined;
  /** The JSON text of the request; without it, the running turn is followed. */
  body?: string;
}

/** A turn's cost arrives after its end. If the connection is lost before that, the client requests the cost this many times. */
const MAX_COST_REQUESTS = 10;
/** A stream that ended properly without the cost counts as so many requests: something on the way may remove it. */
const REQUESTS_WITHOUT_COST = 5;
/** The longest time, in milliseconds, for which the stored answer is looked up before a failure is reported. */
const LAST_LOOK_MS = 5_000;
/** A page that was hidden reconnects if the connection was idle for longer than the edge's own pings allow. */
const MAX_IDLE_MS = 16_000;
/** How long `stop()` waits for the answer to start, before it stops the turn for the first time. */
const STOP_WAIT_MS = 300;
const INTERRUPTED_COMMENT = 'sluice-cut';
/** While the edge answers, the pause between attempts grows no further than after this attempt. */
const MAX_BACKOFF_ATTEMPT = 2;

/**
 * Reads an answer while it arrives: Anthropic's events, each once, even if the connection is lost in between.
 *
 * Events are read as fast as they arrive, even if nobody iterates. It can be iterated more than once. An answer that the API
 * has paused is sent back, at most ten times, and continues in the same message.
 *
 * @example
 * const stream = sluice.messages.stream({ conversation: 'trip', model, max_tokens: 4_096, messages });
 * for await (const text of stream.textDeltas()) show(text);
 * show(stream.costUsd);
 */
export class MessageStream extends SdkStyleStreamReader {
  readonly conversation: string | undefined;
  /** The turn's id, known when the answer has started; only in a conversation. An answer that was paused has a turn for each part. */
  turn: string | undefined;
  /** The headers of the first answer. `sluice-history` is `truncated` where it was sent without its oldest turns. */
  headers: Headers | undefined;
  /** The cost of the answer in US dollars; known at its end, unless it is incomplete. */
  costUsd: number | undefined;
  /**
   * The share of the budget that is used, of 1: of the account's own limits in USD, its credit or its token's limit, whichever is used up
   * most. Known at the end of the answer; undefined if nothing limits it.
   */
  used: number | undefined;
  /** Whether the budget would pay for the same question once more; known as `used` is. */
  fits: boolean | undefined;
  /** Why a run is paused (its next message continues it); undefined if it is not paused, or the reason has not arrived. */
  paused: string | undefined;
  /** Whether `stop()` has ended it, here or in another client. */
  stopped = false;
  /**
   * The numbers of the first and the last event that came here and are in no history, because the edge broke off; undefined if
   * there are none. Show what the history has.
   */
  lost: { first: number; last: number } | undefined;
  readonly #transport: Transport;
  /** The JSON text of the request, or of the one that sends a paused answer back. */
  #body: string | undefined;
  readonly #options: MessageStreamOptions;
  readonly #builder = new MessageBuilder();
  readonly #pausedAnswer = new PausedAnswerMerger();
  readonly #closeController = new AbortController();
  /** The idempotency key of the turn: a request that is sent again attaches to the same turn. */
  #idempotencyKey: string;
  readonly #whenOpened: Promise<boolean>;
  /** Settles when the requested turn has started, or will never start. */
  #whenStarted: Promise<boolean>;
  #isStarted = false;
  #resolveStarted: (isStarted: boolean) => void = () => {};
  #connection: AbortController | undefined;
  /** When the last byte came, in milliseconds since 1970. */
  #lastByteAt = Date.now();
  /** When the connection was lost for the first time since the last event, in milliseconds since 1970. */
  #lostAt: number | undefined;
  #attempts = 0;
  #costRequests = 0;
  /** The cost of this turn, and of those before it as far as all of them are known, in US dollars. */
  #turnCostUsd: number | undefined;
  #earlierCostUsd: number | undefined = 0;
  /** The turn and the number of the last event. */
  #turn: string | undefined;
  #lastEventNumber = 0;
  #isComplete = false;
  #isStopping = false;
  /** The edge's error that the events of the turn are no longer stored. */
  #expiredError: SluiceError | undefined;
  /** The error with which the turn has ended, if it did. */
  #failure: SluiceError | undefined;

  constructor(transport: Transport, begin: StreamStart, options: MessageStreamOptions = {}) {
    super();
    this.#transport = transport;
    this.#body = begin.body;
    this.#options = options;
    this.conversation = begin.conversation;
    this.turn = options.turn;
    this.#idempotencyKey = new Headers(options.headers).get('idempotency-key') ?? createIdempotencyKey();
    this.#whenStarted = this.#restart();
    this.#whenOpened = this.#whenStarted;
    const forgetSignal = this.closeOnAbort(options.signal);
    const forgetReturn = onPageReturn((why) => this.#checkConnection(why));
    void this.#readUntilComplete().then((error) => {
      forgetSignal();
      forgetReturn();
      this.#resolveStarted(false);
      if (error === undefined) for (const event of this.#pausedAnswer.releaseHeldEvents()) this.#emitEvent(event);
      this.feed.endFeed(error);
    });
  }

  override get [Symbol.toStringTag](): string {
    return 'MessageStream';
  }

  /** The message so far; undefined before its first event. */
  get message(): Message | undefined {
    return this.#builder.message;
  }

  /**
   * Waits until the answer starts.
   *
   * @returns false if no answer will come, or it failed; reading then throws the error
   * @example if (await stream.opened()) show(stream.turn);
   */
  opened(): Promise<boolean> {
    return this.#whenOpened;
  }

  protected override lastMessage(): Message {
    const { message } = this.#builder;
    if (!message || !this.#isComplete)
      throw new SluiceError('closed', 'The stream was closed before the response ended.');
    return message;
  }

  /**
   * Stops listening. In a conversation the turn continues, and can be resumed. Otherwise the answer ends here.
   *
   * @example stream.close();
   */
  override close(): void {
    this.#closeController.abort();
  }

  /**
   * Stops the turn. The received part is kept, the events that end the answer still arrive, and `finalMessage()` returns the
   * message so far. Without a conversation it is the same as `close()`.
   *
   * @example await stream.stop();
   */
  async stop(): Promise<void> {
    const { conversation } = this;
    if (conversation === undefined) return this.close();
    this.#isStopping = true;
    if (this.#isComplete || this.#failure) return;
    const sendStopRequest = async () => {
      const path: ServedRoutePath = `/conversations/${encodePathSegment(conversation)}/stop`;
      // Stop only this turn, not a turn started in another window. Prefer the idempotency key, because a turn's id from a
      // header may be incomplete.
      const query = this.#body === undefined ? { turn: this.turn } : { key: this.#idempotencyKey };
      await this.#transport.sendRequest(path, { method: 'POST', query }).catch((thrown: unknown) => {
        // If a first turn is stopped before any content, no conversation is stored and the edge responds with 404.
        if (!(thrown instanceof SluiceError && thrown.status === 404)) throw thrown;
      });
    };
    // Before the answer starts, the request may not have arrived at the edge, which then has nothing to stop. So send the stop
    // again once the answer has started.
    if (!this.#isStarted) {
      const started = this.#whenStarted;
      await Promise.race([started, new Promise((resolve) => setTimeout(resolve, STOP_WAIT_MS))]);
      await sendStopRequest();
      if (!(await started) || this.#isComplete) return;
    }
    await sendStopRequest();
  }

  /** Connects and reads until the end. @returns the error of an incomplete answer */
  async #readUntilComplete(): Promise<unknown> {
    const { signal } = this.#closeController;
    const { beginMs, resumeMs, silenceMs } = this.#transport.timeouts;
    while (!signal.aborted) {
      let error: unknown;
      let wait = 0;
      try {
        const response = await this.#connect();
        if (response) await this.#readResponse(response);
        else {
          const end = await this.#completeFromHistory(undefined, signal);
          if (this.#requestPausedContinuation()) continue;
          return end;
        }
      } catch (thrown) {
        if (signal.aborted) return undefined;
        error = thrown;
        if (!isRetryable(thrown)) {
          if (this.#requestPausedContinuation()) continue;
          if (this.#isComplete || this.#isStopped()) return undefined;
          const end = await this.#completeOrFail(error);
          if (this.#requestPausedContinuation()) continue;
          return end;
        }
        wait = (thrown.retryAfter ?? 0) * 1_000;
      }
      if (this.#isComplete) this.#costRequests += error === undefined ? REQUESTS_WITHOUT_COST : 1;
      if (this.#hasReceivedAll()) {
        if (this.#requestPausedContinuation()) continue;
        return this.#isStopped() ? undefined : this.#failure;
      }
      error ??= new SluiceError(
        'connection_error',
        'The connection ended before the response was complete. Try again.',
        { headers: this.headers },
      );
      if (this.conversation === undefined) return error;
      this.#lostAt ??= Date.now();
      if (Date.now() - this.#lostAt > (this.headers === undefined ? beginMs : resumeMs)) {
        const end = await this.#completeOrFail(error);
        if (this.#requestPausedContinuation()) continue;
        return end;
      }
      const waitMs = computeBackoffMs(this.#isComplete ? 0 : this.#attempts, wait);
      if (!this.#isComplete) this.#options.onConnection?.('lost', new Date(Date.now() + waitMs));
      const pausedAt = Date.now();
      await sleepUntilPageReturn(waitMs, signal);
      // If the device slept during the pause, no connection was tried in that time, so start the time limit again.
      if (Date.now() - pausedAt > waitMs + silenceMs) this.#lostAt = undefined;
      this.#attempts += 1;
      // The turn was stopped before it was known to have begun, so do not send the request again.
      if (this.turn === undefined && this.#isStopped()) return undefined;
    }
    return undefined;
  }

  /** @returns whether everything has been received, including the cost */
  #hasReceivedAll(): boolean {
    if (this.#closeController.signal.aborted || this.#failure) return true;
    if (!this.#isComplete) return false;
    return this.conversation === undefined || this.#turnCostUsd !== undefined || this.#costRequests > MAX_COST_REQUESTS;
  }

  #restart(): Promise<boolean> {
    this.#isStarted = false;
    return new Promise((resolve) => {
      this.#resolveStarted = resolve;
    });
  }

  /** Requests the continuation of a paused answer, unless it was stopped or a run is paused. @returns whether it continues */
  #requestPausedContinuation(): boolean {
    const { contentToContinue: content } = this.#pausedAnswer;
    const isOver = this.#closeController.signal.aborted || this.#isStopping || this.paused !== undefined;
    if (!this.#isComplete || !content || this.#body === undefined || isOver) return false;
    const { messages, ...request } = JSON.parse(this.#body) as MessageRequest;
    const answer = { role: 'assistant' as const, content };
    // A conversation stores its history, so send only the paused answer.
    const sent = this.conversation === undefined ? [...messages, answer] : [answer];
    this.#body = JSON.stringify({ ...request, messages: sent });
    this.#idempotencyKey = `${this.#idempotencyKey}-on`;
    this.#pausedAnswer.beginNextPart();
    this.#whenStarted = this.#restart();
    this.#earlierCostUsd = this.costUsd;
    this.costUsd = undefined;
    this.turn = undefined;
    this.#turnCostUsd = undefined;
    this.#turn = undefined;
    this.#lastEventNumber = 0;
    this.#isComplete = false;
    this.#attempts = 0;
    this.#costRequests = 0;
    return true;
  }

  /** @returns whether it was stopped. A turn that is stopped before any content has no answer, and that is no error. */
  #isStopped(): boolean {
    this.stopped ||= this.#isStopping && !this.#isComplete && this.#pausedAnswer.isEmpty;
    return this.stopped;
  }

  /**
   * Looks at the stored answer once before a failure is reported: the edge may have completed the turn in the meantime.
   *
   * @returns the failure if there is no stored answer, or it cannot be read in time
   */
  async #completeOrFail(failure: unknown): Promise<unknown> {
    // Without streams, no response can be read, and this one has only begun.
    if (failure instanceof UnreadableError) return failure;
    const { signal } = this.#closeController;
    const look = new AbortController();
    const abortLook = () => look.abort();
    const timer = setTimeout(abortLook, LAST_LOOK_MS);
    signal.addEventListener('abort', abortLook, { once: true });
    try {
      return await this.#completeFromHistory(failure, look.signal);
    } catch {
      // The failure that led here explains more than that of this request.
      return failure;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abortLook);
    }
  }

  /**
   * Completes the answer from the stored conversation, because its events are no longer stored or cannot be received.
   *
   * @param connectionFailure why they cannot be received; undefined if the edge has no more of them
   * @param signal aborts the request for the history
   * @returns the error of an incomplete answer
   * @throws SluiceError if the history cannot be read
   */
  async #completeFromHistory(connectionFailure: unknown, signal: AbortSignal): Promise<unknown> {
    const { conversation, turn } = this;
    if (conversation === undefined || turn === undefined || this.#isComplete || this.#isStopped())
      return connectionFailure;
    const stored = await readStoredAnswer(this.#transport, conversation, turn, signal);
    if (this.#closeController.signal.aborted) return undefined;
    // The edge has no record of this turn, so return the reason why the connection failed.
    if (!stored) return connectionFailure ?? (this.#isStarted ? createNotStoredError() : this.#expiredError);
    this.#isStarted = true;
    this.#resolveStarted(true);
    if (stored.status === 'interrupted') return createNotStoredError();
    this.stopped ||= stored.status === 'stopped';
    this.paused = stored.paused ?? this.paused;
    for (const event of createMissingEvents(stored, this.#pausedAnswer.currentPart))
      for (const shown of this.#pausedAnswer.applyEvent(event)) this.#emitEvent(shown);
    this.#isComplete = true;
    if (stored.cost_usd !== null) this.#addCost(stored.cost_usd);
    return undefined;
  }

  /** Connects. @returns undefined if the edge has no more events of the turn */
  async #connect(): Promise<Response | undefined> {
    const connection = new AbortController();
    this.#connection = connection;
    const abortConnection = () => connection.abort();
    this.#closeController.signal.addEventListener('abort', abortConnection, { once: true });
    if (this.#closeController.signal.aborted) abortConnection();
    const { conversation } = this;
    const body = this.#body;
    const { signal } = connection;
    const sendRequest = () => {
      // A turn's id from a header may be incomplete. Send the request again, with its idempotency key, until an event has
      // confirmed the id.
      if (this.#turn === undefined && body !== undefined && !(this.#isStopping && this.turn !== undefined)) {
        const headers = Object.fromEntries(new Headers(this.#options.headers));
        if (conversation !== undefined || 'idempotency-key' in headers)
          headers['idempotency-key'] = this.#idempotencyKey;
        if (conversation === undefined) headers['sluice-stream-cost'] = 'true';
        return this.#transport.sendRequest('/messages' satisfies ServedRoutePath, {
          method: 'POST',
          body,
          headers,
          signal,
        });
      }
      // After the last event nothing follows, and only the stream's last comment reports the cost. Request the last event again
      // to receive that comment.
      const last = this.#isComplete ? this.#lastEventNumber - 1 : this.#lastEventNumber;
      const headers: Record<string, string> =
        this.turn === undefined ? {} : { 'last-event-id': `${this.turn}-${last}` };
      const path: ServedRoutePath = `/conversations/${encodePathSegment(conversation ?? '')}/stream`;
      return this.#transport.sendRequest(path, {
        headers,
        query: { if_absent: this.#options.ifAbsent },
        signal,
      });
    };
    // Without a conversation, use no idle timeout: the upstream may be slow, and a second request would be billed again.
    let response: Response;
    try {
      response = conversation === undefined ? await sendRequest() : await this.#withIdleTimeout(sendRequest());
    } catch (thrown) {
      if (!isEventsExpired(thrown)) throw thrown;
      this.#expiredError = thrown;
      this.turn ??= thrown.headers?.get('sluice-turn') ?? undefined;
      return undefined;
    }
    if (response.status === 204) return undefined;
    this.headers ??= response.headers;
    this.turn ??= response.headers.get('sluice-turn') ?? undefined;
    this.#isStarted = true;
    this.#resolveStarted(true);
    this.#attempts = Math.min(this.#attempts, MAX_BACKOFF_ATTEMPT);
    this.#options.onConnection?.('open');
    return response;
  }

  async #readResponse(response: Response): Promise<void> {
    const read = createEventReader(
      (event) => this.#handleEvent(event),
      (comment) => this.#handleComment(comment),
    );
    const reader = response.body?.getReader();
    if (!reader) throw new UnreadableError(response.headers);
    try {
      for (;;) {
        const { value, done } = await this.#withIdleTimeout(reader.read());
        if (done) return;
        this.#lastByteAt = Date.now();
        read(value);
      }
    } catch (thrown) {
      throw thrown instanceof SluiceError ? thrown : createConnectionError(thrown, this.#closeController.signal);
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** Waits for work. @throws SluiceError if nothing comes for too long, or the connection is aborted meanwhile */
  async #withIdleTimeout<T>(work: Promise<T>): Promise<T> {
    const connection = this.#connection;
    const { silenceMs } = this.#transport.timeouts;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let endTimeout = () => {};
    const idle = new Promise<never>((_, reject) => {
      endTimeout = () => reject(createConnectionError(new Error('given up')));
      timer = setTimeout(endTimeout, silenceMs);
      connection?.signal.addEventListener('abort', endTimeout);
    });
    try {
      return await Promise.race([work, idle]);
    } catch (thrown) {
      connection?.abort();
      throw thrown;
    } finally {
      clearTimeout(timer);
      connection?.signal.removeEventListener('abort', endTimeout);
    }
  }

  #handleEvent(sent: ServerSentEvent): void {
    const { id, event, data } = sent;
    const number = parseEventNumber(id);
    const value = parseJsonObject<RawMessageStreamEvent | { type: 'ping' } | { type: 'error' }>(data);
    if (event === 'error' || value?.type === 'error') {
      this.#handleErrorEvent(sent);
      return;
    }
    // An event that is not valid JSON was cut off, so reconnect to receive it again.
    if (!value) {
      this.#connection?.abort();
      return;
    }
    this.#lostAt = undefined;
    if (number !== undefined) {
      if (number <= this.#lastEventNumber) return;
      this.#lastEventNumber = number;
      this.#turn = id?.slice(0, id.lastIndexOf('-'));
      this.turn = this.#turn;
      this.#attempts = 0;
    }
    if (value.type === 'ping') return;
    if (value.type === 'message_stop') this.#isComplete = true;
    for (const event of this.#pausedAnswer.applyEvent(value)) this.#emitEvent(event);
  }

  #emitEvent(event: RawMessageStreamEvent): void {
    this.#builder.applyEvent(event);
    if (event.type === 'message_stop') this.#isComplete = true;
    this.feed.pushItem(event);
  }

  /**
   * Takes an error event. In a conversation it may only say that a connection inside the edge was interrupted, perhaps in
   * the middle of another event, whose id it then seems to have. The remark `sluice-cut` marks this case.
   */
  #handleErrorEvent({ id, data, remark }: ServerSentEvent): void {
    const error = readErrorEvent(data, this.headers);
    const isOwn =
      this.conversation === undefined || (parseEventNumber(id) !== undefined && remark !== INTERRUPTED_COMMENT);
    if (error && isOwn) this.#failure = error;
    this.#connection?.abort();
  }

  #addCost(usd: number): void {
    this.#turnCostUsd = usd;
    this.costUsd = this.#earlierCostUsd === undefined ? undefined : addDollars(this.#earlierCostUsd, usd);
  }

  #handleComment(comment: string): void {
    const [, price] = /^sluice-cost-usd=([\d.]+)/.exec(comment) ?? [];
    if (price !== undefined) this.#addCost(Number(price));
    const [, used] = /^sluice-budget-used=([\d.]+)/.exec(comment) ?? [];
    if (used !== undefined) this.used = Number(used);
    const [, fits] = /^sluice-budget-fits=(true|false)$/.exec(comment) ?? [];
    if (fits !== undefined) this.fits = fits === 'true';
    this.paused = /^sluice-paused=(.+)/.exec(comment)?.[1] ?? this.paused;
    if (comment === 'sluice-stopped') this.stopped = true;
    const [, first, last] = /^sluice-gap (\d+)-(\d+)$/.exec(comment) ?? [];
    if (first !== undefined) this.lost = { first: Number(first), last: Math.min(Number(last), this.#lastEventNumber) };
  }

  /** Aborts a connection that may be dead: the network has changed, or the page was hidden for long. */
  #checkConnection(why: 'online' | 'visible'): void {
    if (this.conversation === undefined || this.#isComplete) return;
    this.#lostAt = undefined;
    if (why === 'online' || Date.now() - this.#lastByteAt > MAX_IDLE_MS) this.#connection?.abort();
  }
}

/** @returns whether an error means that the turn has ended and its events are no longer stored */
function isEventsExpired(thrown: unknown): thrown is SluiceError {
  if (!(thrown instanceof SluiceError)) return false;
  const { status, headers } = thrown;
  return status === 410 || (status === 409 && headers?.get('location')?.endsWith('/messages') === true);
}

function createNotStoredError(): SluiceError {
  return new SluiceError(
    'api_error',
    'The response was interrupted, and its rest is not in the conversation. Send the next message, or send the same message again.',
  );
}
