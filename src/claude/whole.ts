/** Answers that do not stream: read whole before anything is sent, since a cut JSON body would look complete. */
import { errorResponse, upstreamRefusedKey } from '../errors.ts';
import { cutError } from './cut.ts';
import { headersDown } from './headers.ts';
import { redirected } from './send.ts';
import { upstreamLimited } from './upstream-limit.ts';
import { Watchdog } from './watchdog.ts';

/** @throws ApiError when the body breaks or stalls: a cut JSON body would look complete */
export async function readWhole(response: Response, idleMs: number, controller: AbortController): Promise<Uint8Array> {
  if (!response.body) return new Uint8Array(0);
  const watchdog = new Watchdog(controller, idleMs, idleMs, () => cutError(true));
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of response.body) {
      watchdog.touch();
      pieces.push(piece);
    }
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : cutError(false, thrown);
  } finally {
    watchdog.stop();
  }
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  return joined(...pieces);
}

/** @returns pieces as one. */
export function joined(...pieces: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** @throws ApiError for what the caller must not see as it is, or what is no whole JSON */
export function wholeAnswer(response: Response, body: Uint8Array, readable: boolean, requestId: string): Response {
  const { status } = response;
  if (status === 401 || status === 402 || status === 403) throw upstreamRefusedKey();
  if (status >= 300 && status < 400) throw redirected();
  if (response.ok && !readable) throw cutError(false);
  if (status === 429) return errorResponse(upstreamLimited(response.headers), requestId);
  const headers = headersDown(response.headers);
  if (readable) return new Response(body, { status, headers });
  // Not the API's words but those of something before it: the envelope is what clients can read.
  headers['content-type'] = 'application/json';
  const error = { type: typeOfStatus(status), message: `The upstream answered ${status} without an explanation.` };
  return Response.json({ type: 'error', error, request_id: requestId }, { status, headers });
}

export function parseObject(body: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function typeOfStatus(status: number): string {
  if (status === 404) return 'not_found_error';
  if (status === 413) return 'request_too_large';
  if (status === 529) return 'overloaded_error';
  if (status === 504) return 'timeout_error';
  return status < 500 ? 'invalid_request_error' : 'api_error';
}
