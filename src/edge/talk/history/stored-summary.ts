/** Reads the summaries that a history has: what goes up in the place of its oldest messages. */

import { joinedBetas } from '../../claude/headers.ts';
import type { Upstream } from '../../claude/upstream.ts';
import { isObject, parseObject } from '../../kit/json/object.ts';
import type { Profile } from '../storage/rows.ts';
import type { SummaryRow } from '../storage/summary-rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { latestTurn } from '../storage/turn-queries.ts';
import { ANSWERED } from './new-messages.ts';

const TELLS = 'This is a summary of the conversation so far. It stands in the place of its earlier messages.\n\n';

/** The beta of the API's own summaries. */
export const COMPACTION_BETA = 'compact-2026-09-04';

/** @returns the header `anthropic-beta` of a request with a block of a summary, or for one */
export function withCompaction(betas: string | undefined): string {
  return joinedBetas(betas, [COMPACTION_BETA]);
}

/** @returns the first message of a prompt, and the summary before it. @param sentFrom a message, or a summary's id below zero */
export function beginningOf(
  { summaries }: Transcript,
  sentFrom: number,
): { from: number; summary: SummaryRow | undefined } {
  const summary = sentFrom < 0 ? summaries.get(-sentFrom) : undefined;
  return summary?.text ? { from: summary.until + 1, summary } : { from: Math.max(0, sentFrom), summary: undefined };
}

/** @returns the message that stands in the place of what it summarizes, as JSON text */
export function summaryMessage(text: string): string {
  return JSON.stringify({ role: 'user', content: TELLS + text });
}

/** @returns the words of a summary; empty where the API has kept them to itself */
export function summaryWords({ text }: Pick<SummaryRow, 'text'>): string {
  const content = parseObject(text ?? '')?.content;
  if (typeof content === 'string') return content.slice(TELLS.length);
  const [block] = Array.isArray(content) ? content : [];
  return isObject(block) && typeof block.content === 'string' ? block.content : '';
}

/** Upstreams that have refused to make a block. They are asked as by a user. */
export const withoutBlocks = new WeakSet<Upstream>();

/** @returns the upstream whose blocks a summary is: only it can read them. Undefined where summaries are texts */
export function placeOf(upstream: Upstream): string | undefined {
  const { pool, baseURL, simulated } = upstream;
  if (pool || withoutBlocks.has(upstream)) return undefined;
  return simulated ? 'simulator' : baseURL;
}

/**
 * Has a summary that only one upstream can read go up as a text from now on, which each can. Its words stay the same.
 *
 * @param id of the summary
 */
export function sayInWords(transcript: Transcript, id: number): void {
  const { profile, summaries } = transcript;
  const row = summaries.get(id);
  if (!profile || !row?.place || row.status !== 'complete' || summaries.inWords(-id) !== -id) return;
  const next = summaries.given + 1;
  const own = { id: next, place: null, text: summaryMessage(summaryWords(row)), cost: 0, grant: null, settled: true };
  transcript.together(() => {
    summaries.add({ ...row, ...own });
    transcript.save({ ...profile, summaries: next } satisfies Profile);
  });
}

/**
 * Has the words of each block go up that could go up next and that another upstream has made. Call it before a prompt is planned.
 *
 * @param upstream makes the one that answers now
 */
export function sayOthersInWords(transcript: Transcript, upstream: () => Upstream): void {
  const { summaries, profile } = transcript;
  if (summaries.given === 0) return;
  const place = placeOf(upstream());
  // A tool loop goes on behind what it has begun behind, which may be another one than the latest.
  const looped = latestTurn(transcript, [...ANSWERED, 'empty'])?.sentFrom ?? 0;
  for (const id of new Set([summaries.latest()?.id ?? 0, -looped, -(profile?.sentFrom ?? 0)])) {
    const own = id > 0 ? summaries.get(id)?.place : null;
    if (own && own !== place) sayInWords(transcript, id);
  }
}
