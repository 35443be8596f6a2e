import { type ApiError, createNonRetryableError } from '../../kit/http/errors.ts';

/** Ends all waits of a turn: the request to the upstream, the readers of its stream, and any other promise. */
export class TurnAborter {
  readonly controller = new AbortController();
  /** The readers of the upstream's stream and of its copy. */
  readers: readonly ReadableStreamBYOBReader[] = [];
  /** Whether a client has stopped the turn. */
  isStopped = false;
  /** The first reason for which the turn was aborted; undefined while it runs. */
  reason: ApiError | undefined;
  readonly #aborted = Promise.withResolvers<never>();

  constructor() {
    this.#aborted.promise.catch(() => {});
  }

  /** Ends all waits of the turn because a client stops it. @param readsOn whether the request to the upstream continues */
  stopByClient(readsOn = false): void {
    this.isStopped = true;
    this.reason ??= createTurnStoppedError();
    if (readsOn) this.#aborted.reject(this.reason);
    else this.abortTurn(this.reason);
  }

  abortTurn(reason: ApiError): void {
    this.reason ??= reason;
    this.controller.abort(reason);
    this.#aborted.reject(reason);
    for (const reader of this.readers) reader.cancel(reason).catch(() => {});
  }

  /** Waits for work, until the turn is aborted at most. @throws ApiError the reason of the abort */
  async raceWithAbort<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#aborted.promise]);
  }
}

/** @returns the error of a turn that was stopped on purpose. It is not a 5xx, because some clients would retry that. */
export function createTurnStoppedError(
  message = 'This turn was stopped before the response began. Send the message again to continue.',
): ApiError {
  return createNonRetryableError('not_found_error', message, { status: 410, logged: 'stopped' });
}
