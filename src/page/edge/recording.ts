/** Records the last calls as they go over the wire, with the time of every event. */
import { signal } from '@preact/signals';
import { readEvents } from '../../client/events.ts';

export interface WireEvent {
  /** Milliseconds since the request was sent. */
  at: number;
  /** The event's name; `comment` for comments, which official clients do not show. */
  name: string;
  data: string;
}

export interface Recording {
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
  events: WireEvent[];
  /** The body of an answer that is not a stream. */
  text: string;
  /** Why there is no answer, or an incomplete one. */
  fault?: string;
}

/** The recordings, newest first. */
export const recordings = signal<Recording[]>([]);
/** Counts changes of recordings, so that components render again. */
export const recorded = signal(0);

const MOST_RECORDED = 12;
const WORTH_SHOWING: readonly [string, RegExp][] = [
  ['POST', /^\/messages$/],
  ['GET', /^\/conversations\/[^/]+\/stream$/],
  ['POST', /^\/classify$/],
  ['PUT', /^\/(prefixes|classifiers)\/[^/]+$/],
];

let count = 0;

/** Fetches, and records the calls that are worth showing. */
export async function record(url: string, init: RequestInit): Promise<Response> {
  const { pathname, search } = new URL(url);
  const method = init.method ?? 'GET';
  if (!WORTH_SHOWING.some(([shown, path]) => method === shown && path.test(pathname))) return await fetch(url, init);
  const sentAt = performance.now();
  const { authorization: _, ...headers } = init.headers as Record<string, string>;
  count += 1;
  const recording: Recording = {
    number: count,
    startedAt: new Date(),
    method,
    path: pathname + search,
    headers,
    body: typeof init.body === 'string' ? init.body : undefined,
    answerHeaders: [],
    events: [],
    text: '',
  };
  recordings.value = [recording, ...recordings.value].slice(0, MOST_RECORDED);
  const now = () => performance.now() - sentAt;
  try {
    const response = await fetch(url, init);
    recording.status = response.status;
    recording.answerHeaders = [...response.headers];
    recording.headersAt = now();
    recorded.value += 1;
    const { status, statusText } = response;
    // Some browsers give an empty stream with a 204, and none takes one.
    if (!response.body || status === 204) {
      recording.endedAt = recording.headersAt;
      return response;
    }
    return new Response(response.body.pipeThrough(observer(recording, now)), {
      status,
      statusText,
      headers: response.headers,
    });
  } catch (thrown) {
    recording.fault = thrown instanceof Error ? thrown.message : String(thrown);
    recording.endedAt = now();
    recorded.value += 1;
    throw thrown;
  }
}

/** Passes bytes on as they come, and records their events. */
function observer(recording: Recording, now: () => number): TransformStream<Uint8Array, Uint8Array> {
  const streamed = recording.answerHeaders.some(
    ([name, value]) => name === 'content-type' && value.startsWith('text/event-stream'),
  );
  const decoder = new TextDecoder();
  const read = readEvents(
    ({ event, data }) => recording.events.push({ at: now(), name: event || 'message', data }),
    (comment) => recording.events.push({ at: now(), name: 'comment', data: comment }),
  );
  return new TransformStream({
    transform(piece, controller) {
      if (streamed) read(piece);
      else recording.text += decoder.decode(piece, { stream: true });
      recorded.value += 1;
      controller.enqueue(piece);
    },
    flush() {
      recording.endedAt = now();
      recorded.value += 1;
    },
  });
}
