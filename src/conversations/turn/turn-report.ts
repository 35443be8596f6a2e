/** What a turn's answer tells about itself, whole or not: what it is settled by. */

import { encoder } from '../../http/bytes.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import { UsageReader } from '../../upstream/usage/usage-reader.ts';
import { checkedUsage, fallbacksIn, nothingSeen, type Report, reportOf } from '../../upstream/usage/usage-report.ts';
import type { MessageBuilder } from './message-builder.ts';
import type { TurnEnd } from './turn-ending.ts';

/** @returns what a whole answer tells, which is in its message. */
export function wholeReport({ message, usage, blocks, stopReason }: MessageBuilder, bytes: number): Report {
  const { model } = message ?? {};
  return {
    ...reportOf(undefined, bytes),
    model: typeof model === 'string' ? model : undefined,
    usage: checkedUsage(usage),
    fallbacks: fallbacksIn(blocks.map(({ value }) => value)),
    stop_reason: stopReason,
    completed: true,
  };
}

/** How far an answer came that did not end by itself. */
export interface PartialAnswer {
  /** Its events as they were shown. */
  shown: string;
  /** What has come of an event that was cut. */
  rest: string;
  bytes: number;
  /** How long what was not seen may have been written, and the silence at its end. */
  unseen_ms: number;
  silent_ms: number;
}

/** @returns what is known of an answer that is not whole: what was said is measured by its events. */
export function partReport(how: TurnEnd, { shown, rest, bytes, unseen_ms, silent_ms }: PartialAnswer): Report {
  const usage = new UsageReader({ readsBlocks: true });
  usage.push(encoder.encode(shown));
  // An event that was cut in its middle was written all the same.
  if (how.kind === 'cut' || how.kind === 'stopped') usage.push(encoder.encode(rest));
  if (how.kind === 'error') usage.push(encoder.encode(`event: error\ndata: ${how.frame.data}\n\n`));
  const { seen = nothingSeen(0), ...report } = usage.report;
  // Its events are read here at once: when they came, the turn has noted.
  const later_prompts = seen.later_prompts.map(({ tokens }) => ({ tokens, unseen_ms }));
  const handed_over = seen.handed_over && { ...seen.handed_over, unseen_ms };
  return { ...report, seen: { ...seen, unseen_ms, silent_ms, later_prompts, handed_over }, bytes };
}

/** @returns how a try ends that got no answer; times in milliseconds since 1970. */
export function unansweredOutcome(sentAt: number | undefined, now: number): RequestOutcome {
  return {
    ...reportOf(undefined, 0),
    error_type: 'upstream_unreachable',
    seen: nothingSeen(now - (sentAt ?? now)),
    status: undefined,
    sent: sentAt !== undefined,
    end: 'cut',
    upstream_request_id: undefined,
    ttft_ms: 0,
  };
}

/** @returns every token of a prompt, cached or not. */
export function inputTokens(usage: Report['usage']): number {
  return (usage?.input_tokens ?? 0) + (usage?.cache_read_input_tokens ?? 0) + (usage?.cache_creation_input_tokens ?? 0);
}
