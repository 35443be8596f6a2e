/** Carries a body of any length down as it comes: nothing keeps it. */

import type { LogEntry } from '../kit/http/log.ts';
import type { AnsweredCall } from './exchange.ts';
import { callerLeftError, endOf } from './failure.ts';
import type { PlainHeaders } from './headers.ts';
import { logTypeOfEnd } from './outcome.ts';

/** What carrying needs of the request. */
interface ForwardOptions {
  /** Its line is written when the body has ended. */
  entry: LogEntry;
  waitUntil(work: Promise<unknown>): void;
}

/**
 * Answers with the body of an answer. If that breaks off or falls silent, the connection to the caller breaks, too. With
 * its length a client sees that a body was cut.
 *
 * @param headers of the answer that goes down
 */
export function forwardResponse(answered: AnsweredCall, headers: PlainHeaders, options: ForwardOptions): Response {
  const length = answered.response.headers.get('content-length');
  const { readable, writable } =
    length === null ? new IdentityTransformStream() : new FixedLengthStream(Number(length));
  const { entry, waitUntil } = options;
  entry.begin();
  const carrying = forwardBody(answered, writable).then((errorType) => {
    if (errorType !== undefined) entry.line.error_type = errorType;
    entry.end();
  });
  waitUntil(carrying);
  return new Response(readable, { headers });
}

/** Carries a body to its end. Never rejects. @returns what the log says about it; undefined if it came whole */
async function forwardBody(
  { response, exchange }: AnsweredCall,
  writable: WritableStream,
): Promise<string | undefined> {
  const writer = writable.getWriter();
  let isWriting = false;
  try {
    for await (const piece of exchange.pieces(response)) {
      isWriting = true;
      await writer.write(piece);
      isWriting = false;
    }
    isWriting = true;
    await writer.close();
    exchange.close();
    return undefined;
  } catch (thrown) {
    const { signal } = exchange.controller;
    const end = isWriting ? 'client_gone' : endOf(signal.aborted ? signal.reason : thrown);
    exchange.close(end);
    exchange.controller.abort(callerLeftError());
    // Whoever has left does not hear it.
    writer.abort(thrown).catch(() => undefined);
    return logTypeOfEnd(end);
  }
}
