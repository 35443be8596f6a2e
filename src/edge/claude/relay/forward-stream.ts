/** Forwards the rest of a stream. The native pipe forwards the bytes if possible, and usage is read from a copy. */

import type { IdleTimeout } from '../../kit/async/idle-timeout.ts';
import { NO_BYTES } from '../../kit/http/bytes.ts';
import type { UsageReader } from '../usage/usage-reader.ts';
import type { StreamErrorMasker } from './error-mask.ts';
import { readTeeCopyToEnd, SMALL_PIECE_BYTES, type StreamReadResult } from './tee-reader.ts';
import { waitForCaller } from './wait-for-caller.ts';

/**
 * Milliseconds between two reads of the copy. One read takes everything that has arrived meanwhile, and each read wakes the
 * isolate. The pause delays nothing, because the end of the pipe ends it.
 */
export const COPY_READ_INTERVAL_MS = 200;
/**
 * How many reads of the copy may still bring bytes after the pipe broke. If the upstream broke, there are at most two: one that
 * was already waiting, and one for what came since. If there are more, the upstream is still sending, so it is the caller that
 * has disconnected. A clock could not decide this, because a busy runtime may pause anywhere for any time.
 */
const MAX_READS_AFTER_BREAK = 2;
/** How often, and for how many milliseconds each time, to wait for a copy that neither brings bytes nor ends. */
const COPY_WAITS = 20;
const COPY_WAIT_MS = 50;

/** The context in which the rest of a stream is forwarded. */
interface ForwardContext {
  writable: WritableStream<Uint8Array>;
  usage: UsageReader;
  mask: StreamErrorMasker | undefined;
  watchdog: IdleTimeout;
  /** Aborted when the caller has left. */
  signal: AbortSignal;
  /** Called when the caller has left. The stream is read on. @returns a promise that settles when it is no more */
  onCallerLeft(): Promise<void>;
}

/** How forwarding has ended. */
interface ForwardResult {
  /** Whether everything that the upstream sent was read. False if the caller has left or has stopped reading. */
  isRead: boolean;
  /** Settles when the caller has everything that was read. Until then, the pipe has locked the writable side. Never rejects. */
  delivered?: Promise<unknown>;
}

/**
 * Forwards the rest of a stream to the caller. If the caller disconnected before the headers, the written bytes are never read,
 * and a native pipe would not end.
 *
 * @throws the error that broke a stream that was forwarded piece by piece, after everything that arrived before it
 */
export async function forwardStream(body: ReadableStream<Uint8Array>, context: ForwardContext): Promise<ForwardResult> {
  const isByPieces = context.mask !== undefined || context.signal.aborted;
  if (!isByPieces) return await forwardStreamByNativePipe(body, context);
  return { isRead: await forwardStreamByPieces(body, context) };
}

/**
 * Forwards the rest of a stream piece by piece, so that its errors can be masked, or so that nothing is forwarded to a caller
 * that has disconnected. The next piece is read once the one before has been written. A caller that reads nothing for as long
 * as an upstream may be silent counts as disconnected.
 *
 * @returns whether the caller is still connected
 * @throws the error that broke the stream
 */
async function forwardStreamByPieces(
  body: ReadableStream<Uint8Array>,
  { writable, usage, mask, watchdog, signal, onCallerLeft }: ForwardContext,
): Promise<boolean> {
  const reader = body.getReader({ mode: 'byob' });
  let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let isConnected = !signal.aborted;
  const drainUpstreamForUsage = () => void onCallerLeft().then(() => reader.cancel().catch(ignoreCallerGone));
  if (!isConnected) drainUpstreamForUsage();
  try {
    for (;;) {
      const { value, done }: StreamReadResult = await reader.read(new Uint8Array(buffer));
      if (done || !value) return isConnected;
      buffer = value.buffer as ArrayBuffer;
      watchdog.restartIdleTime();
      usage.addPiece(value);
      const bytes: Uint8Array = isConnected && mask ? mask.maskPiece(value) : NO_BYTES;
      if (bytes.length === 0) continue;
      watchdog.pauseUntilTouched();
      isConnected = await waitForCaller(writePiece(writable, bytes), writable, watchdog.idleLimitMs).catch(() => false);
      watchdog.restartIdleTime();
      if (!isConnected) drainUpstreamForUsage();
    }
  } catch (thrown) {
    if (isConnected) throw thrown;
    return false;
  }
}

/**
 * Writes a piece. It releases the lock of the stream at once, because the runtime never releases it if the caller has
 * disconnected.
 *
 * @returns whether the caller is still connected
 */
export async function writePiece(writable: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<boolean> {
  const writer = writable.getWriter();
  const written = writer.write(bytes).then(
    () => true,
    () => false,
  );
  writer.releaseLock();
  return await written;
}

/**
 * Forwards the rest of a stream by the native pipe. The runtime buffers the bytes that the copy has already read for a slow
 * caller. So a caller that stops reading delays neither the end of the upstream's stream nor what depends on it, such as the
 * hold.
 */
async function forwardStreamByNativePipe(
  body: ReadableStream<Uint8Array>,
  { writable, usage, watchdog, onCallerLeft }: ForwardContext,
): Promise<ForwardResult> {
  const [forCaller, copy] = body.tee();
  const pipe = forCaller.pipeTo(writable, { preventClose: true, preventAbort: true }).then(
    () => true,
    () => false,
  );
  let hasBroken = false;
  let readsAfterBreak = 0;
  let abandonCopy: () => void = () => {};
  const abandoned = new Promise<false>((resolve) => {
    abandonCopy = () => resolve(false);
  });
  // Read the copy several times within the idle limit, so that received bytes count before the stream is considered silent.
  const waitMs = Math.min(COPY_READ_INTERVAL_MS, watchdog.idleLimitMs / 4);
  const reader = copy.getReader({ mode: 'byob' });
  const reading = readStreamCopyForUsage(reader, usage, pipe, waitMs, (hasReadAll) => {
    watchdog.restartIdleTime(Date.now());
    if (hasBroken && hasReadAll) readsAfterBreak += 1;
    if (readsAfterBreak > MAX_READS_AFTER_BREAK) abandonCopy();
  });
  const isForwarded = await Promise.race([pipe, reading]);
  hasBroken = !isForwarded;
  if (await (isForwarded ? reading : Promise.race([reading, abandoned, waitForCopyTimeout()])))
    return { isRead: true, delivered: pipe };
  await Promise.race([reading, onCallerLeft()]);
  reader.cancel().catch(ignoreCallerGone);
  return { isRead: false };
}

/**
 * Reads the copy of a stream to its end.
 *
 * @returns true at the end. It never rejects: a copy that breaks counts as ended there
 */
async function readStreamCopyForUsage(
  copy: ReadableStreamBYOBReader,
  usage: UsageReader,
  pipe: Promise<boolean>,
  waitMs: number,
  onPiece: (hasReadAll: boolean) => void,
): Promise<boolean> {
  try {
    await readTeeCopyToEnd(copy, pipe, waitMs, (piece, hasReadAll, since) => {
      onPiece(hasReadAll);
      usage.addPiece(piece, false, Date.now(), since);
      return false;
    });
  } catch {
    // Ignore the error: the usage reader has not seen the end of the stream, so the report shows that the stream broke.
  }
  return true;
}

/** Waits for a copy in several short pauses. After each pause, new bytes can be read first. */
async function waitForCopyTimeout(): Promise<false> {
  for (let turn = 0; turn < COPY_WAITS; turn += 1) await scheduler.wait(COPY_WAIT_MS);
  return false;
}

/** Ignores the error of writing to a caller that has left meanwhile. */
export function ignoreCallerGone(): void {}
