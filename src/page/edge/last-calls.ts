/** Keeps the last calls as they go over the wire, with the time of every event. */
import { signal } from '@preact/signals';
import { createEventReader } from '../../client/events.ts';

export interface RecordedEvent {
  /** Milliseconds since the request was sent. */
  at: number;
  /** The event's name; `comment` for comments, which official clients do not show. */
  name: string;
  data: string;
}

/** A call of the page, and what came of it so far. */
export interface RecordedCall {
  number: number;
  startedAt: Date;
  method: string;
  path: string;
  /** The headers without the credential. */
  headers: Record<string, string>;
  /** JSON text. */
  body: string | undefined;
  status?: number;
  answerHeaders: [string, string][];
  /** Milliseconds from the request to the headers of its answer, and to its end. */
  headersAt?: number;
  endedAt?: number;
  events: RecordedEvent[];
  /** The body of an answer that is not a stream. */
  text: string;
  /** Why there is no answer, or an incomplete one. */
  fault?: string;
}

/** The last calls, newest first. */
export const lastCalls = signal<RecordedCall[]>([]);
/** Counts the changes of the calls, so that components render again: the call objects are changed in place. */
export const callGrowthCount = signal(0);

const MAX_LAST_CALLS = 12;
const RECORDED_ROUTES: readonly [string, RegExp][] = [
  ['POST', /^\/messages$/],
  ['GET', /^\/conversations\/[^/]+\/stream$/],
  ['POST', /^\/classify$/],
  ['PUT', /^\/(prefixes|classifiers)\/[^/]+$/],
];

let callCount = 0;

/** Fetches, and keeps the calls that are worth showing. */
export async function fetchAndRecordCall(url: string, init: RequestInit): Promise<Response> {
  const { pathname, search } = new URL(url);
  const method = init.method ?? 'GET';
  if (!RECORDED_ROUTES.some(([shown, path]) => method === shown && path.test(pathname))) return await fetch(url, init);
  const sentAt = performance.now();
  const { authorization: _, ...headers } = init.headers as Record<string, string>;
  callCount += 1;
  const call: RecordedCall = {
    number: callCount,
    startedAt: new Date(),
    method,
    path: pathname + search,
    headers,
    body: typeof init.body === 'string' ? init.body : undefined,
    answerHeaders: [],
    events: [],
    text: '',
  };
  lastCalls.value = [call, ...lastCalls.value].slice(0, MAX_LAST_CALLS);
  const getElapsedMs = () => performance.now() - sentAt;
  try {
    const response = await fetch(url, init);
    call.status = response.status;
    call.answerHeaders = [...response.headers];
    call.headersAt = getElapsedMs();
    callGrowthCount.value += 1;
    const { status, statusText } = response;
    // `new Response` rejects a body with status 204, but some browsers give such a response an empty body. Return the response
    // itself.
    if (!response.body || status === 204) {
      call.endedAt = call.headersAt;
      return response;
    }
    return new Response(response.body.pipeThrough(createEventRecorder(call, getElapsedMs)), {
      status,
      statusText,
      headers: response.headers,
    });
  } catch (thrown) {
    call.fault = thrown instanceof Error ? thrown.message : String(thrown);
    call.endedAt = getElapsedMs();
    callGrowthCount.value += 1;
    throw thrown;
  }
}

/** Passes bytes on as they arrive, and records their events. */
function createEventRecorder(call: RecordedCall, now: () => number): TransformStream<Uint8Array, Uint8Array> {
  const streamed = call.answerHeaders.some(
    ([name, value]) => name === 'content-type' && value.startsWith('text/event-stream'),
  );
  const decoder = new TextDecoder();
  const read = createEventReader(
    ({ event, data }) => call.events.push({ at: now(), name: event || 'message', data }),
    (comment) => call.events.push({ at: now(), name: 'comment', data: comment }),
  );
  return new TransformStream({
    transform(piece, controller) {
      if (streamed) read(piece);
      else call.text += decoder.decode(piece, { stream: true });
      callGrowthCount.value += 1;
      controller.enqueue(piece);
    },
    flush() {
      call.endedAt = now();
      callGrowthCount.value += 1;
    },
  });
}
