/** Keeps the last calls as they go over the wire, with the time of every event. */

import { batch, type Signal, signal } from '@preact/signals';
import { createEventReader } from '../../client/events.ts';
import { createTokenSignal } from './credential.ts';

export interface RecordedEvent {
  /** Milliseconds since the request was sent. */
  at: number;
  /** The event's name; `comment` for comments, which official clients do not show. */
  name: string;
  data: string;
}

/** What came of a call so far, without its body. */
interface CallResponse {
  status?: number;
  headers: readonly [string, string][];
  /** Milliseconds from the request to the headers of its response, and to its end. */
  headersAt?: number;
  endedAt?: number;
  /** Why there is no response, or an incomplete one. */
  fault?: string;
}

/** The events of a stream. Reading them subscribes to their growth: a component that shows them is rendered again. */
class EventLog {
  readonly #events: RecordedEvent[] = [];
  readonly #count = signal(0);

  get events(): readonly RecordedEvent[] {
    void this.#count.value;
    return this.#events;
  }

  add(event: RecordedEvent): void {
    this.#events.push(event);
    this.#count.value = this.#events.length;
  }
}

/** A call of the page. What changes is in signals, because a component skips a render if its props are the same objects. */
export interface RecordedCall {
  readonly number: number;
  readonly startedAt: Date;
  readonly method: string;
  readonly path: string;
  /** The headers without the credential. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body: string | undefined;
  readonly response: Signal<CallResponse>;
  readonly log: EventLog;
  /** The body of a response that is not a stream. */
  readonly text: Signal<string>;
}

/** The last calls, newest first. */
export const lastCalls = createTokenSignal<RecordedCall[]>([]);

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
    response: signal({ headers: [] }),
    log: new EventLog(),
    text: signal(''),
  };
  lastCalls.value = [call, ...lastCalls.value].slice(0, MAX_LAST_CALLS);
  const getElapsedMs = () => performance.now() - sentAt;
  try {
    const response = await fetch(url, init);
    const { status, statusText } = response;
    call.response.value = { status, headers: [...response.headers], headersAt: getElapsedMs() };
    // `new Response` rejects a body with status 204, but some browsers give such a response an empty body. Return the response
    // itself.
    if (!response.body || status === 204) {
      noteEnd(call, getElapsedMs());
      return response;
    }
    return new Response(response.body.pipeThrough(createEventRecorder(call, getElapsedMs)), {
      status,
      statusText,
      headers: response.headers,
    });
  } catch (thrown) {
    noteEnd(call, getElapsedMs(), thrown instanceof Error ? thrown.message : String(thrown));
    throw thrown;
  }
}

function noteEnd({ response }: RecordedCall, endedAt: number, fault?: string): void {
  response.value = { ...response.value, endedAt, ...(fault === undefined ? {} : { fault }) };
}

/** Passes bytes on as they arrive, and records their events. */
function createEventRecorder(call: RecordedCall, now: () => number): TransformStream<Uint8Array, Uint8Array> {
  const streamed = call.response.value.headers.some(
    ([name, value]) => name === 'content-type' && value.startsWith('text/event-stream'),
  );
  const decoder = new TextDecoder();
  const read = createEventReader(
    ({ event, data }) => call.log.add({ at: now(), name: event || 'message', data }),
    (comment) => call.log.add({ at: now(), name: 'comment', data: comment }),
  );
  return new TransformStream({
    transform(piece, controller) {
      if (streamed) batch(() => read(piece));
      else call.text.value += decoder.decode(piece, { stream: true });
      controller.enqueue(piece);
    },
    flush() {
      noteEnd(call, now());
    },
  });
}
