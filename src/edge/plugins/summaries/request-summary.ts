/** Requests a summary from the upstream, and reads it to its end. */

import { readBufferedResponse } from '../../claude/buffered-response.ts';
import { isEventStream } from '../../claude/content-type.ts';
import { type ExchangeOptions, UpstreamExchange } from '../../claude/exchange.ts';
import { createSizeGuard, getRequestEndOfError } from '../../claude/failure.ts';
import { joinBetas, type PlainHeaders } from '../../claude/headers.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Upstream } from '../../claude/upstream.ts';
import { UsageReader } from '../../claude/usage/usage-reader.ts';
import { createSummaryMessageJson, extractSummaryText } from '../../conversations/history/storage/summary-message.ts';
import { CHARACTERS_PER_TOKEN } from '../../conversations/history/truncate.ts';
import { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { parseJsonObject } from '../../kit/json/object.ts';
import { SseEventReader } from '../../kit/sse/frames.ts';
import type { BilledRequest } from '../../money/admission/billed-request.ts';

/** A hold ends after 15 minutes. A summary is stopped before, while its cost can still be settled; milliseconds. */
const LONGEST_MS = 840_000;

interface SummaryRequestOptions extends Pick<ExchangeOptions, 'upstream' | 'settings' | 'signal'> {
  /** The query and the headers of the turn; the headers as `createSummaryHeaders` has made them. */
  query: string;
  headers: PlainHeaders;
}

interface SummaryResult {
  outcome: RequestOutcome;
  /** The message with the summary as JSON text; undefined if none has come. */
  text?: string | undefined;
  tokens: number;
}

/** Requests a summary as a stream. Never rejects. */
export async function requestSummary(billed: BilledRequest, asking: SummaryRequestOptions): Promise<SummaryResult> {
  const { query, headers, upstream, settings, signal } = asking;
  const exchange = new UpstreamExchange({ upstream, settings, signal, wholeMs: LONGEST_MS });
  const usage = new UsageReader({ readsBlocks: true });
  try {
    const { createBody: body, routing } = billed;
    const path = `/v1/messages${query}`;
    const sent = { ...headers, 'x-api-key': upstream.apiKey };
    const response = await exchange.sendToUpstream({ method: 'POST', path, headers: sent, body, routing });
    billed.releaseBody();
    if (!response.ok || !isEventStream(response)) return await createRejectedSummaryResult(response, exchange);
    const builder = new MessageBuilder();
    const frames = new SseEventReader();
    exchange.reportSoFar = () => usage.currentReport;
    const takeSize = createSizeGuard();
    const processChunk = (piece: Uint8Array) => {
      takeSize(piece);
      usage.addPiece(piece);
      for (const { data } of frames.readCompletedEvents(piece)) builder.addEventData(parseJsonObject(data) ?? {});
    };
    if (exchange.progress.opening) processChunk(exchange.progress.opening);
    if (!builder.hasStopped)
      for await (const piece of exchange.readPieces(response)) {
        processChunk(piece);
        if (builder.hasStopped) break;
      }
    const { completed, error_type } = usage.currentReport;
    const outcome = exchange.createOutcome(usage.currentReport, completed ? 'complete' : error_type ? 'error' : 'cut');
    const text = outcome.completed ? extractSummaryMessage(builder) : undefined;
    // Take the smaller of both numbers: `output_tokens` includes thinking, so it is only an upper bound for the summary's text.
    const written = outcome.usage?.output_tokens ?? Number.POSITIVE_INFINITY;
    const tokens = text === undefined ? 0 : Math.min(estimateTokens(extractSummaryText({ text })), written);
    return { outcome, text, tokens };
  } catch (thrown) {
    const error = toApiError(thrown);
    return { outcome: exchange.createFailedOutcome(error.logged, getRequestEndOfError(error)), tokens: 0 };
  } finally {
    exchange.closeExchange();
  }
}

/**
 * @param needed the betas that the agent needs
 * @returns the headers of a summary, from those of the turn
 */
export function createSummaryHeaders(
  { 'idempotency-key': _, ...headers }: PlainHeaders,
  { isSimulated: simulated }: Upstream,
  needed: readonly string[],
): PlainHeaders {
  const betas = joinBetas(headers['anthropic-beta'], needed);
  if (betas !== '') headers['anthropic-beta'] = betas;
  if (!simulated) delete headers['sluice-simulate'];
  return headers;
}

async function createRejectedSummaryResult(response: Response, exchange: UpstreamExchange): Promise<SummaryResult> {
  const { report, refusal } = await readBufferedResponse(response, exchange, 'message');
  return { outcome: exchange.createFailedOutcome(refusal?.forOperator, 'error', report), tokens: 0 };
}

/** @returns the message that replaces the summarized messages; undefined if the answer is not a summary */
function extractSummaryMessage({ blocks, stopReason }: MessageBuilder): string | undefined {
  const values = blocks.map(({ value }) => value);
  const texts = values.flatMap(({ type, text }) => (type === 'text' && typeof text === 'string' ? [text] : []));
  const text = texts.join('').trim();
  return text !== '' && (stopReason === 'end_turn' || stopReason === 'max_tokens')
    ? createSummaryMessageJson(text)
    : undefined;
}

/** @returns about how many tokens a text has. Characters that are not ASCII count as about one token each */
function estimateTokens(text: string): number {
  const others = text.replaceAll(/[\0-\x7f]+/g, '').length;
  return others + Math.ceil((text.length - others) / CHARACTERS_PER_TOKEN);
}
