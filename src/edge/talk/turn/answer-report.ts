/** Reports what an answer has used, complete or not. Its turn is settled by this report. */

import { UsageReader } from '../../claude/usage/usage-reader.ts';
import { fallbacksIn, nothingSeen, type Report, reportOf, type Seen } from '../../claude/usage/usage-report.ts';
import { encoder } from '../../kit/http/bytes.ts';
import type { MessageBuilder } from './message-builder.ts';
import type { TurnEnd } from './turn-ending.ts';

export function completeReport({ message, usage, blocks, stopReason }: MessageBuilder, bytes: number): Report {
  const { model } = message ?? {};
  return {
    ...reportOf(undefined, bytes),
    model: typeof model === 'string' ? model : undefined,
    usage,
    fallbacks: fallbacksIn(blocks.map(({ value }) => value)),
    stop_reason: stopReason,
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
  /** How long unseen output may have been written, and the silences at the end, as the turn has measured them. */
  times: Pick<Seen, 'unseen_ms' | 'silent_ms' | 'lost_ms'>;
}

/** @returns the report of an interrupted answer, measured from its events. */
export function partialReport(how: TurnEnd, { shown, rest, bytes, times }: PartialAnswer): Report {
  const usage = new UsageReader({ readsBlocks: true });
  usage.push(encoder.encode(shown));
  // The upstream has also written the unfinished event.
  if (how.kind === 'cut' || how.kind === 'stopped') usage.push(encoder.encode(rest));
  if (how.kind === 'error') usage.push(encoder.encode(`event: error\ndata: ${how.frame.data}\n\n`));
  const { seen = nothingSeen(0), ...report } = usage.report;
  // The events are read all at once here, so their times are taken from the turn, which has measured them.
  const { unseen_ms } = times;
  const later_prompts = seen.later_prompts.map(({ tokens }) => ({ tokens, unseen_ms }));
  const handed_over = seen.handed_over && { ...seen.handed_over, unseen_ms };
  return { ...report, seen: { ...seen, ...times, later_prompts, handed_over }, bytes };
}

/** @returns every token of a prompt, cached or not. */
export function inputTokens(usage: Report['usage']): number {
  return (usage?.input_tokens ?? 0) + (usage?.cache_read_input_tokens ?? 0) + (usage?.cache_creation_input_tokens ?? 0);
}
