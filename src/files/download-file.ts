/** The content of a file: it goes down as it comes, and nothing keeps it. */

import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../auth/context.ts';
import { bufferedResponse, readAnswer } from '../upstream/buffered-answer.ts';
import { refuseEncoding } from '../upstream/content-type.ts';
import { callerLeft } from '../upstream/failure.ts';
import { headersDown, headersUp } from '../upstream/headers.ts';
import { queryOf } from '../upstream/relay.ts';
import { send } from '../upstream/send.ts';
import type { SendProgress } from '../upstream/send-request.ts';
import type { Upstream } from '../upstream/upstream.ts';

/**
 * Relays the content of a file.
 *
 * @param only the upstream that has it
 * @returns its bytes, or the upstream's refusal
 */
export async function downloadFile(
  c: Context<AppEnv>,
  upstream: Upstream,
  { id, only }: { id: string; only: string | undefined },
): Promise<Response> {
  const { settings, requestId, waitUntil } = contextOf(c);
  const caller = c.req.raw;
  const controller = new AbortController();
  const leave = () => controller.abort(callerLeft());
  if (caller.signal.aborted) leave();
  caller.signal.addEventListener('abort', leave, { once: true });
  const headers = headersUp(caller.headers, upstream.apiKey, settings.FORWARD_HEADERS);
  const simulate = upstream.simulated ? caller.headers.get('sluice-simulate') : null;
  if (simulate !== null) headers['sluice-simulate'] = simulate;
  const course: SendProgress = { sentAt: undefined };
  const { UPSTREAM_MAX_RETRIES: maxRetries, UPSTREAM_TIMEOUT_MS: timeoutMs, STREAM_IDLE_MS: idleMs } = settings;
  const response = await send(
    upstream,
    {
      method: 'GET',
      path: `/v1/files/${id}/content${queryOf(caller.url)}`,
      headers,
      routing: { streams: false, only },
    },
    { maxRetries, timeoutMs, controller, caller: caller.headers, course, payment: 'free', waitUntil },
  );
  course.leave?.(false);
  if (!response.ok) {
    const read = await readAnswer(response, { idleMs, controller, course, expected: 'anything' });
    c.get('entry').line.error_type = read.report.error_type;
    return bufferedResponse(response, read, { requestId });
  }
  refuseEncoding(response);
  const down = headersDown(response.headers);
  // It may be a page that a model has written. In a browser it must not run as a part of this edge.
  down['content-security-policy'] = 'sandbox';
  const length = response.headers.get('content-length');
  // With its length a client sees that a file was cut.
  if (length !== null && response.body) {
    const { readable, writable } = new FixedLengthStream(Number(length));
    waitUntil(response.body.pipeTo(writable).catch(() => leave()));
    return new Response(readable, { headers: down });
  }
  return new Response(response.body, { headers: down });
}
