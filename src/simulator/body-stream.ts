import type { Faults } from './faults.ts';
import { pause, silence } from './pause.ts';
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
const LONGEST_CHUNK = 65_536;
/** The API sends a ping when it is idle for long. */
const PING_EVERY_MS = 10_000;
const OVERLOADED =
  'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n';
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Yields texts when they are due. An empty text means: send now what was joined so far. */
async function* paced(
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
      await pause(Math.min(left, PING_EVERY_MS), signal);
      if (left > PING_EVERY_MS && !isFirst) yield PING;
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
function* faultyParts(parts: Iterable<BodyPart>, faults: Faults): Generator<BodyPart, 'cut' | 'silence' | undefined> {
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
    yield count === malformed ? { ...part, text: broken(part.text) } : part;
  }
  if (count === cutEvents) return 'cut';
  return count === silenceAfter ? 'silence' : undefined;
}

/** @returns an event or JSON whose object is not closed */
function broken(text: string): string {
  const end = text.endsWith('\n\n') ? '\n\n' : '';
  const start = Math.max(0, text.indexOf('{'));
  return text.slice(0, start + Math.max(1, Math.floor((text.length - start) / 2))) + end;
}

/** The error that a caller sees when a connection is interrupted. */
class ConnectionCut extends TypeError {
  constructor() {
    super('terminated: the simulator cut the connection');
  }
}

async function* chunks(
  parts: Iterable<BodyPart>,
  pace: Pace,
  faults: Faults,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let fate: 'cut' | 'silence' | undefined;
  function* upToFate(): Generator<BodyPart> {
    fate = yield* faultyParts(parts, faults);
  }
  let joined = '';
  for await (const text of paced(upToFate(), pace, faults, signal)) {
    joined += text;
    if (joined !== '' && (text === '' || joined.length >= LONGEST_CHUNK)) {
      yield encoder.encode(joined);
      joined = '';
    }
  }
  if (joined !== '') yield encoder.encode(joined);
  if (fate === 'cut') throw new ConnectionCut();
  if (fate === 'silence') await silence(signal);
}

async function* upToByte(
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
  if (isCut && left <= 0) throw new ConnectionCut();
}

async function* divided(
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
export function bodyStream(parts: Iterable<BodyPart>, pace: Pace, options: BodyOptions): ReadableStream<Uint8Array> {
  return streamOf((gone) => chunks(parts, pace, options.faults, gone), options);
}

/**
 * Makes a body of chunks, which breaks where the faults that count bytes say. Chunks are made only when they are read, and
 * others have their turn after each.
 */
export function chunkStream(source: AsyncGenerator<Uint8Array>, options: BodyOptions): ReadableStream<Uint8Array> {
  async function* inTurn(gone: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      yield chunk;
      await pause(0, gone);
    }
  }
  return streamOf(inTurn, options);
}

function streamOf(
  chunksFor: (gone: AbortSignal) => AsyncGenerator<Uint8Array>,
  { faults, random, signal, onFirstByte }: BodyOptions,
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  let source = upToByte(chunksFor(gone.signal), faults);
  if (faults.split !== undefined) source = divided(source, faults.split, random);
  let hasStarted = false;
  let leave = (): void => undefined;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const onAbort = (): void => {
          gone.abort(signal.reason);
          controller.error(signal.reason);
        };
        signal.addEventListener('abort', onAbort);
        leave = () => signal.removeEventListener('abort', onAbort);
      },
      async pull(controller) {
        try {
          const { done, value } = await source.next();
          if (gone.signal.aborted) return;
          if (done) {
            leave();
            controller.close();
            return;
          }
          if (!hasStarted) onFirstByte?.();
          hasStarted = true;
          controller.enqueue(value);
        } catch (error) {
          leave();
          if (!gone.signal.aborted) controller.error(error);
        }
      },
      cancel(reason) {
        leave();
        gone.abort(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
