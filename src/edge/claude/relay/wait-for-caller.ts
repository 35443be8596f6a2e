/**
 * Waits until a caller has taken what was written. A write to a caller that has stopped reading may never end, and meanwhile
 * the request would occupy its upstream, its hold and its place among the concurrent requests.
 *
 * @param connection the side of the stream that was written to. It is broken if the caller takes too long
 * @throws Error if the caller takes too long, or the error of the write
 */
export async function waitForCaller<T>(
  written: Promise<T>,
  connection: Pick<WritableStream, 'abort'>,
  milliseconds: number,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const giveUp = () => {
    const stalled = new Error('The caller stopped reading before the response ended.');
    late.reject(stalled);
    connection.abort(stalled).catch(() => undefined);
  };
  const timer = setTimeout(giveUp, milliseconds);
  try {
    return await Promise.race([written, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
