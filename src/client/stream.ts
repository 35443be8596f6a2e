import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import { errorOf, isPassing, parse, SluiceError } from './errors.ts';
import { numberOf, readEvents, type ServerSentEvent } from './events.ts';
import { MessageBuilder } from './message.ts';
import { onReturn, pause } from './pause.ts';
import { SdkReader } from './sdk-reader.ts';
import { lost, type Transport } from './transport.ts';

export interface StreamOptions {
  /** Aborted, it closes the stream, as `close()` does. */
  signal?: AbortSignal | undefined;
  /** Headers of the request that begins the turn. */
  headers?: Record<string, string> | undefined;
  /** Told when the connection is there, and when it is lost and tried again. */
  onConnection?: ((state: 'open' | 'lost') => void) | undefined;
}

/** What a stream begins with: a request, or a turn that runs already. */
export interface Beginning {
  conversation: string | undefined;
  /** The JSON text of the request; without it the running turn is followed. */
  body?: string;
}

/** What a turn cost is told behind its end: should that be lost, it is asked for so often, if the connection breaks, … */
const MOST_QUESTIONS = 10;
/** … and hardly at all if something on the way leaves it out. */
const WITHOUT_PRICE = 5;
/** A page that was hidden trusts a connection no more that was silent for longer than the edge ever is. */
const SILENT_MS = 16_000;
const SOON_MS = 300;
const CUT_REMARK = 'sluice-cut';
/** An edge that answers is not waited for as long as one that cannot be reached. */
const MOST_ATTEMPTS_REACHED = 2;
/**
 * An answer while it comes: Anthropic's events, each once, however often the connection is lost.
 *
 * It is read as fast as it comes, whether anybody iterates or not, and can be iterated more than once.
 */
export class MessageStream extends SdkReader {
  readonly conversation: string | undefined;
  /** The turn's id, once the answer has begun; only in a conversation. */
  turn: string | undefined;
  /** The headers of the first answer. */
  headers: Headers | undefined;
  /** What the answer cost, in US dollars; known when the stream has ended, unless it broke. */
  costUsd: number | undefined;
  /** Whether it was ended by `stop()`, here or elsewhere. */
  stopped = false;
  readonly #transport: Transport;
  readonly #begin: Beginning;
  readonly #options: StreamOptions;
  readonly #builder = new MessageBuilder();
  readonly #closed = new AbortController();
  /** One turn has one key: whatever is sent again with it attaches to that turn. */
  readonly #key: string;
  readonly #opened: Promise<boolean>;
  #open: (there: boolean) => void = () => {};
  #connection: AbortController | undefined;
  /** When a byte came last, and when it was one of the turn's events; milliseconds. */
  #heardAt = Date.now();
  #toldAt = Date.now();
  #attempts = 0;
  #questions = 0;
  /** The last event: its turn, and its number. */
  #turn: string | undefined;
  #number = 0;
  #complete = false;
  #stopping = false;
  /** What the turn has ended with, if it is an error. */
  #failure: SluiceError | undefined;

  constructor(transport: Transport, begin: Beginning, options: StreamOptions = {}) {
    super();
    this.#transport = transport;
    this.#begin = begin;
    this.#options = options;
    this.conversation = begin.conversation;
    this.#key = new Headers(options.headers).get('idempotency-key') ?? newKey();
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    const { signal } = options;
    const close = () => this.close();
    if (signal?.aborted) close();
    signal?.addEventListener('abort', close);
    const forget = onReturn((why) => this.#look(why));
    void this.#run().then((error) => {
      forget();
      signal?.removeEventListener('abort', close);
      this.#open(false);
      this.feed.end(error);
    });
  }

  /** The message as far as it has come; undefined before its first event. */
  get message(): Message | undefined {
    return this.#builder.message;
  }

  /** @returns once the answer has begun: true; false if there is none to come, or it failed (reading it tells why) */
  opened(): Promise<boolean> {
    return this.#opened;
  }

  protected override lastMessage(): Message {
    const { message } = this.#builder;
    if (!message || !this.#complete)
      throw new SluiceError('closed', 'The stream was closed before the answer had ended.');
    return message;
  }

  /** Stops listening. In a conversation the turn goes on, and can be resumed; elsewhere it ends with this. */
  override close(): void {
    this.#closed.abort();
  }

  /**
   * Stops the turn: what was said is kept, the events that end it come, and `finalMessage()` gives what there is.
   * Without a conversation it is `close()`.
   */
  async stop(): Promise<void> {
    const { conversation } = this;
    if (conversation === undefined) return this.close();
    if (this.#complete || this.#failure) return;
    this.#stopping = true;
    const stop = async () => {
      const path = `/conversations/${encodeURIComponent(conversation)}/stop`;
      // The turn of another window is not to be stopped. (A header that tells a turn's id can be cut, and look whole.)
      const query = this.#begin.body === undefined ? { turn: this.turn } : { key: this.#key };
      await this.#transport.send(path, { method: 'POST', query }).catch((thrown: unknown) => {
        // A first turn that has said nothing leaves no conversation.
        if (!(thrown instanceof SluiceError && thrown.status === 404)) throw thrown;
      });
    };
    // Before the answer begins, the request may not have arrived yet: then this stops nothing, and is said again.
    if (this.headers === undefined) {
      await Promise.race([this.#opened, new Promise((resolve) => setTimeout(resolve, SOON_MS))]);
      await stop();
      if (!(await this.#opened) || this.#complete) return;
    }
    await stop();
  }

  /** @returns what it failed with */
  async #run(): Promise<unknown> {
    const { signal } = this.#closed;
    const { beginMs, resumeMs } = this.#transport.patience;
    while (!signal.aborted) {
      let error: unknown;
      let wait = 0;
      try {
        const response = await this.#connect();
        if (response.status === 204) return undefined;
        await this.#read(response);
      } catch (thrown) {
        if (signal.aborted) return undefined;
        error = thrown;
        if (!isPassing(thrown)) return this.#complete || this.#isStopped() ? undefined : error;
        wait = (thrown.retryAfter ?? 0) * 1_000;
      }
      if (this.#complete) this.#questions += error === undefined ? WITHOUT_PRICE : 1;
      if (this.#isOver()) return this.#isStopped() ? undefined : this.#failure;
      error ??= new SluiceError('connection_error', 'The answer was cut before its end.', { headers: this.headers });
      if (this.conversation === undefined) return error;
      if (Date.now() - this.#toldAt > (this.headers === undefined ? beginMs : resumeMs)) return error;
      if (this.#attempts === 0) this.#options.onConnection?.('lost');
      await pause(this.#complete ? 0 : this.#attempts, wait, signal);
      this.#attempts += 1;
      // What was to be stopped must not be begun again.
      if (this.turn === undefined && this.#isStopped()) return undefined;
    }
    return undefined;
  }

  /** An end is believed when all has come that belongs to it. */
  #isOver(): boolean {
    if (this.#closed.signal.aborted || this.#failure) return true;
    if (!this.#complete) return false;
    return this.conversation === undefined || this.costUsd !== undefined || this.#questions > MOST_QUESTIONS;
  }

  /** What was stopped before anything was said has no answer, and no fault either. */
  #isStopped(): boolean {
    this.stopped ||= this.#stopping && !this.#complete && !this.message?.content.length;
    return this.stopped;
  }

  async #connect(): Promise<Response> {
    const connection = new AbortController();
    this.#connection = connection;
    const cut = () => connection.abort();
    this.#closed.signal.addEventListener('abort', cut, { once: true });
    if (this.#closed.signal.aborted) cut();
    const { conversation, body } = this.#begin;
    const { signal } = connection;
    const send = () => {
      // A header can be cut, and look whole: only an event tells for sure which turn this is.
      if (this.#turn === undefined && body !== undefined && !(this.#stopping && this.turn !== undefined)) {
        const headers = Object.fromEntries(new Headers(this.#options.headers));
        if (conversation !== undefined) headers['idempotency-key'] = this.#key;
        return this.#transport.send('/messages', { method: 'POST', body, headers, signal });
      }
      // Behind the last event there is nothing more to be had but by asking for that event again.
      const last = this.#complete ? this.#number - 1 : this.#number;
      const headers: Record<string, string> =
        this.turn === undefined ? {} : { 'last-event-id': `${this.turn}-${last}` };
      return this.#transport.send(`/conversations/${encodeURIComponent(conversation ?? '')}/stream`, {
        headers,
        signal,
      });
    };
    // How long the upstream takes to begin, nobody can know without a conversation, and a second question would cost.
    const response = conversation === undefined ? await send() : await this.#unlessSilent(send());
    if (response.status === 204) return response;
    this.headers ??= response.headers;
    this.turn ??= response.headers.get('sluice-turn') ?? undefined;
    this.#open(true);
    this.#attempts = Math.min(this.#attempts, MOST_ATTEMPTS_REACHED);
    this.#options.onConnection?.('open');
    return response;
  }

  async #read(response: Response): Promise<void> {
    const read = readEvents(
      (event) => this.#take(event),
      (comment) => this.#remark(comment),
    );
    const reader = response.body?.getReader();
    if (!reader) throw lost(undefined);
    try {
      for (;;) {
        const { value, done } = await this.#unlessSilent(reader.read());
        if (done) return;
        this.#heardAt = Date.now();
        read(value);
      }
    } catch (thrown) {
      throw thrown instanceof SluiceError ? thrown : lost(thrown, this.#closed.signal);
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** @throws SluiceError if nothing comes for too long, or the connection is given up meanwhile */
  async #unlessSilent<T>(work: Promise<T>): Promise<T> {
    const connection = this.#connection;
    const { silenceMs } = this.#transport.patience;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let end = () => {};
    const silence = new Promise<never>((_, reject) => {
      end = () => reject(lost(new Error('given up')));
      timer = setTimeout(end, silenceMs);
      connection?.signal.addEventListener('abort', end);
    });
    try {
      return await Promise.race([work, silence]);
    } catch (thrown) {
      connection?.abort();
      throw thrown;
    } finally {
      clearTimeout(timer);
      connection?.signal.removeEventListener('abort', end);
    }
  }

  #take(told: ServerSentEvent): void {
    const { id, event, data } = told;
    const number = numberOf(id);
    const value = parse<RawMessageStreamEvent | { type: 'ping' } | { type: 'error' }>(data);
    if (event === 'error' || value?.type === 'error') {
      this.#fail(told);
      return;
    }
    // What cannot be read was cut: it is asked for again.
    if (!value) {
      this.#connection?.abort();
      return;
    }
    this.#toldAt = Date.now();
    if (number !== undefined) {
      if (number <= this.#number) return;
      this.#number = number;
      this.#turn = id?.slice(0, id.lastIndexOf('-'));
      this.turn = this.#turn;
      this.#attempts = 0;
    }
    if (value.type === 'ping') return;
    this.#builder.take(value);
    if (value.type === 'message_stop') this.#complete = true;
    this.feed.push(value);
  }

  /**
   * Takes an error event. In a conversation it may be the edge's word for a connection that broke inside of it, told
   * where it broke, perhaps in the middle of another event whose id it then seems to have: a remark tells it apart.
   */
  #fail({ id, data, remark }: ServerSentEvent): void {
    const error = errorOf(data, this.headers);
    const isOwn = this.conversation === undefined || (numberOf(id) !== undefined && remark !== CUT_REMARK);
    if (error && isOwn) this.#failure = error;
    this.#connection?.abort();
  }

  #remark(comment: string): void {
    const [, price] = /^sluice-cost-usd=([\d.]+)/.exec(comment) ?? [];
    if (price !== undefined) this.costUsd = Number(price);
    if (comment === 'sluice-stopped') this.stopped = true;
  }

  /** Another network has come, or the page has slept: what was open is not to be trusted. */
  #look(why: 'online' | 'visible'): void {
    if (this.conversation === undefined || this.#complete) return;
    if (why === 'online' || Date.now() - this.#heardAt > SILENT_MS) this.#connection?.abort();
  }
}

/** Pages that were not loaded by https have no `randomUUID`. */
function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
