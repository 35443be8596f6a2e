/** Forwards the content of a file unchanged, without storing it. */

import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { readBufferedResponse, toCallerResponse } from '../../claude/buffered-response.ts';
import { rejectEncoding } from '../../claude/content-type.ts';
import { UpstreamExchange } from '../../claude/exchange.ts';
import { getRequestEndOfError } from '../../claude/failure.ts';
import { forwardResponse } from '../../claude/forward-response.ts';
import { toCallerHeaders } from '../../claude/headers.ts';
import { getQueryString } from '../../claude/relay.ts';
import type { Upstream } from '../../claude/upstream.ts';

/**
 * Relays the content of a file.
 *
 * @param only the upstream that has it
 * @returns its bytes, or the upstream's refusal
 */
export async function downloadFile(
  c: Context<AppEnv>,
  upstream: Upstream,
  { id, upstreamName }: { id: string; upstreamName: string | undefined },
): Promise<Response> {
  const { settings, requestId, waitUntil } = getRequestContext(c);
  const caller = c.req.raw;
  const exchange = new UpstreamExchange({ upstream, settings, signal: caller.signal });
  const headers = exchange.createForwardedHeaders(caller.headers);
  const path = `/v1/files/${id}/content${getQueryString(caller.url)}`;
  try {
    const response = await exchange.sendToUpstream(
      { method: 'GET', path, headers, routing: { streams: false, requiredUpstream: upstreamName } },
      { caller: caller.headers, payment: 'free', waitUntil },
    );
    if (response.ok) {
      rejectEncoding(response);
      // The file may be HTML that a model has written. The sandbox prevents a browser from running its scripts with the rights
      // of this origin.
      const down = { ...toCallerHeaders(response.headers), 'content-security-policy': 'sandbox' };
      return forwardResponse({ response, exchange }, down, { entry: c.get('entry'), waitUntil });
    }
    const read = await readBufferedResponse(response, exchange, 'anything');
    c.get('entry').line.error_type = read.report.error_type;
    exchange.closeExchange();
    return toCallerResponse(response, read, requestId);
  } catch (thrown) {
    exchange.closeExchange(getRequestEndOfError(thrown));
    throw thrown;
  }
}
