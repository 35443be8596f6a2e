import type { Faults } from './faults.ts';
import { pause, waitForAbort } from './pause.ts';
import type { Random } from './random/digest.ts';
import { encoder } from './text/utf8.ts';

/** A piece of a body: an event, or a whole JSON answer. */
export interface BodyPart {
  text: string;
  tokens: number;
  /** Whether the first content starts here. The time to the first token passes before it. */
  isFirstContent: boolean;
}

/** How a body breaks, and who reads it. */
interface BodyOptions {
  faults: Faults;
  random: Random;
  /** Aborted when the reader has left. */
  signal: AbortSignal;
  /** Called before the first bytes are handed out. */
  onFirstByte?(): void;
}

export interface Pace {
  /** Milliseconds to the first token. */
  ttftMs: number;
  /** Tokens per second; 0 is as fast as possible. */
  tokensPerSecond: number;
}

/** Parts that are due at the same time are joined to chunks of at most this length, in UTF-16 units. */
const MAX_CHUNK_CHARACTERS = 65_536;
/** The API sends a ping when it is idle for long. */
const PING_INTERVAL_MS = 10_000;
const OVERLOADED =
  'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n';
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Yields texts when they are due. An empty text means: send now what was joined so far. */
async function* paceParts(
  parts: Iterable<BodyPart>,
  pace: Pace,
  faults: Faults,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let due = Date.now();
  let isFirst = true;
  for (const { text, tokens, isFirstContent } of parts) {
    if (isFirstContent) due += pace.ttftMs;
    if (tokens > 0 && pace.tokensPerSecond > 0) due += (tokens / pace.tokensPerSecond) * 1000;
    for (let left = due - Date.now(); left >= 1; left = due - Date.now()) {
      yield '';
      await pause(Math.min(left, PING_INTERVAL_MS), signal);
      if (left > PING_INTERVAL_MS && !isFirst) yield PING;
    }
    yield text;
    isFirst = false;
    if (faults.flush) {
      yield '';
      await pause(0, signal);
    }
  }
}

/** Yields the parts until a fault that counts events ends or breaks them. @returns what happens to the body then */
function* applyEventFaults(
  parts: Iterable<BodyPart>,
  faults: Faults,
): Generator<BodyPart, 'cut' | 'silence' | undefined> {
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
class ConnectionInterrupted extends TypeError {
  constructor() {
    super('terminated: the simulator cut the connection');
  }
}

async function* createChunks(
  parts: Iterable<BodyPart>,
  pace: Pace,
  faults: Faults,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let fate: 'cut' | 'silence' | undefined;
  function* yieldUntilFault(): Generator<BodyPart> {
    fate = yield* applyEventFaults(parts, faults);
  }
  let joined = '';
  for await (const text of paceParts(yieldUntilFault(), pace, faults, signal)) {
    joined += text;
    if (joined !== '' && (text === '' || joined.length >= MAX_CHUNK_CHARACTERS)) {
      yield encoder.encode(joined);
      joined = '';
    }
  }
  if (joined !== '') yield encoder.encode(joined);
  if (fate === 'cut') throw new ConnectionInterrupted();
  if (fate === 'silence') await waitForAbort(signal);
}

async function* applyByteFaults(
  source: AsyncGenerator<Uint8Array>,
  { 'cut-bytes': cutBytes, 'end-bytes': endBytes }: Faults,
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
  if (isCut && left <= 0) throw new ConnectionInterrupted();
}

async function* splitChunks(
  source: AsyncGenerator<Uint8Array>,
  split: number | 'random',
  random: Random,
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
  parts: Iterable<BodyPart>,
  pace: Pace,
  options: BodyOptions,
): ReadableStream<Uint8Array> {
  return createByteStream((cancelSignal) => createChunks(parts, pace, options.faults, cancelSignal), options);
}

/**
 * Makes a body of chunks, which breaks where the faults that count bytes say. Chunks are made only when they are read, and
 * others have their turn after each.
 */
export function createChunkStream(
  source: AsyncGenerator<Uint8Array>,
  options: BodyOptions,
): ReadableStream<Uint8Array> {
  async function* yieldChunks(cancelSignal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      yield chunk;
      await pause(0, cancelSignal);
    }
  }
  return createByteStream(yieldChunks, options);
}

function createByteStream(
  chunksFor: (cancelSignal: AbortSignal) => AsyncGenerator<Uint8Array>,
  { faults, random, signal, onFirstByte }: BodyOptions,
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  let source = applyByteFaults(chunksFor(gone.signal), faults);
  if (faults.split !== undefined) source = splitChunks(source, faults.split, random);
  let hasStarted = false;
  let abandon = (): void => undefined;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const onAbort = (): void => {
          gone.abort(signal.reason);
          controller.error(signal.reason);
        };
        signal.addEventListener('abort', onAbort);
        abandon = () => signal.removeEventListener('abort', onAbort);
      },
      async pull(controller) {
        try {
          const { done, value } = await source.next();
          if (gone.signal.aborted) return;
          if (done) {
            abandon();
            controller.close();
            return;
          }
          if (!hasStarted) onFirstByte?.();
          hasStarted = true;
          controller.enqueue(value);
        } catch (error) {
          abandon();
          if (!gone.signal.aborted) controller.error(error);
        }
      },
      cancel(reason) {
        abandon();
        gone.abort(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
