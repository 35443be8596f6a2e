import { pause } from '../async/pause.ts';
import { ApiError } from '../http/errors.ts';

/** An object's methods as they are called from outside. (The platform's own type splits promises of unions.) */
export type Remote<T> = {
  [Method in keyof T]: T[Method] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** The message of the error for each kind of object that cannot be reached. */
const UNREACHABLE = {
  account: 'The account could not be reached. Try again in a moment.',
  batch: 'The batch could not be reached. Try again in a moment.',
  classification: 'The classification could not be reached. Try again in a moment.',
  conversation: 'The conversation could not be reached. Try again in a moment.',
  inbox: 'The inbox of this source could not be reached. Send it again in a moment.',
  pool: 'A budget that this account shares could not be reached. Try again in a moment.',
} as const;

type ObjectName = keyof typeof UNREACHABLE;

/** The 503 for an object that could not be reached. Its `cause` is what the last call has thrown. */
export class ObjectUnreachable extends ApiError {
  constructor(object: ObjectName, cause: unknown) {
    super('api_error', UNREACHABLE[object], {
      status: 503,
      headers: { 'retry-after': '1' },
      logged: `${object}_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`,
      cause,
    });
  }
}

/** Pauses before a call is made again, on average. A caller waits for one; what must not be lost is tried for seconds. */
const PAUSES_MS = { usual: [50], persistent: [50, 200, 400, 800, 1_600] } as const;

/**
 * Calls an object, and again if the call was lost on the way: for calls that may be repeated.
 *
 * @param call makes the call by a stub that has not thrown: one that has stays broken
 * @param persistence `usual` makes a second call where the platform says that it may succeed; `persistent` makes up to
 * six, whatever is thrown
 * @param onThrown is told of each call that has thrown, before the next one
 * @throws ObjectUnreachable after the last call
 */
export async function callObject<T>(
  object: ObjectName,
  call: () => Promise<T>,
  persistence: keyof typeof PAUSES_MS = 'usual',
  onThrown?: () => void,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (thrown) {
      onThrown?.();
      const pauseMs = PAUSES_MS[persistence][attempt];
      const mayHelp = persistence === 'persistent' || isRetryable(thrown);
      if (pauseMs === undefined || !mayHelp) throw new ObjectUnreachable(object, thrown);
      // Not the same for all: those who were lost together must not come back together.
      await pause(pauseMs * (0.5 + Math.random()));
    }
  }
}

function isRetryable(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown }).retryable === true && !isOverloaded(thrown);
}

/** @returns whether an object has too much to do: it was not reached, and must be left alone. */
export function isOverloaded(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
}
