/**
 * Waits for work until a signal is aborted. The work itself continues, unless it observes the signal.
 *
 * @throws the reason of the signal, or the error of the work
 */
export async function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const rejectAsAborted = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', rejectAsAborted, { once: true });
  if (signal.aborted) rejectAsAborted();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', rejectAsAborted);
  }
}
