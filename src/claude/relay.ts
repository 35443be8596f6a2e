import { ApiError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { callerLeft, cutError } from './cut.ts';
import { headersUp } from './headers.ts';
import { late, send } from './send.ts';
import { type Ending, EVENT_STREAM, relayStream } from './stream.ts';
import type { Upstream } from './upstream.ts';
import { type Report, reportOf } from './usage.ts';
import { Watchdog } from './watchdog.ts';
import { parseObject, readWhole, wholeAnswer } from './whole.ts';

export interface RelayRequest {
  /** The caller's own request: its method, headers and query go up, and its signal says that the caller has left. */
  caller: Request;
  /** The path at the upstream, beginning with `/v1`. */
  path: string;
  /** The caller's bytes, or the text in which something had to change. */
  body?: Uint8Array | string | undefined;
  /** The caller's `idempotency-key` as it goes up. */
  idempotencyKey?: string | undefined;
}

/** How an answer ended, for the ledger and the log. */
export interface Outcome extends Report {
  /** The upstream's HTTP status; undefined if it sent none. */
  status: number | undefined;
  end: Ending;
  upstream_request_id: string | undefined;
  /** Whether anything went up: a caller can leave before. */
  sent: boolean;
  /** From the request to the first byte of a stream, or to the headers of another answer. */
  ttft_ms: number;
}

export interface RelayOptions {
  upstream: Upstream;
  settings: Settings;
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /**
   * Told once how the answer ended, also when the caller has left. It starts what must follow, and returns at once.
   *
   * @returns a remark to put behind a complete stream as a comment, without its colon
   */
  onEnd?(outcome: Outcome): string | undefined;
}

/**
 * Relays a caller's own request: its bytes up, the answer's bytes down, usage read from a copy.
 *
 * @returns the upstream's answer, streaming if the upstream streams; its 400 and 413 word for word
 * @throws ApiError when nothing can be relayed: no answer, the deployment's key refused, a body that was cut
 */
export async function relay(request: RelayRequest, options: RelayOptions): Promise<Response> {
  const { upstream, settings } = options;
  const { caller } = request;
  const { signal } = caller;
  const started = Date.now();
  const controller = new AbortController();
  const leave = () => controller.abort(callerLeft());
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  const headers = headersUp(caller.headers, upstream.apiKey, settings.FORWARD_HEADERS);
  if (request.idempotencyKey !== undefined) headers['idempotency-key'] = request.idempotencyKey;
  const simulate = upstream.simulated ? caller.headers.get('sluice-simulate') : null;
  if (simulate !== null) headers['sluice-simulate'] = simulate;

  const observed: Pick<Outcome, 'status' | 'upstream_request_id' | 'sent'> = {
    status: undefined,
    upstream_request_id: undefined,
    sent: !controller.signal.aborted,
  };
  const finish = (report: Report, end: Outcome['end'], firstByte: number) => {
    signal.removeEventListener('abort', leave);
    return options.onEnd?.({ ...report, ...observed, end, ttft_ms: firstByte - started });
  };

  const { STREAM_IDLE_MS: idleMs, UPSTREAM_TIMEOUT_MS: timeoutMs } = settings;
  const watchdog = new Watchdog(controller, Math.min(idleMs, timeoutMs), timeoutMs, late);
  let streams = false;
  try {
    const response = await send(
      upstream,
      { method: caller.method, path: request.path + queryOf(caller.url), headers, body: request.body },
      { maxRetries: settings.UPSTREAM_MAX_RETRIES, timeoutMs, controller, isWatched: true },
    );
    observed.status = response.status;
    observed.upstream_request_id = response.headers.get('request-id') ?? undefined;
    if (response.ok && response.body && response.headers.get('content-type')?.startsWith(EVENT_STREAM)) {
      streams = true;
      watchdog.expect(idleMs, () => cutError(true));
      return await relayStream(response, response.body, { signal, controller, watchdog }, options, finish);
    }
    watchdog.stop();
    const body = await readWhole(response, idleMs, controller);
    const json = parseObject(body);
    const report = reportOf(json, body.length);
    const readable = json !== undefined && (response.ok || report.error_type !== undefined);
    const answer = wholeAnswer(response, body, readable, options.requestId);
    finish(report, response.ok ? 'complete' : 'error', Date.now());
    return answer;
  } catch (thrown) {
    const refused = observed.status !== undefined && observed.status >= 300;
    const silent = thrown instanceof ApiError && thrown.logged === 'upstream_silent';
    const end = signal.aborted ? 'client_gone' : refused ? 'error' : silent ? 'silent' : 'cut';
    const error_type = thrown instanceof ApiError ? thrown.logged : undefined;
    finish({ ...reportOf(undefined, 0), error_type }, end, Date.now());
    throw thrown;
  } finally {
    if (!streams) watchdog.stop();
  }
}

/** @returns the query of an address as it stands there, with its question mark; empty where there is none. */
export function queryOf(url: string): string {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at);
}
