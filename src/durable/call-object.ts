import { pause } from '../async/pause.ts';
import type { ApiError } from '../http/errors.ts';

/** An object's methods as they are called from outside. (The platform's own type splits promises of unions.) */
export type Remote<T> = {
  [Method in keyof T]: T[Method] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** Before a call that was lost is made again. */
const LONGEST_PAUSE_MS = 100;

/**
 * Calls an object, a second time if the call was lost on the way: for calls that may be repeated.
 *
 * @param call makes the call by a stub that has not thrown: one that has stays broken
 * @param unreachable makes the error of a call that did not succeed
 * @throws ApiError what `unreachable` makes
 */
export async function callObject<T>(call: () => Promise<T>, unreachable: (cause: unknown) => ApiError): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    if (!isRetryable(thrown)) throw unreachable(thrown);
  }
  await pause(LONGEST_PAUSE_MS * Math.random());
  try {
    return await call();
  } catch (thrown) {
    throw unreachable(thrown);
  }
}

function isRetryable(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown }).retryable === true && !isOverloaded(thrown);
}

/** @returns whether an object has too much to do: it was not reached, and is left alone. */
export function isOverloaded(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
}
