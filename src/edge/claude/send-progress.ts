/** How far a request has gone. */
export interface SendProgress {
  /** When the try that may now run at the upstream was sent; milliseconds since 1970. Undefined if none can be running. */
  sentAt: number | undefined;
  /** Milliseconds from sending the last try to its headers, or to its failure. */
  elapsedMs?: number;
  /** Whether the last try went up as a stream, though the caller has asked for a whole answer. */
  rides?: boolean;
  /** If there are several upstreams: the name of the one that was tried last. */
  upstream?: string | undefined;
  /** If there are several upstreams: the names of those that failed since a try was last settled by itself. */
  failedUpstreams?: readonly string[] | undefined;
  /** Whether nobody wants its answer any more. Then it may be read on, and there is no other try. */
  isAbandoned?: boolean;
  /** The beginning of a stream, if it has been read already. The response's body goes on after it. */
  opening?: Uint8Array | undefined;
  /** Must be called when the answer has ended, in any way. More than one call does no harm. */
  leave?(isCut: boolean): void;
}
