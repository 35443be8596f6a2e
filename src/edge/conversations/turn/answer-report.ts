/** Reports the usage of an answer, complete or not. Its turn is settled by this report. */

import type { SendProgress } from '../../claude/send-progress.ts';
import { hasFinalUsage } from '../../claude/usage/reported-usage.ts';
import { UsageReader } from '../../claude/usage/usage-reader.ts';
import {
  computeSignatureLength,
  createResponseReport,
  createUnobserved,
  findLongestToolResults,
  listModelsOfFallbackAnswer,
  type ObservedPart,
  type ResponseReport,
} from '../../claude/usage/usage-report.ts';
import { encoder } from '../../kit/http/bytes.ts';
import type { StoredOutcome, TurnRow } from '../history/storage/rows.ts';
import type { MessageBuilder } from './message-builder.ts';
import type { TurnEnd } from './turn-ending.ts';

export function createCompleteReport(
  { message, reportedUsage: usage, blocks, stopReason, reported }: MessageBuilder,
  bytes: number,
): ResponseReport {
  const { model } = message ?? {};
  const content = blocks.map(({ value }) => value);
  return {
    ...createResponseReport(undefined, bytes),
    model: typeof model === 'string' ? model : undefined,
    usage,
    handoverModels: listModelsOfFallbackAnswer(content),
    results: findLongestToolResults(content),
    signatureLength: computeSignatureLength(content),
    stop_reason: stopReason,
    ...(reported.isUnbilledEnd(message) && { unbilled: true }),
    completed: true,
  };
}

/** An interrupted answer, as far as it came. */
interface PartialAnswer {
  /** Its events as they were shown. */
  shown: string;
  /** The beginning of an unfinished event. */
  rest: string;
  bytes: number;
  times: UnseenOutputTimings;
}

/** How long unseen output may have been written, and the silences at the end, as the turn has measured them. */
export type UnseenOutputTimings = Pick<ObservedPart, 'unseen_ms' | 'silent_ms' | 'lost_ms' | 'quiet_ms'>;

/** @returns the report of an interrupted answer, measured from its events. */
function createPartialReport(turnEnd: TurnEnd, { shown, rest, bytes, times }: PartialAnswer): ResponseReport {
  const usage = new UsageReader({ readsBlocks: true });
  usage.addPiece(encoder.encode(shown));
  // Count the unfinished event, too, because the upstream has generated its output.
  if (turnEnd.kind === 'cut' || turnEnd.kind === 'stopped') usage.addPiece(encoder.encode(rest));
  if (turnEnd.kind === 'error') usage.addPiece(encoder.encode(`event: error\ndata: ${turnEnd.frame.data}\n\n`));
  // A buffered answer that is not a message has no events, but may report what it has cost.
  const buffered = turnEnd.kind === 'cut' && turnEnd.report?.usage ? turnEnd.report : undefined;
  const { seen = createUnobserved(0), ...report } = { ...usage.currentReport, ...buffered };
  // Use the times that the turn has measured. Here, all events are read at once, so measuring them again would give no time at
  // all.
  const { unseen_ms } = times;
  const later_prompts = seen.later_prompts.map(({ tokens }) => ({ tokens, unseen_ms }));
  const handed_over = seen.handed_over && { ...seen.handed_over, unseen_ms };
  return { ...report, seen: { ...seen, ...times, later_prompts, handed_over }, bytes };
}

/** A turn, for the outcome of its request. */
interface TurnOutcomeSource {
  builder: MessageBuilder;
  log: { readonly text: string };
  row: Pick<TurnRow, 'beganAt' | 'grant'>;
  /** The status of the upstream's response. */
  status: number | undefined;
  upstreamRequestId: string | undefined;
  progress: SendProgress;
  firstByteAt: number | undefined;
}

/** @returns the outcome of a turn's request. Calls `times` only if the final usage has not arrived */
export function buildTurnOutcome(
  turnEnd: TurnEnd,
  now: number,
  turn: TurnOutcomeSource,
  { rest, bytes, times }: { rest: string; bytes: number; times: () => UnseenOutputTimings },
): StoredOutcome {
  const { builder, log, progress, row, firstByteAt } = turn;
  const whole = turnEnd.kind === 'complete' && builder.hasReportedOutput && createCompleteReport(builder, bytes);
  const report =
    whole && hasFinalUsage(whole)
      ? whole
      : createPartialReport(turnEnd, { shown: log.text, rest, bytes, times: times() });
  // With several upstreams, report the name of the one that answered or was tried last.
  const { upstream = row.grant?.upstream, failedUpstreams } = progress;
  const { loweredBy } = row.grant ?? {};
  const error_message = turnEnd.kind === 'cut' ? turnEnd.storedSentence : report.error_message;
  return {
    ...report,
    completed: turnEnd.kind === 'complete',
    error_type: turnEnd.kind === 'cut' ? turnEnd.error.logged : report.error_type,
    ...(error_message !== undefined && { error_message }),
    status: turn.status,
    sent: progress.sentAt !== undefined,
    // Report a stopped answer as cut, because the edge has not received the rest of it.
    end: turnEnd.kind === 'stopped' ? 'cut' : turnEnd.kind === 'cut' ? turnEnd.end : turnEnd.kind,
    stopped: turnEnd.kind === 'stopped' || undefined,
    upstream_request_id: turn.upstreamRequestId,
    ...(upstream === undefined ? {} : { upstream }),
    ...(failedUpstreams && { failed_upstreams: failedUpstreams }),
    ...(loweredBy && { lowered_by: loweredBy }),
    ttft_ms: Math.max(0, (firstByteAt ?? row.beganAt) - row.beganAt - (row.grant?.waitedMs ?? 0)),
    after_first_ms: Math.max(0, now - (firstByteAt ?? now)),
  };
}

/** @returns every token of a prompt, cached or not. */
export function countInputTokens(usage: ResponseReport['usage']): number {
  return (usage?.input_tokens ?? 0) + (usage?.cache_read_input_tokens ?? 0) + (usage?.cache_creation_input_tokens ?? 0);
}
