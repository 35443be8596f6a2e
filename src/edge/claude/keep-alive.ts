/**
 * Gives up a response of which only keep-alive bytes arrive: pings, comments and white space. Because they restart the idle
 * timeout STREAM_IDLE_MS, an upstream that hangs and sends them would block its caller, and the caller's hold, for ever.
 */

/** Milliseconds after its request in which an answer must begin. Clients and proxies give up a whole answer by then. */
export const FIRST_OUTPUT_MS = 600_000;
/** Milliseconds in which an answer that has begun must say more. No step of a tool of the API takes so long. */
const MAX_OUTPUT_GAP_MS = 3_600_000;

/**
 * @param sentAt when the request was sent; milliseconds since 1970
 * @param lastSignAt returns the time of the last sign of the response; undefined before its beginning
 * @returns a function that returns the time at which the response is given up. It calls `lastSignAt` only when that may matter
 */
export function createOutputDeadline(sentAt: number, lastSignAt: () => number | undefined): () => number {
  const beginsBy = sentAt + FIRST_OUTPUT_MS;
  return () => {
    const signAt = Date.now() < beginsBy ? undefined : lastSignAt();
    return signAt === undefined ? beginsBy : signAt + MAX_OUTPUT_GAP_MS;
  };
}
