import { encoder } from '../../http/bytes.ts';
import { type ApiError, toApiError } from '../../http/errors.ts';
import { isObject, parseObject } from '../../json/object.ts';
import { mayHaveRun } from '../../upstream/attempt.ts';
import { bufferedResponse, isBeginning, readBuffered } from '../../upstream/buffered.ts';
import { interrupted } from '../../upstream/failure.ts';
import { headersDown, type PlainHeaders } from '../../upstream/headers.ts';
import { reportOf } from '../../upstream/usage/usage-report.ts';
import { eventsOf } from './message-events.ts';
import type { Turn } from './turn.ts';
import type { TurnEnd } from './turn-ending.ts';

/** What is known once the upstream has answered. */
export type Started =
  | { kind: 'stream'; headers: Record<string, string> }
  | { kind: 'refused'; status: number; headers: Record<string, string>; body: string }
  | { kind: 'error'; error: ApiError };

/** Response headers of the upstream that describe the connection to it, not the answer. */
const NOT_KEPT = ['date', 'content-type', 'cache-control', 'vary', 'server', 'via'];

/**
 * Reads an answer that is not a stream. A refusal of the upstream is for the caller, word for word; a message (a gateway
 * may answer with one although a stream was asked for) becomes the events of a turn.
 *
 * @param quotaStatus the headers of the account's limits
 * @returns what the caller is told, and how the turn ends
 * @throws ApiError 500 for an answer that was interrupted
 */
export async function readBufferedAnswer(
  response: Response,
  turn: Turn,
  {
    quotaStatus,
    idleMs,
    controller,
    requestId,
    now,
  }: {
    quotaStatus: Record<string, string>;
    idleMs: number;
    controller: AbortController;
    requestId: string;
    now(): number;
  },
): Promise<{ how: TurnEnd; started: Started }> {
  const { course } = turn;
  // An upstream that has not worked on the request has cost nothing.
  const freeUnlessRun = (isApiError: boolean) => {
    if (!mayHaveRun(response, { isApiError, elapsedMs: course.elapsedMs ?? 0 })) course.sentAt = undefined;
  };
  if (!response.ok) freeUnlessRun(false);
  const body = await readBuffered(response, idleMs, controller);
  const json = parseObject(body);
  const report = reportOf(json, body.length);
  if (response.ok && report.completed) {
    if (!isObject(json) || json.type !== 'message') throw interrupted(false);
    turn.firstByteAt = now();
    const { how } = turn.take(encoder.encode(eventsOf(json)), now());
    return {
      how: how ?? { kind: 'cut', error: interrupted(false), end: 'cut' },
      started: { kind: 'stream', headers: { ...headersKept(response.headers), ...quotaStatus } },
    };
  }
  if (response.ok && isBeginning(body)) throw interrupted(false);
  const isApiError = report.error_type !== undefined;
  // What is not an answer of the API was not worked on by it.
  if (response.ok) course.sentAt = undefined;
  else freeUnlessRun(isApiError);
  try {
    const answer = bufferedResponse(response, body, {
      isReadable: isApiError,
      expected: 'message',
      errorType: report.error_type,
      requestId,
    });
    const text = await answer.text();
    const headers = { ...Object.fromEntries(answer.headers), ...quotaStatus };
    const error = {
      type: (report.error_type ?? 'api_error') as ApiError['type'],
      logged: report.error_type ?? `upstream_${response.status}`,
      message: 'The upstream refused this turn: it has not become part of the conversation.',
    };
    return {
      how: { kind: 'cut', error, end: 'error' },
      started: { kind: 'refused', status: answer.status, headers, body: text },
    };
  } catch (thrown) {
    const error = toApiError(thrown);
    return { how: { kind: 'cut', error, end: 'error' }, started: { kind: 'error', error } };
  }
}

/** @returns the headers of the upstream's answer that go to the caller of a turn. */
export function headersKept(headers: Headers): PlainHeaders {
  const kept = headersDown(headers);
  for (const name of NOT_KEPT) delete kept[name];
  return kept;
}
