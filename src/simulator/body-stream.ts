import type { Faults } from './faults.ts';
import { pause, silence } from './pause.ts';
import type { Random } from './random/digest.ts';

/** A piece of a body: an event, or a whole JSON answer. */
export interface BodyPart {
  text: string;
  /** The tokens that it took to write it. */
  tokens: number;
  /** Whether the first content begins here: the time to the first token passes before it. */
  isFirstContent: boolean;
}

/** How fast a body comes. */
export interface Pace {
  /** Milliseconds. */
  ttftMs: number;
  /** 0 is as fast as it goes. */
  tokensPerSecond: number;
}

const encoder = new TextEncoder();
/** Parts that are due at the same time are joined up to this length, in UTF-16 units. */
const longestChunk = 65_536;
/** The API says in a long silence that it is still there. */
const pingEveryMs = 10_000;
const ping = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Texts that are due now; an empty one is a point at which what was joined so far has to be sent. */
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
      await pause(Math.min(left, pingEveryMs), signal);
      if (left > pingEveryMs && !isFirst) yield ping;
    }
    yield text;
    isFirst = false;
    if (faults.flush) {
      yield '';
      await pause(0, signal);
    }
  }
}

/** The parts as a fault in the number of events lets them through. */
function* faultyParts(parts: Iterable<BodyPart>, faults: Faults): Generator<BodyPart | 'cut' | 'silence'> {
  const { cutEvents, endEvents, silenceAfter, malformed } = faults;
  let count = 0;
  for (const part of parts) {
    if (count === cutEvents) return yield 'cut';
    if (count === endEvents) return;
    if (count === silenceAfter) return yield 'silence';
    count++;
    yield count === malformed ? { ...part, text: broken(part.text) } : part;
  }
  if (cutEvents !== undefined && count === cutEvents) yield 'cut';
  if (silenceAfter !== undefined && count === silenceAfter) yield 'silence';
}

/** An event, or JSON, whose object is not closed. */
function broken(text: string): string {
  const end = text.endsWith('\n\n') ? '\n\n' : '';
  const start = Math.max(0, text.indexOf('{'));
  return text.slice(0, start + Math.max(1, Math.floor((text.length - start) / 2))) + end;
}

/** What a caller sees of a connection that broke. */
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
    for (const part of faultyParts(parts, faults)) {
      if (typeof part === 'string') fate = part;
      else yield part;
    }
  }
  let joined = '';
  for await (const text of paced(upToFate(), pace, faults, signal)) {
    joined += text;
    if (joined !== '' && (text === '' || joined.length >= longestChunk)) {
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
  { cutBytes, endBytes }: Faults,
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
 * A body that comes at the given pace and breaks where the faults say. Nothing is made before it is asked for, and what was
 * made is read before an error is seen; it stops when its reader leaves or the signal aborts.
 * @param onFirstByte is called before the first bytes are handed out.
 */
export function bodyStream(
  parts: Iterable<BodyPart>,
  pace: Pace,
  faults: Faults,
  random: Random,
  request: AbortSignal,
  onFirstByte: () => void,
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  let source = upToByte(chunks(parts, pace, faults, gone.signal), faults);
  if (faults.split !== undefined) source = divided(source, faults.split, random);
  let hasStarted = false;
  let leave = (): void => undefined;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const onAbort = (): void => {
          gone.abort(request.reason);
          controller.error(request.reason);
        };
        request.addEventListener('abort', onAbort);
        leave = () => request.removeEventListener('abort', onAbort);
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
          if (!hasStarted) onFirstByte();
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
