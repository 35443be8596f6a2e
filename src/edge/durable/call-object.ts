import { pause } from '../kit/async/pause.ts';
import { ApiError, createRetryAfterHeader, DISK_FULL_MESSAGE, isDiskFullMessage } from '../kit/http/errors.ts';

/** An object's methods as others call them. (The platform's own type splits promises of unions.) */
export type RemoteMethods<T> = {
  [Method in keyof T]: T[Method] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

/** @returns the same stub, with the methods of its object's contract. Cloudflare's type of a stub cannot be compared with it. */
export function toRemoteMethods<T>(stub: object): RemoteMethods<T> {
  return stub as RemoteMethods<T>;
}

/** What each kind of object is called in the error of one that cannot be reached. */
const OBJECT_TITLES = {
  account: 'The account',
  batch: 'The batch',
  conversation: 'The conversation',
  inbox: 'The inbox of this source',
  pool: 'A budget that this account shares',
} as const;
/**
 * The platform's error for an object whose database cannot be read. Its first form can also occur for an intact file, at each
 * call.
 */
const UNREADABLE_DATABASE = /^internal error; reference|SQLITE_(?:CORRUPT|NOTADB)/;

/** Milliseconds after a report of a full disk in which an object that cannot be opened is not considered damaged. */
const DISK_FULL_MS = 60_000;
let diskFullAt = Number.NEGATIVE_INFINITY;

/** @returns why an object cannot be reached */
function classifyUnreachableObject(message: string, isPassing: boolean): 'full' | 'damaged' | 'lost' {
  if (isDiskFullMessage(message)) diskFullAt = Date.now();
  const isUnopened = UNREADABLE_DATABASE.test(message) && !isPassing;
  if (isDiskFullMessage(message) || (isUnopened && Date.now() - diskFullAt < DISK_FULL_MS)) return 'full';
  return isUnopened ? 'damaged' : 'lost';
}

export type DurableObjectName = keyof typeof OBJECT_TITLES;

/** The 503 for an object that could not be reached, or the 500 for one that cannot be opened. Its `cause` is the error of the last call. */
export class ObjectUnreachableError extends ApiError {
  /** Whether one of the calls may have done its work, although its answer was lost. */
  readonly mayHaveRun: boolean;
  /** What was said of its damaged file. */
  readonly damage: string | undefined;

  constructor(object: DurableObjectName, cause: unknown, mayHaveRun = true) {
    const message = cause instanceof Error ? cause.message : 'unknown';
    const why = classifyUnreachableObject(message, isRetryableCallError(cause));
    const words = {
      damaged: {
        sentence:
          'cannot be opened. If this persists, its stored data is damaged, and the operator must restore it from a backup (see the runbook).',
        logged: `${object}_damaged: ${message}`,
      },
      full: {
        sentence: DISK_FULL_MESSAGE,
        logged: `disk_full: ${message}`,
      },
      lost: {
        sentence: 'could not be reached. Try again in a moment.',
        logged: `${object}_unreachable: ${message}`,
      },
    }[why];
    super('api_error', `${OBJECT_TITLES[object]} ${words.sentence}`, {
      status: why === 'damaged' ? 500 : 503,
      // Do not send `x-should-retry: false` for a damaged object: the platform's error may be temporary, so let clients retry
      // this 500 like any other.
      headers: why === 'damaged' ? {} : createRetryAfterHeader(),
      logged: words.logged,
      cause,
    });
    this.mayHaveRun = mayHaveRun;
    this.damage = why === 'damaged' ? message : undefined;
  }
}

/**
 * The average pauses before a call is repeated; milliseconds. `usual` has one, because a caller waits; `persistent` has more.
 */
const PAUSES_MS = { usual: [50], persistent: [50, 200, 400, 800, 1_600] } as const;

/**
 * Calls an object, and again if the call was lost. Only for calls that may be repeated.
 *
 * @param call makes the call by a new stub, because a stub that has thrown stays broken
 * @param persistence `usual` makes a second call if the platform says that it may succeed; `persistent` makes up to six,
 *   after any error
 * @param onThrown called with the error of each failed call, before the next one
 * @throws ObjectUnreachableError after the last call
 */
export async function callObjectWithRetry<T>(
  object: DurableObjectName,
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
      mayHaveRun ||= !isOverloadedObjectError(thrown);
      const pauseMs = PAUSES_MS[persistence][attempt];
      const mayHelp = persistence === 'persistent' || isRetryableCallError(thrown);
      if (pauseMs === undefined || !mayHelp) throw new ObjectUnreachableError(object, thrown, mayHaveRun);
      // Vary the pause randomly, so that calls that failed together do not retry together.
      await pause(pauseMs * (0.5 + Math.random()));
    }
  }
}

/** @returns a function that calls objects of a kind as `callObjectWithRetry` does. @param stub makes a new stub */
export function createRetryingObjectCaller<Place, Called>(object: DurableObjectName, stub: (place: Place) => object) {
  return async <T>(
    place: Place,
    call: (object: RemoteMethods<Called>) => Promise<T>,
    persistence?: keyof typeof PAUSES_MS,
  ): Promise<T> => await callObjectWithRetry(object, () => call(toRemoteMethods(stub(place))), persistence);
}

function isRetryableCallError(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown } | undefined)?.retryable === true && !isOverloadedObjectError(thrown);
}

/** @returns whether an object is overloaded. Then the call did not reach it, and must not be repeated. */
export function isOverloadedObjectError(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
}
