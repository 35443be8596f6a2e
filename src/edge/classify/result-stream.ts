/** Sends results one by one, as server-sent events or as JSON lines, while the next ones are made. */
import type { Context } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import { pause } from '../kit/async/pause.ts';
import { createErrorBody, toApiError } from '../kit/http/errors.ts';

/** One line or event, named by `type`. The last one is the `summary`: without it the stream was interrupted. */
export type StreamedResult = { type: string } & Record<string, unknown>;

export type StreamFormat = 'sse' | 'jsonl';

const MEDIA_TYPES: Record<StreamFormat, string> = { sse: 'text/event-stream', jsonl: 'application/jsonl' };
/**
 * After this many milliseconds without an event a comment is sent, because a proxy on the way would close an idle connection.
 */
const COMMENT_AFTER_MS = 15_000;

/** @returns the format to stream in, if any: the field `stream` requests events, the header `accept` lines */
export function negotiateFormat(c: Context<AppEnv>, stream: boolean | undefined): StreamFormat | undefined {
  if (stream) return 'sse';
  const accept = c.req.header('accept') ?? '';
  return stream === undefined && /application\/(jsonl|x-ndjson)/.test(accept) ? 'jsonl' : undefined;
}

/**
 * Sends results as they arrive. The next one is requested when the reader is ready, so a slow reader slows down the work.
 *
 * @param results ends with the summary; it is read to its end even if the caller leaves, so that every call is settled
 * @param onEnd called once, at the end
 */
export function createResultStreamResponse(
  c: Context<AppEnv>,
  format: StreamFormat,
  results: AsyncGenerator<StreamedResult, void, undefined>,
  onEnd: () => void,
): Response {
  const encoder = new TextEncoder();
  const { signal } = c.req.raw;
  const writeResult = (result: StreamedResult) => {
    const json = JSON.stringify(result);
    return encoder.encode(format === 'sse' ? `event: ${result.type}\ndata: ${json}\n\n` : `${json}\n`);
  };
  let ended = false;
  const endStream = () => {
    if (!ended) onEnd();
    ended = true;
  };
  let waiting: Promise<IteratorResult<StreamedResult, void>> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          waiting ??= results.next();
          const next = await (format === 'sse' ? Promise.race([waiting, pause(COMMENT_AFTER_MS)]) : waiting);
          if (next === undefined) {
            controller.enqueue(encoder.encode(': working\n\n'));
            return;
          }
          waiting = undefined;
          if (!next.done) {
            controller.enqueue(writeResult(next.value));
            return;
          }
        } catch (thrown) {
          const failure = toApiError(thrown);
          c.get('entry').line.error_type ??= failure.logged;
          controller.enqueue(writeResult({ ...createErrorBody(failure, c.get('requestId')) }));
        }
        controller.close();
        endStream();
      },
    },
    { highWaterMark: 0 },
  );
  const drainResults = async () => {
    for (let next = await results.next(); !next.done; next = await results.next());
  };
  // After the caller has disconnected, the runtime no longer calls `pull`. Read the remaining results here, so that their calls
  // are completed and settled.
  signal.addEventListener('abort', () => c.get('entry').keepAliveFor(drainResults().finally(endStream)), {
    once: true,
  });
  return new Response(body, {
    headers: {
      'content-type': MEDIA_TYPES[format],
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    },
  });
}
