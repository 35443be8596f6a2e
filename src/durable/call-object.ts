import { pause } from '../async/pause.ts';
import { ApiError } from '../http/errors.ts';

/** An object's methods as others call them. (The platform's own type splits promises of unions.) */
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

export type ObjectName = keyof typeof UNREACHABLE;

/** The 503 for an object that could not be reached. Its `cause` is the error of the last call. */
export class ObjectUnreachable extends ApiError {
  /** Whether one of the calls may have done its work, although its answer was lost. */
  readonly mayHaveRun: boolean;

  constructor(object: ObjectName, cause: unknown, mayHaveRun = true) {
    super('api_error', UNREACHABLE[object], {
      status: 503,
      headers: { 'retry-after': '1' },
      logged: `${object}_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`,
      cause,
    });
    this.mayHaveRun = mayHaveRun;
  }
}

/**
 * The average pauses before a call is repeated; milliseconds. `usual` has one, because a caller waits; `persistent` has
 * more.
 */
const PAUSES_MS = { usual: [50], persistent: [50, 200, 400, 800, 1_600] } as const;

/**
 * Calls an object, and again if the call was lost. Only for calls that may be repeated.
 *
 * @param call makes the call by a new stub, because a stub that has thrown stays broken
 * @param persistence `usual` makes a second call if the platform says that it may succeed; `persistent` makes up to six,
 * after
 *   any error
 * @param onThrown called with the error of each failed call, before the next one
 * @throws ObjectUnreachable after the last call
 */
export async function callObject<T>(
  object: ObjectName,
  call: () => Promise<T>,
  persistence: keyof typeof PAUSES_MS = 'usual',
  onThrown?: () => void,
): Promise<T> {
  let mayHaveRun = false;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (thrown) {
      onThrown?.();
      mayHaveRun ||= !isOverloaded(thrown);
      const pauseMs = PAUSES_MS[persistence][attempt];
      const mayHelp = persistence === 'persistent' || isRetryable(thrown);
      if (pauseMs === undefined || !mayHelp) throw new ObjectUnreachable(object, thrown, mayHaveRun);
      // The pauses are random, so that calls that were lost together do not come back together.
      await pause(pauseMs * (0.5 + Math.random()));
    }
  }
}

/** @returns a function that calls objects of a kind as `callObject` does. @param stub makes a new stub */
export function callerOf<Place, Called>(object: ObjectName, stub: (place: Place) => unknown) {
  return async <T>(
    place: Place,
    call: (object: Remote<Called>) => Promise<T>,
    persistence?: keyof typeof PAUSES_MS,
  ): Promise<T> => await callObject(object, () => call(stub(place) as Remote<Called>), persistence);
}

function isRetryable(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown }).retryable === true && !isOverloaded(thrown);
}

/** @returns whether an object is overloaded. Then the call did not reach it, and must not be repeated. */
export function isOverloaded(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
}
