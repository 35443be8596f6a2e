/** Carries the rest of a stream down. The native pipe carries the bytes where it can, and usage is read from a copy. */

import type { IdleTimeout } from '../../kit/async/idle-timeout.ts';
import { NO_BYTES } from '../../kit/http/bytes.ts';
import type { UsageReader } from '../usage/usage-reader.ts';
import type { ErrorMask } from './error-mask.ts';
import { gather } from './gather.ts';
import { type Piece, readTee, SMALL_PIECE_BYTES } from './tee-reader.ts';

/**
 * Milliseconds between two reads of the copy. One read takes everything that has come meanwhile, and each read wakes the
 * isolate. Nobody has to wait for this, since the end of the pipe ends the pause.
 */
export const LAZY_WAIT_MS = 200;
/**
 * How many reads of the copy may still bring bytes after the pipe broke. If the upstream broke, there are at most two: one
 * that was already waiting, and one for what came since. If there are more, the upstream goes on, so the caller is gone. A
 * clock could not decide this, because a busy runtime may pause anywhere for any time.
 */
const READS_BEHIND_BREAK = 2;
/** How often, and for how many milliseconds each time, to wait for a copy that neither brings bytes nor ends. */
const COPY_WAITS = 20;
const COPY_WAIT_MS = 50;

/** What the rest of a stream is carried by. */
interface Carriage {
  writable: WritableStream<Uint8Array>;
  usage: UsageReader;
  mask: ErrorMask | undefined;
  watchdog: IdleTimeout;
  /** Called when the caller has left. The stream is read on. @returns a promise that settles when it is no more */
  onLeft(): Promise<void>;
}

/**
 * Carries the rest of a stream down. It is gathered while it is dense; otherwise the native pipe carries it.
 *
 * @returns whether the caller has stayed
 * @throws the error that broke a gathered stream, after everything that came before it
 */
export async function carryDown(
  body: ReadableStream<Uint8Array>,
  density: 'dense' | 'sparse',
  carriage: Carriage,
): Promise<boolean> {
  const { writable, usage, mask, watchdog, onLeft } = carriage;
  const carrySparse = (stream: ReadableStream<Uint8Array>) =>
    mask ? carryMasked(stream, mask, carriage) : carryNatively(stream, carriage);
  if (density === 'sparse') return await carrySparse(body);
  const writer = writable.getWriter();
  const gathered = await gather(body, {
    take(piece) {
      watchdog.touch();
      usage.push(piece);
      const bytes = mask ? mask.pass(piece) : piece;
      return bytes.length > 0 ? writer.write(bytes) : Promise.resolve();
    },
    onWait: (waits) => (waits ? watchdog.pause() : watchdog.touch()),
    onLeft,
  }).finally(() => writer.releaseLock());
  if (typeof gathered === 'string') return gathered === 'ended';
  return await carrySparse(gathered.sparse);
}

/**
 * Carries the rest of a stream piece by piece, so that its errors can be masked. The next piece is read once the one before is
 * on its way down.
 *
 * @returns whether the caller has stayed
 * @throws the error that broke the stream
 */
async function carryMasked(
  body: ReadableStream<Uint8Array>,
  mask: ErrorMask,
  { writable, usage, watchdog, onLeft }: Carriage,
): Promise<boolean> {
  const reader = body.getReader({ mode: 'byob' });
  const writer = writable.getWriter();
  let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let isThere = true;
  try {
    for (;;) {
      const { value, done }: Piece = await reader.read(new Uint8Array(buffer));
      if (done || !value) return isThere;
      buffer = value.buffer as ArrayBuffer;
      watchdog.touch();
      usage.push(value);
      const bytes: Uint8Array = isThere ? mask.pass(value) : NO_BYTES;
      if (bytes.length === 0) continue;
      watchdog.pause();
      isThere = await writer.write(bytes).then(
        () => true,
        () => false,
      );
      watchdog.touch();
      if (!isThere) void onLeft().then(() => reader.cancel().catch(ignoreGone));
    }
  } catch (thrown) {
    if (isThere) throw thrown;
    return false;
  } finally {
    writer.releaseLock();
  }
}

/**
 * Carries the rest of a stream by the native pipe.
 *
 * @returns whether the caller has stayed
 */
async function carryNatively(
  body: ReadableStream<Uint8Array>,
  { writable, usage, watchdog, onLeft }: Carriage,
): Promise<boolean> {
  const [down, copy] = body.tee();
  const pipe = down.pipeTo(writable, { preventClose: true, preventAbort: true }).then(
    () => true,
    () => false,
  );
  let hasBroken = false;
  let readsBehind = 0;
  let goesOn: () => void = () => {};
  const abandoned = new Promise<false>((resolve) => {
    goesOn = () => resolve(false);
  });
  // The bytes so far must be seen before the stream can count as silent.
  const waitMs = Math.min(LAZY_WAIT_MS, watchdog.limitMs / 4);
  const reader = copy.getReader({ mode: 'byob' });
  const reading = readCopy(reader, usage, pipe, waitMs, (isAll) => {
    watchdog.touch(Date.now());
    if (hasBroken && isAll) readsBehind += 1;
    if (readsBehind > READS_BEHIND_BREAK) goesOn();
  });
  const isCarried = await pipe;
  hasBroken = !isCarried;
  if (await (isCarried ? reading : Promise.race([reading, abandoned, wait()]))) return true;
  await Promise.race([reading, onLeft()]);
  reader.cancel().catch(ignoreGone);
  return false;
}

/**
 * Reads the copy of a stream to its end.
 *
 * @returns true at the end. It never rejects: a copy that breaks counts as ended there
 */
async function readCopy(
  copy: ReadableStreamBYOBReader,
  usage: UsageReader,
  pipe: Promise<boolean>,
  waitMs: number,
  onPiece: (isAll: boolean) => void,
): Promise<boolean> {
  try {
    await readTee(copy, pipe, waitMs, (piece, isAll, since) => {
      onPiece(isAll);
      usage.push(piece, false, Date.now(), since);
      return false;
    });
  } catch {
    // Nothing to do: the reader has seen no end, which shows the break.
  }
  return true;
}

/** Waits for a copy in several short pauses. After each pause, new bytes can be read first. */
async function wait(): Promise<false> {
  for (let turn = 0; turn < COPY_WAITS; turn += 1) await scheduler.wait(COPY_WAIT_MS);
  return false;
}

/** Ignores the error of writing to a caller that has left meanwhile. */
export function ignoreGone(): void {}
