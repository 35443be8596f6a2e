import type { RequestedFaults } from './faults.ts';
import { sleepUnlessAborted, waitForAbort } from './pause.ts';
import type { RandomSource } from './random/digest.ts';
import { encoder } from './text/utf8.ts';

/** A piece of a body: an event, or a whole JSON answer. */
export interface PacedBodyPart {
  text: string;
  tokens: number;
  /** Whether the first content starts here. The time to the first token passes before it. */
  isFirstContent: boolean;
}

/** How a body breaks, and who reads it. */
interface BodyOptions {
  faults: RequestedFaults;
  random: RandomSource;
  /** Aborted when the reader has left. */
  signal: AbortSignal;
  /** Called before the first bytes are handed out. */
  onFirstByte?(): void;
}

export interface ResponsePace {
  /** Milliseconds to the first token. */
  ttftMs: number;
  /** Tokens per second; 0 is as fast as possible. */
  tokensPerSecond: number;
}

/** Parts that are due at the same time are joined to chunks of at most this length, in UTF-16 units. */
const MAX_CHUNK_CHARACTERS = 65_536;
/**
 * The API sends pings in a long pause of a stream (https://platform.claude.com/docs/en/build-with-claude/streaming). The
 * interval is an assumption.
 */
const PING_INTERVAL_MS = 10_000;
const OVERLOADED =
  'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n';
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Yields texts when they are due. An empty text means: send now what was joined so far. */
async function* yieldPartsAtPace(
  parts: Iterable<PacedBodyPart>,
  pace: ResponsePace,
  faults: RequestedFaults,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let due = Date.now();
  let isFirst = true;
  for (const { text, tokens, isFirstContent } of parts) {
    if (isFirstContent) due += pace.ttftMs;
    if (tokens > 0 && pace.tokensPerSecond > 0) due += (tokens / pace.tokensPerSecond) * 1000;
    for (let left = due - Date.now(); left >= 1; left = due - Date.now()) {
      yield '';
      await sleepUnlessAborted(Math.min(left, PING_INTERVAL_MS), signal);
      if (left > PING_INTERVAL_MS && !isFirst) yield PING;
    }
    yield text;
    isFirst = false;
    if (faults.flush) {
      yield '';
      await sleepUnlessAborted(0, signal);
    }
  }
}

/** Yields the parts until a fault that counts events ends or breaks them. @returns what happens to the body then */
function* applyEventFaults(
  parts: Iterable<PacedBodyPart>,
  faults: RequestedFaults,
): Generator<PacedBodyPart, 'cut' | 'silence' | undefined> {
  const { 'cut-events': cutEvents, 'end-events': endEvents, 'silence-after': silenceAfter, malformed } = faults;
  const { 'error-after': errorAfter } = faults;
  let count = 0;
  for (const part of parts) {
    if (count === cutEvents) return 'cut';
    if (count === endEvents) return undefined;
    if (count === silenceAfter) return 'silence';
    if (count === errorAfter) {
      yield { text: OVERLOADED, tokens: 0, isFirstContent: false };
      return undefined;
    }
    count++;
    yield count === malformed ? { ...part, text: truncateJson(part.text) } : part;
  }
  if (count === cutEvents) return 'cut';
  return count === silenceAfter ? 'silence' : undefined;
}

/** @returns an event or JSON whose object is not closed */
function truncateJson(text: string): string {
  const end = text.endsWith('\n\n') ? '\n\n' : '';
  const start = Math.max(0, text.indexOf('{'));
  return text.slice(0, start + Math.max(1, Math.floor((text.length - start) / 2))) + end;
}

/** The error that a caller sees when a connection is interrupted. */
class ConnectionInterruptedError extends TypeError {
  constructor() {
    super('terminated: the simulator cut the connection');
  }
}

async function* generateBodyChunks(
  parts: Iterable<PacedBodyPart>,
  pace: ResponsePace,
  faults: RequestedFaults,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let fate: 'cut' | 'silence' | undefined;
  function* yieldUntilFault(): Generator<PacedBodyPart> {
    fate = yield* applyEventFaults(parts, faults);
  }
  let joined = '';
  for await (const text of yieldPartsAtPace(yieldUntilFault(), pace, faults, signal)) {
    joined += text;
    if (joined !== '' && (text === '' || joined.length >= MAX_CHUNK_CHARACTERS)) {
      yield encoder.encode(joined);
      joined = '';
    }
  }
  if (joined !== '') yield encoder.encode(joined);
  if (fate === 'cut') throw new ConnectionInterruptedError();
  if (fate === 'silence') await waitForAbort(signal);
}

async function* applyByteFaults(
  source: AsyncGenerator<Uint8Array>,
  { 'cut-bytes': cutBytes, 'end-bytes': endBytes }: RequestedFaults,
): AsyncGenerator<Uint8Array> {
  let left = Math.min(cutBytes ?? Number.POSITIVE_INFINITY, endBytes ?? Number.POSITIVE_INFINITY);
  const isCut = cutBytes !== undefined && cutBytes === left;
  if (left > 0) {
    for await (const chunk of source) {
      yield chunk.subarray(0, left);
      left -= chunk.byteLength;
      if (left <= 0) break;
    }
  }
  if (isCut && left <= 0) throw new ConnectionInterruptedError();
}

async function* splitIntoChunks(
  source: AsyncGenerator<Uint8Array>,
  split: number | 'random',
  random: RandomSource,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength; ) {
      const size = split === 'random' ? 1 + Math.floor(random() * 16) : split;
      yield chunk.slice(at, at + size);
      at += size;
    }
  }
}

/**
 * Makes a body that comes at the given pace, and breaks where the faults say. Parts are made only when they are read, and
 * the reader gets all of them before an error. It stops when the reader leaves or the signal is aborted.
 */
export function createBodyStream(
  parts: Iterable<PacedBodyPart>,
  pace: ResponsePace,
  options: BodyOptions,
): ReadableStream<Uint8Array> {
  return createFaultyByteStream(
    (cancelSignal) => generateBodyChunks(parts, pace, options.faults, cancelSignal),
    options,
  );
}

/**
 * Makes a body of chunks, which breaks where the faults that count bytes say. Chunks are made only when they are read, and
 * others have their turn after each.
 */
export function createFaultyChunkStream(
  source: AsyncGenerator<Uint8Array>,
  options: BodyOptions,
): ReadableStream<Uint8Array> {
  async function* yieldChunks(cancelSignal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      yield chunk;
      await sleepUnlessAborted(0, cancelSignal);
    }
  }
  return createFaultyByteStream(yieldChunks, options);
}

function createFaultyByteStream(
  chunksFor: (cancelSignal: AbortSignal) => AsyncGenerator<Uint8Array>,
  { faults, random, signal, onFirstByte }: BodyOptions,
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  let source = applyByteFaults(chunksFor(gone.signal), faults);
  if (faults.split !== undefined) source = splitIntoChunks(source, faults.split, random);
  let hasStarted = false;
  let cancelSource = (): void => undefined;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const onAbort = (): void => {
          gone.abort(signal.reason);
          controller.error(signal.reason);
        };
        signal.addEventListener('abort', onAbort);
        cancelSource = () => signal.removeEventListener('abort', onAbort);
      },
      async pull(controller) {
        try {
          const { done, value } = await source.next();
          if (gone.signal.aborted) return;
          if (done) {
            cancelSource();
            controller.close();
            return;
          }
          if (!hasStarted) onFirstByte?.();
          hasStarted = true;
          controller.enqueue(value);
        } catch (error) {
          cancelSource();
          if (!gone.signal.aborted) controller.error(error);
        }
      },
      cancel(reason) {
        cancelSource();
        gone.abort(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
