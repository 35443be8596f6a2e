/** How far a request has gone. */
export interface SendProgress {
  /** When the try was sent that may be running at the upstream; milliseconds since 1970. Undefined if none can be running. */
  sentAt: number | undefined;
  /** Milliseconds from sending the last attempt to its headers, or to its failure. */
  elapsedMs?: number;
  /** Whether the last attempt was sent as a stream although the caller requested a non-streaming response. */
  isStreamedInternally?: boolean;
  /** If there are several upstreams: the name of the one that was tried last. */
  upstream?: string | undefined;
  /** If there are several upstreams: the names of those that failed since the last attempt with a separate settlement. */
  failedUpstreams?: readonly string[] | undefined;
  /** Whether the caller no longer waits for the response. Then Sluice may still read it, and sends no other attempt. */
  isAbandoned?: boolean;
  /** The beginning of a stream, if it has already been read. The response's body continues after it. */
  opening?: Uint8Array | undefined;
  /** Must be called when the response has ended, however it ended. Further calls have no effect. */
  recordResponseEnd?(isCut: boolean): void;
}
