import { timedOut } from './failure.ts';

/**
 * Makes one try of a call. If its headers come too late, this try alone is aborted, so that another one can follow.
 *
 * @param ms undefined if only `signal` ends the try
 * @throws UpstreamFailure 504 when they come too late
 */
export async function headersWithin(
  ms: number | undefined,
  signal: AbortSignal,
  call: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  if (ms === undefined) return await call(signal);
  const own = new AbortController();
  const timer = setTimeout(() => own.abort(timedOut()), ms);
  try {
    return await call(AbortSignal.any([signal, own.signal]));
  } finally {
    clearTimeout(timer);
  }
}
