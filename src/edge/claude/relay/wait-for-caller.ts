import { waitWithTimeout } from '../../kit/async/timeout.ts';

/**
 * Waits until a caller has taken what was written. A write to a caller that has stopped reading may never end, and meanwhile
 * the request would occupy its upstream, its hold and its place among the concurrent requests.
 *
 * @param connection the side of the stream that was written to. It is broken if the write fails or takes too long
 * @throws Error if the caller takes too long, or the error of the write
 */
export async function waitForCaller<T>(
  written: Promise<T>,
  connection: Pick<WritableStream, 'abort'>,
  milliseconds: number,
): Promise<T> {
  try {
    return await waitWithTimeout(written, milliseconds);
  } catch (thrown) {
    connection.abort(thrown).catch(() => undefined);
    throw thrown;
  }
}
