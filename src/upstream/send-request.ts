/** A request as it is sent: how, how far it has gone, and how a further try is paid for. */

import type { Routing } from './choice/pool.ts';
import type { BodyMaker } from './kinds/kind.ts';

/** A request as it goes up. */
export interface SendRequest {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: BodyMaker | undefined;
  /** What the choice between several upstreams goes by. */
  routing?: Routing | undefined;
}

/** How a request is sent. */
export interface SendOptions {
  maxRetries: number;
  /** Milliseconds for all tries together, until the headers of the last one. */
  timeoutMs: number;
  /** Whether whoever calls `send` aborts the controller itself when that time is up. */
  isWatched?: boolean;
  /** Aborted from outside when nobody waits any more, and here when time is up. It ends the reading of the body as well. */
  controller: AbortController;
  /** The caller's own headers, if this is its own request: if the client retries by itself, the edge does not. */
  caller?: Headers | Readonly<Record<string, string>>;
  /** Changed as the request goes up, for whoever must know what may have run. */
  course?: SendProgress;
  /** Pays for another try after one that may have run; without it there is none. `free` is for what costs nothing. */
  payment?: Payment | 'free' | undefined;
  /** Lets work run on that the answer does not wait for. Default: nothing keeps it alive. */
  waitUntil?(work: Promise<unknown>): void;
}

/** How far a request has gone. */
export interface SendProgress {
  /** When the try was sent that may run at the upstream now, in milliseconds since 1970. Undefined if none can. */
  sentAt: number | undefined;
  /** Milliseconds from sending the last try to its headers, or to its failure. */
  elapsedMs?: number;
  /** Where there are several upstreams: the name of the one that was tried last. */
  upstream?: string | undefined;
  /** The beginning of a stream, where it has been read already: its body goes on behind it. */
  opening?: Uint8Array | undefined;
  /** Is to be called when the answer has ended, in whatever way; more than once does no harm. */
  leave?(isCut: boolean): void;
}

/** How a request is paid for that is sent again after a try that may have run, and be billed. */
export interface Payment {
  /** Books the try that has failed. */
  settle(): Promise<void>;
  /**
   * Sets aside what another try can cost.
   *
   * @returns the body that goes up now
   * @throws ApiError where there is nothing left to pay it with
   */
  admit(): Promise<BodyMaker>;
  /**
   * Books the try that has failed, and sets aside what the next model can cost that is named for this case.
   *
   * @returns `none` where there is no other model, and nothing has changed; `refused` where none is admitted: then nothing is
   * set aside any more, and `admit` does so for the model that was asked for
   */
  fallBack?(): Promise<{ model: string; body: BodyMaker } | 'none' | 'refused'>;
}
