import { ApiError, errorEvent, upstreamRefusedKey } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { completion, cutEnding } from '../sse/endings.ts';
import { headersDown, headersUp, responseDown } from './headers.ts';
import { late, redirected, send } from './send.ts';
import type { Upstream } from './upstream.ts';
import { type Report, reportOf, UsageReader } from './usage.ts';
import { Watchdog } from './watchdog.ts';

export interface RelayRequest {
  /** The caller's own request: its method, headers and query go up, and its signal says that the caller has left. */
  caller: Request;
  /** The path at the upstream, beginning with `/v1`. */
  path: string;
  /** The caller's bytes, or the text in which something had to change. */
  body?: Uint8Array | string | undefined;
}

/** How an answer ended, for the ledger and the log. */
export interface Outcome extends Report {
  /** The upstream's HTTP status; undefined if it sent none. */
  status: number | undefined;
  end: 'complete' | 'error' | 'cut' | 'silent' | 'client_gone';
  upstream_request_id: string | undefined;
  /** Whether anything went up: a caller can leave before. */
  sent: boolean;
  /** From the request to the first byte of a stream, or to the headers of another answer. */
  ttft_ms: number;
}

export interface RelayOptions {
  upstream: Upstream;
  settings: Settings;
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /**
   * Told once how the answer ended, also when the caller has left. It starts what must follow, and returns at once.
   *
   * @returns a remark to put behind a complete stream as a comment, without its colon
   */
  onEnd?(outcome: Outcome): string | undefined;
}

export const EVENT_STREAM = 'text/event-stream';
const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);
const PIECE_BYTES = 65_536;
/** A new buffer is filled with zeros, which costs more than reading a short answer into it. */
const spareBuffers: ArrayBuffer[] = [];
const MOST_SPARE_BUFFERS = 16;
/** For what should not come at all. */
const SMALL_BYTES = 1_024;
/** Before each look at the copy: what has come in the meantime is read in one. */
const LAZY_WAIT_MS = 25;
/** How long a whole answer waits for the upstream to end the connection behind it. */
const MOMENT_MS = 25;
/** How long a copy may lag behind a pipe that broke before it is clear that the caller, not the upstream, is gone. */
const COPY_GRACE_MS = 1_000;

/**
 * Relays a caller's own request: its bytes up, the answer's bytes down, usage read from a copy.
 *
 * @returns the upstream's answer, streaming if the upstream streams; its 400 and 413 word for word
 * @throws ApiError when nothing can be relayed: no answer, the deployment's key refused, a body that was cut
 */
export async function relay(request: RelayRequest, options: RelayOptions): Promise<Response> {
  const { upstream, settings } = options;
  const { caller } = request;
  const started = Date.now();
  const controller = new AbortController();
  const leave = () => controller.abort(callerLeft());
  if (caller.signal.aborted) leave();
  caller.signal.addEventListener('abort', leave, { once: true });
  const headers = headersUp(caller.headers, upstream.apiKey);
  const simulate = upstream.simulated ? caller.headers.get('sluice-simulate') : null;
  if (simulate !== null) headers.set('sluice-simulate', simulate);

  const observed: Pick<Outcome, 'status' | 'upstream_request_id' | 'sent'> = {
    status: undefined,
    upstream_request_id: undefined,
    sent: !controller.signal.aborted,
  };
  const finish = (report: Report, end: Outcome['end'], firstByte: number) =>
    options.onEnd?.({ ...report, ...observed, end, ttft_ms: firstByte - started });

  const { STREAM_IDLE_MS: idleMs, UPSTREAM_TIMEOUT_MS: timeoutMs } = settings;
  const watchdog = new Watchdog(controller, Math.min(idleMs, timeoutMs), timeoutMs, late);
  let streams = false;
  try {
    const response = await send(
      upstream,
      { method: caller.method, path: request.path + queryOf(caller.url), headers, body: request.body },
      { maxRetries: settings.UPSTREAM_MAX_RETRIES, timeoutMs, controller, isWatched: true },
    );
    observed.status = response.status;
    observed.upstream_request_id = response.headers.get('request-id') ?? undefined;
    if (response.ok && response.body && response.headers.get('content-type')?.startsWith(EVENT_STREAM)) {
      streams = true;
      watchdog.expect(idleMs, () => cutError(true));
      return await relayStream(
        response,
        response.body,
        { signal: caller.signal, controller, watchdog },
        options,
        finish,
      );
    }
    watchdog.stop();
    const body = await readWhole(response, idleMs, controller);
    const json = parseObject(body);
    const report = reportOf(json, body.length);
    const readable = json !== undefined && (response.ok || report.error_type !== undefined);
    const answer = wholeAnswer(response, body, readable, options.requestId);
    finish(report, response.ok ? 'complete' : 'error', Date.now());
    return answer;
  } catch (thrown) {
    const refused = observed.status !== undefined && observed.status >= 300;
    const silent = thrown instanceof ApiError && thrown.logged === 'upstream_silent';
    const end = caller.signal.aborted ? 'client_gone' : refused ? 'error' : silent ? 'silent' : 'cut';
    const error_type = thrown instanceof ApiError ? thrown.logged : undefined;
    finish({ ...reportOf(undefined, 0), error_type }, end, Date.now());
    throw thrown;
  } finally {
    if (!streams) watchdog.stop();
  }
}

type Finish = (report: Report, end: Outcome['end'], firstByte: number) => string | undefined;

/** What can end a stream before its end. */
interface Course {
  signal: AbortSignal;
  controller: AbortController;
  watchdog: Watchdog;
}

/**
 * Looks at the first piece before anything goes down. A short answer is often whole in it: then its price is known, and
 * it needs no stream. Of any other the native pipe carries the rest, and JavaScript sees only a copy, late and in large
 * pieces.
 */
async function relayStream(
  response: Response,
  body: ReadableStream<Uint8Array>,
  course: Course,
  options: RelayOptions,
  finish: Finish,
): Promise<Response> {
  const usage = new UsageReader();
  const opening = await readOpening(body, usage, course.watchdog);
  const report = opening.isAll ? usage.wholeReport : undefined;
  if (report) {
    course.watchdog.stop();
    const remark = finish(report, 'complete', opening.firstByte);
    return streamDown(response, joined(opening.bytes, encoder.encode(comment(remark))));
  }
  const { readable, writable } = new IdentityTransformStream();
  options.waitUntil(pour(opening, writable, usage, course, options.requestId, finish));
  return streamDown(response, readable);
}

function streamDown(response: Response, body: ReadableStream | Uint8Array): Response {
  const answer = responseDown(response, body);
  answer.headers.set('cache-control', 'no-cache, no-transform');
  answer.headers.set('x-accel-buffering', 'no');
  return answer;
}

/** At the end too the runtime gives the buffer back, though the types do not say so. */
type Piece = { value?: Uint8Array | undefined; done: boolean };

/** What had come of a stream before anything went down. */
interface Opening {
  bytes: Uint8Array;
  /** When the first of them came. */
  firstByte: number;
  /** Whether the stream has ended behind them. */
  isAll: boolean;
  /** Where more comes from, with the read that already waits for it; undefined if nothing more can come. */
  rest: { body: ReadableStream<Uint8Array>; reader: ReadableStreamBYOBReader; next?: Promise<Piece> } | undefined;
}

async function readOpening(body: ReadableStream<Uint8Array>, usage: UsageReader, watchdog: Watchdog): Promise<Opening> {
  const reader = body.getReader({ mode: 'byob' });
  const opening: Opening = { bytes: NOTHING, firstByte: Date.now(), isAll: false, rest: undefined };
  try {
    const { value, done }: Piece = await reader.read(new Uint8Array(takeBuffer()));
    opening.firstByte = Date.now();
    watchdog.touch(opening.firstByte);
    if (!value) return opening;
    opening.bytes = value.slice();
    keepBuffer(value);
    if (!done) opening.rest = { body, reader };
    usage.push(opening.bytes, true);
    if (!opening.rest || !usage.wholeReport) return opening;
    // Nothing follows what ends as the API ends an answer; an upstream that goes on all the same does so at once.
    opening.rest.next = reader.read(new Uint8Array(new ArrayBuffer(SMALL_BYTES)));
    opening.isAll = (await within(opening.rest.next, MOMENT_MS))?.done === true;
  } catch {
    // The break is told by what the usage reader has not seen: an end.
    opening.rest = undefined;
  }
  return opening;
}

/** Carries a stream down to its end, and says what remains to be said. */
async function pour(
  { bytes, firstByte, rest }: Opening,
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  { signal, controller, watchdog }: Course,
  requestId: string,
  finish: Finish,
): Promise<void> {
  write(writable, bytes);
  /** Whether the usage reader has seen all that came. */
  let isRead = true;
  try {
    const following = await rest?.next;
    if (following?.value) {
      usage.push(following.value);
      write(writable, following.value.slice());
    }
    if (rest && !following?.done) {
      rest.reader.releaseLock();
      const [down, copy] = rest.body.tee();
      const pipe = down.pipeTo(writable, { preventClose: true, preventAbort: true }).then(
        () => true,
        () => false,
      );
      const reading = readCopy(copy, usage, pipe, watchdog);
      isRead = await ((await pipe) ? reading : Promise.race([reading, wait(COPY_GRACE_MS)]));
    }
  } catch {
    // It broke behind an answer that was whole.
  }
  watchdog.stop();
  let words = '';
  try {
    const report = usage.wholeReport;
    if (report) {
      words = comment(finish(report, 'complete', firstByte));
    } else {
      const completed = isRead && !usage.ended ? completion(usage.end) : undefined;
      if (completed !== undefined) usage.complete(completed);
      words = completed ?? '';
      if (usage.ended) {
        const { report } = usage;
        const remark = finish(report, report.completed ? 'complete' : 'error', firstByte);
        if (report.completed && usage.end.atBoundary) words += comment(remark);
      } else if (signal.aborted || !isRead) {
        controller.abort(callerLeft());
        finish(usage.report, 'client_gone', firstByte);
      } else {
        const silent = controller.signal.aborted;
        words += cutEnding(usage.end, errorEvent(cutError(silent), requestId));
        finish(usage.report, silent ? 'silent' : 'cut', firstByte);
      }
    }
  } finally {
    writeLastWords(writable, words);
  }
}

/**
 * Reads the copy of a stream to its end.
 *
 * @returns true in the end; it never rejects: a copy that breaks has ended where it broke
 */
async function readCopy(
  copy: ReadableStream<Uint8Array>,
  usage: UsageReader,
  pipe: Promise<boolean>,
  watchdog: Watchdog,
): Promise<boolean> {
  let end = 'open' as 'open' | 'whole' | 'broken';
  let wake: (() => void) | undefined;
  void pipe.then((whole) => {
    end = whole ? 'whole' : 'broken';
    wake?.();
  });
  // A timer that is left to run out costs the isolate a turn of its own.
  const pause = () =>
    new Promise<void>((resolve) => {
      const pausing = setTimeout(resolve, LAZY_WAIT_MS);
      wake = () => {
        clearTimeout(pausing);
        resolve();
      };
    });
  const reader = copy.getReader({ mode: 'byob' });
  let buffer = takeBuffer();
  try {
    for (;;) {
      if (end === 'open') await pause();
      const view = new Uint8Array(buffer);
      // Behind a whole pipe nothing more will come but what lies here already: it is read in one.
      const isRest = end === 'whole';
      const { value, done }: Piece = await (isRest ? reader.readAtLeast(PIECE_BYTES, view) : reader.read(view));
      const length = value?.length ?? 0;
      if (value) buffer = value.buffer as ArrayBuffer;
      if (value && length > 0) {
        watchdog.touch();
        usage.push(value);
      }
      if (done || (isRest && length < PIECE_BYTES)) break;
    }
    keepBuffer(new Uint8Array(buffer));
  } catch {
    // The break is told by what the reader has not seen: an end.
  }
  return true;
}

function takeBuffer(): ArrayBuffer {
  return spareBuffers.pop() ?? new ArrayBuffer(PIECE_BYTES);
}

function keepBuffer({ buffer }: Uint8Array): void {
  if (spareBuffers.length < MOST_SPARE_BUFFERS) spareBuffers.push(buffer as ArrayBuffer);
}

/** @returns what a promise comes to, or undefined if that takes longer. */
function within<T>(coming: Promise<T>, milliseconds: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const waiting = setTimeout(resolve, milliseconds, undefined);
    coming.then(
      (value) => {
        clearTimeout(waiting);
        resolve(value);
      },
      (thrown) => {
        clearTimeout(waiting);
        reject(thrown);
      },
    );
  });
}

/** Writes without waiting: to a caller that stopped reading it can take for ever. */
function write(writable: WritableStream<Uint8Array>, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  const writer = writable.getWriter();
  writer.write(bytes).catch(ignoreGone);
  writer.releaseLock();
}

/** Writes and closes without waiting: to a caller that stopped reading it can take for ever. */
function writeLastWords(writable: WritableStream, words: string): void {
  const writer = writable.getWriter();
  const written = words === '' ? undefined : writer.write(encoder.encode(words));
  Promise.all([written, writer.close()]).catch(ignoreGone);
}

/** The caller has left in the meantime; there is nobody to tell. */
function ignoreGone(): void {}

function comment(remark: string | undefined): string {
  return remark === undefined ? '' : `: ${remark}\n\n`;
}

/** @throws ApiError when the body breaks or stalls: a cut JSON body would look complete */
export async function readWhole(response: Response, idleMs: number, controller: AbortController): Promise<Uint8Array> {
  if (!response.body) return new Uint8Array(0);
  const watchdog = new Watchdog(controller, idleMs, idleMs, () => cutError(true));
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of response.body) {
      watchdog.touch();
      pieces.push(piece);
    }
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : cutError(false, thrown);
  } finally {
    watchdog.stop();
  }
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  return joined(...pieces);
}

function joined(...pieces: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** @throws ApiError for what the caller must not see as it is, or what is no whole JSON */
export function wholeAnswer(response: Response, body: Uint8Array, readable: boolean, requestId: string): Response {
  const { status } = response;
  if (status === 401 || status === 402 || status === 403) throw upstreamRefusedKey();
  if (status >= 300 && status < 400) throw redirected();
  if (response.ok && !readable) throw cutError(false);
  const headers = headersDown(response.headers);
  if (status === 429) headers.set('sluice-limited-by', 'upstream');
  if (readable) return new Response(body, { status, headers });
  // Not the API's words but those of something before it: the envelope is what clients can read.
  headers.set('content-type', 'application/json');
  const error = { type: typeOfStatus(status), message: `The upstream answered ${status} without an explanation.` };
  return Response.json({ type: 'error', error, request_id: requestId }, { status, headers });
}

export function parseObject(body: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function queryOf(url: string): string {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at);
}

function typeOfStatus(status: number): string {
  if (status === 404) return 'not_found_error';
  if (status === 413) return 'request_too_large';
  if (status === 429) return 'rate_limit_error';
  if (status === 529) return 'overloaded_error';
  if (status === 504) return 'timeout_error';
  return status < 500 ? 'invalid_request_error' : 'api_error';
}

export function cutError(silent: boolean, cause?: unknown): ApiError {
  const message = silent
    ? 'The upstream fell silent in the middle of its answer. What came before stands; send the request again for a whole one.'
    : 'The connection to the upstream broke in the middle of its answer. Send the request again for a whole one.';
  return new ApiError('api_error', message, { logged: silent ? 'upstream_silent' : 'upstream_cut', cause });
}

function callerLeft(): ApiError {
  return new ApiError('api_error', 'The caller left before the answer ended.', { logged: 'client_gone' });
}

async function wait(milliseconds: number): Promise<false> {
  await scheduler.wait(milliseconds);
  return false;
}
