/** Forwards a body of any length as it arrives, without storing it. */

import type { RequestLogEntry } from '../kit/http/log.ts';
import type { AnsweredExchange } from './exchange.ts';
import { createCallerLeftError, getRequestEndOfError } from './failure.ts';
import type { PlainHeaders } from './headers.ts';
import { getLogTypeOfStreamEnd } from './outcome.ts';
import { waitForCaller } from './relay/wait-for-caller.ts';

/** The options of the request that forwarding needs. */
interface ForwardOptions {
  /** Its line is written when the body has ended. */
  entry: RequestLogEntry;
  waitUntil(work: Promise<unknown>): void;
}

/**
 * Answers with the body of an answer. If that breaks off or falls silent, the connection to the caller breaks, too. With
 * its length a client sees that a body was cut.
 *
 * @param headers of the answer that is returned
 */
export function forwardResponse(answered: AnsweredExchange, headers: PlainHeaders, options: ForwardOptions): Response {
  const length = answered.response.headers.get('content-length');
  const { readable, writable } =
    length === null ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
  const { entry, waitUntil } = options;
  entry.expectLaterEnd();
  const forwarding = forwardBody(answered, writable).then((errorType) => {
    if (errorType !== undefined) entry.line.error_type = errorType;
    entry.endAndWriteLine();
  });
  waitUntil(forwarding);
  return new Response(readable, { headers });
}

/** Forwards a body to its end. Never rejects. @returns the type that is logged; undefined if the body was complete */
async function forwardBody(
  { response, exchange }: AnsweredExchange,
  writable: WritableStream,
): Promise<string | undefined> {
  const writer = writable.getWriter();
  let isWriting = false;
  try {
    for await (const piece of exchange.readPieces(response)) {
      isWriting = true;
      await waitForCaller(writer.write(piece), writer, exchange.watchdog.idleLimitMs);
      isWriting = false;
    }
    isWriting = true;
    await waitForCaller(writer.close(), writer, exchange.watchdog.idleLimitMs);
    exchange.closeExchange();
    return undefined;
  } catch (thrown) {
    const { signal } = exchange.controller;
    const end = isWriting ? 'client_gone' : getRequestEndOfError(signal.aborted ? signal.reason : thrown);
    exchange.closeExchange(end);
    exchange.controller.abort(createCallerLeftError());
    // Aborting may reject because the caller has already disconnected.
    writer.abort(thrown).catch(() => undefined);
    return getLogTypeOfStreamEnd(end);
  }
}
