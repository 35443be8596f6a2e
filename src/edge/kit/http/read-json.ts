import { MINUTE_MS } from '../async/durations.ts';
import type { SteppedWork } from '../async/run-in-steps.ts';
import { waitWithTimeout } from '../async/timeout.ts';
import { removeRepeatedKeys } from '../json/edit.ts';
import { rememberInputTextsOfMessages } from '../json/input-texts.ts';
import { stringifyWithRememberedTexts } from '../json/remembered-text.ts';
import { hasRepeatedKeys } from '../json/repeated-keys.ts';
import type { JsonBody } from './body/json-body.ts';
import { StreamPieceReader } from './body/piece-reader.ts';
import type { IncomingBody } from './body-memory.ts';
import { joinPieces } from './body-pieces.ts';
import { type JsonTextShape, LONG_BODY_BYTES, measureJsonShape } from './body-shape.ts';
import { encoder, strictDecoder } from './bytes.ts';
import {
  ApiError,
  createCompressedBodyError,
  createInvalidRequestError,
  createTooLargeError,
  createUnsupportedMediaTypeError,
} from './errors.ts';
import { parseMediaType } from './headers/media-type.ts';
import { LongStringBody } from './long-body.ts';
import { LongStrings } from './long-strings.ts';

/** How long the rest of a rejected body is read, in milliseconds. */
const DISCARD_MS = 10_000;
/** If fewer bytes of a long body arrive in this time, it is rejected, because others wait for its memory. */
const PROGRESS_WINDOW_MS = 15_000;
const MIN_PROGRESS_BYTES = 65_536;
/** How long a short body may take, in milliseconds. It takes little memory, but its request must end. */
const MAX_SHORT_BODY_MS = 2 * MINUTE_MS;

/** @throws ApiError 415 for a compressed body, whose decompressed length is unknown */
export function rejectCompressedBody(headers: Headers): void {
  const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding !== '' && encoding !== 'identity') throw createCompressedBodyError();
}

/** @throws ApiError 415 for another content type than JSON, and for a compressed body */
export function requireJsonContentType(request: Request): void {
  rejectCompressedBody(request.headers);
  const type = parseMediaType(request);
  if (type !== 'application/json' && !/^application\/[^/]+\+json$/.test(type)) throw createUnsupportedMediaTypeError();
}

/**
 * Parses a body that must be a JSON object.
 *
 * @param onShape called with the shape of a long body before it is parsed; it may throw
 * @throws ApiError 400 for anything but a JSON object in UTF-8, 413 for a long one that nests too deep or has too many
 * values, and what `onShape` throws
 */
export function* parseJsonInSteps(
  bytes: Uint8Array,
  onShape: (shape: JsonTextShape) => void = () => {},
): SteppedWork<JsonBody> {
  let keys: number | undefined;
  if (bytes.length > LONG_BODY_BYTES) {
    const shape = yield* measureJsonShape(bytes);
    keys = shape.keys;
    onShape(shape);
  }
  return yield* parseInStepsOrReject(function* () {
    if (keys !== undefined) yield bytes.length;
    const text = strictDecoder.decode(bytes);
    return { bytes, text, json: JSON.parse(text), keys };
  });
}

/**
 * Parses like `parseJsonInSteps`, but keeps the long strings of a long body as bytes.
 *
 * @throws ApiError as `parseJsonInSteps`
 */
export function* parseLongJsonInSteps(
  bytes: Uint8Array,
  onShape: (shape: JsonTextShape) => void = () => {},
): SteppedWork<JsonBody> {
  if (bytes.length <= LONG_BODY_BYTES) return yield* parseJsonInSteps(bytes);
  const shape = yield* measureJsonShape(bytes);
  onShape(shape);
  return yield* parseInStepsOrReject(function* () {
    const strings = new LongStrings(bytes, shape);
    const text = yield* strings.createTextWithPlaceholders();
    yield text.length;
    return new LongStringBody({ text, json: JSON.parse(text), keys: shape.keys }, [strings], bytes);
  }, false);
}

/** @returns a body with another text and its parsed value */
export function replaceBodyText(body: JsonBody, text: string, json: Record<string, unknown>): JsonBody {
  if (text === body.text) return body;
  return body instanceof LongStringBody ? body.replaceText(text, json) : { text, bytes: encoder.encode(text), json };
}

/**
 * Ensures that all readers of a body read the same values: if a key is repeated, some readers take the first value, some the
 * last.
 *
 * @param where in which objects: only the outermost one, so that the other bytes stay as they came; or all, for a body that
 *   is stored and sent repeatedly
 * @throws ApiError 400 if the body nests too deep for that
 */
export function removeRepeatedKeysFromBody(body: JsonBody, where: 'outermost' | 'everywhere'): JsonBody {
  const { text, json } = body;
  if (where === 'outermost') return replaceBodyText(body, removeRepeatedKeys(text, json), json);
  if (!hasRepeatedKeys(text, json, body.keys)) return body;
  let written: string;
  try {
    // Keep the text of tool inputs as the model wrote it, repeated keys included: the edge makes no decision from these inputs.
    rememberInputTextsOfMessages(json, text);
    written = stringifyWithRememberedTexts(json);
  } catch {
    throw createInvalidRequestError('The request body repeats keys. Send each key of an object once.');
  }
  return replaceBodyText(body, written, json);
}

/** @returns a body with the same text, but with another value to judge it by */
export function replaceBodyJson(body: JsonBody, json: Record<string, unknown>): JsonBody {
  return body instanceof LongStringBody
    ? body.replaceText(body.text, json)
    : { text: body.text, bytes: body.bytes, json };
}

/** @returns how long a body is, in bytes */
export function getBodySize(body: JsonBody): number {
  return body instanceof LongStringBody ? body.size : body.bytes.length;
}

/** @param tellsWhere whether positions in the parsed text are positions in the body: then the error names them */
function* parseInStepsOrReject(parse: () => SteppedWork<JsonBody>, tellsWhere = true): SteppedWork<JsonBody> {
  let body: JsonBody;
  try {
    body = yield* parse();
  } catch (thrown) {
    const reason = thrown instanceof SyntaxError && tellsWhere ? ` (${describeSyntaxError(thrown)})` : '';
    throw createInvalidRequestError(`The request body is not valid JSON${reason}. Send one JSON object in UTF-8.`);
  }
  const json: unknown = body.json;
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw createInvalidRequestError('The request body must be a JSON object.');
  }
  return body;
}

/** @returns where the text is not JSON. The engine's own message quotes the body, and is not passed on. */
function describeSyntaxError(error: SyntaxError): string {
  return /position \d+/.exec(error.message)?.[0] ?? 'unexpected end or character';
}

/** Called with a number of bytes before that much of a body is in memory. If it throws, reading ends. */
type BeforeBufferingBytes = (bytes: number) => void | Promise<void>;

/** Options for reading a body. */
export interface ReadBodyOptions {
  /** Whether `content-length` is not trusted. Then `onLength` gets the number of bytes that have arrived. */
  isDoubted?: boolean;
  /** Milliseconds that a body may take if it is read piece by piece. Default: no limit. */
  mostMs?: number;
  /** Milliseconds that a short body may take. */
  shortMs?: number;
  /** How often to check whether a long body still arrives, in milliseconds. */
  stretchMs?: number;
  /** How long the rest of a rejected body is read, in milliseconds. */
  discardMs?: number;
  /** Called with a body that is read piece by piece, and with undefined once no more of it is read. */
  onIncomingBody?(body: IncomingBody | undefined): void;
}

/**
 * Reads a body up to a limit.
 *
 * @throws ApiError 413 above it, 400 for a body that breaks off, and what `onLength` throws
 */
export async function readBodyBytes(
  request: Request,
  limitBytes: number,
  onLength: BeforeBufferingBytes,
  {
    isDoubted = false,
    mostMs,
    shortMs = MAX_SHORT_BODY_MS,
    stretchMs = PROGRESS_WINDOW_MS,
    discardMs = DISCARD_MS,
    onIncomingBody,
  }: ReadBodyOptions = {},
): Promise<Uint8Array> {
  const header = request.headers.get('content-length');
  const declared = header === null ? undefined : Number(header);
  if (declared !== undefined && declared > limitBytes) throw createTooLargeError(limitBytes);
  const trusted = isDoubted ? undefined : declared;
  try {
    if (trusted === undefined) {
      return await readBodyOfUnknownLength(request, limitBytes, onLength, {
        mostMs,
        shortMs,
        stretchMs,
        onIncomingBody,
      });
    }
    const asking = onLength(trusted);
    if (asking instanceof Promise) await asking;
    // A short body is read in one step, because the runtime ensures that it has its declared length.
    if (trusted <= LONG_BODY_BYTES || !request.body)
      return new Uint8Array(await waitWithTimeout(request.arrayBuffer(), shortMs));
    return await readBodyOfKnownLength(request.body, trusted, stretchMs, onIncomingBody);
  } catch (thrown) {
    if (thrown instanceof ApiError) {
      if (trusted !== undefined) await discardRestOfBody(request, discardMs);
      throw thrown;
    }
    // The connection failed on the caller's side, so respond with a 400, not a 500.
    throw createInvalidRequestError('The request body is incomplete. Send it again.', {
      logged: 'client_gone',
      cause: thrown,
    });
  }
}

/** Options for reading a body whose length is not known. */
interface ReadPiecesOptions {
  mostMs: number | undefined;
  shortMs: number;
  stretchMs: number;
  onIncomingBody: ReadBodyOptions['onIncomingBody'] | undefined;
}

async function readBodyOfUnknownLength(
  { body }: Request,
  limitBytes: number,
  onLength: BeforeBufferingBytes,
  { mostMs, shortMs, stretchMs, onIncomingBody = () => {} }: ReadPiecesOptions,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const reader = body && new StreamPieceReader(body);
  if (!reader) return joinPieces(pieces);
  let pieceLength = 0;
  let refusal: ApiError | undefined;
  const pace = new BodyPaceGuard(reader, () => pieceLength, { stretchMs, mostMs, shortMs, longFrom: LONG_BODY_BYTES });
  onIncomingBody({
    get length() {
      return pieceLength;
    },
    getReceivedBytes: () => pieceLength,
    evict(why) {
      refusal = why;
      // Free the memory now: the pending read may return much later.
      pieces.length = 0;
      reader.cancel().catch(ignoreCancelError);
    },
  });
  try {
    for (;;) {
      const piece = await reader.read();
      if (refusal) throw refusal;
      pace.throwIfTooSlow();
      if (!piece) return joinPieces(pieces);
      pieceLength += piece.length;
      if (pieceLength > limitBytes) throw createTooLargeError(limitBytes);
      const asking = onLength(pieceLength);
      if (asking instanceof Promise) await asking;
      // Copy the piece, because the reader reuses its buffer.
      pieces.push(piece.slice());
    }
  } catch (thrown) {
    reader.cancel().catch(ignoreCancelError);
    throw refusal ?? thrown;
  } finally {
    onIncomingBody(undefined);
    pace.stopTimers();
  }
}

/** Reads a body into one piece of memory, and checks whether it still arrives. */
async function readBodyOfKnownLength(
  body: ReadableStream<Uint8Array>,
  length: number,
  stretchMs: number,
  onIncomingBody: ReadBodyOptions['onIncomingBody'] = () => {},
): Promise<Uint8Array> {
  const reader = new StreamPieceReader(body);
  let bytes = new Uint8Array(length);
  let at = 0;
  let refusal: ApiError | undefined;
  const pace = new BodyPaceGuard(reader, () => at, { stretchMs, longFrom: 0 });
  onIncomingBody({
    length,
    getReceivedBytes: () => at,
    evict(why) {
      refusal = why;
      // Free the memory now: the pending read may return much later.
      bytes = new Uint8Array(0);
    },
  });
  try {
    while (at < length) {
      const piece = await reader.read();
      if (refusal) throw refusal;
      pace.throwIfTooSlow();
      if (!piece) throw new Error('The body is shorter than its content-length. Send it again.');
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  } catch (thrown) {
    throw refusal ?? thrown;
  } finally {
    onIncomingBody(undefined);
    pace.stopTimers();
    reader.releaseLock();
  }
}

interface PaceGuardOptions {
  mostMs?: number | undefined;
  shortMs?: number | undefined;
  stretchMs: number;
  /** How many bytes must have arrived before the speed is checked. With fewer of them the body is a short one. */
  longFrom: number;
}

/** Ends the reading of a body that arrives too slowly. */
export class BodyPaceGuard {
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  #isLate = false;

  /**
   * @param come how much of the body has arrived, in bytes
   */
  constructor(
    reader: { cancel(): Promise<void> },
    come: () => number,
    { stretchMs, mostMs, shortMs, longFrom }: PaceGuardOptions,
  ) {
    const cancelLateBody = () => {
      this.#isLate = true;
      reader.cancel().catch(ignoreCancelError);
    };
    let before = 0;
    const cancelIfTooSlow = () => {
      const now = come();
      if (now >= longFrom && now - before < MIN_PROGRESS_BYTES) cancelLateBody();
      before = now;
    };
    this.#timers.push(setInterval(cancelIfTooSlow, stretchMs));
    if (mostMs !== undefined) this.#timers.push(setTimeout(cancelLateBody, mostMs));
    if (shortMs !== undefined) this.#timers.push(setTimeout(() => come() < longFrom && cancelLateBody(), shortMs));
  }

  /** @throws Error if the body was given up */
  throwIfTooSlow(): void {
    if (this.#isLate) throw new Error('The body arrived too slowly. Send it again.');
  }

  stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** Ignores the error of cancelling a body that has already ended. */
function ignoreCancelError(): void {}

/**
 * Reads the rest of a body and drops it. Otherwise the connection would be reset while the caller still sends, and the caller
 * would never see why the request was rejected.
 */
export async function discardRestOfBody({ body }: Request, mostMs = DISCARD_MS): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const reader = body && new StreamPieceReader(body);
    // If the caller stalls, the read does not return, so a timer cancels it.
    timer = setTimeout(() => reader?.cancel().catch(ignoreCancelError), mostMs);
    while (await reader?.read());
  } catch {
    // The caller has disconnected, or the body does not come from a connection. Then there is nothing left to discard.
  } finally {
    clearTimeout(timer);
  }
}
