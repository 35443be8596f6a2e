/** Decides what is summarized, and puts a summary before the messages that stay. */

import { joinedBetas } from '../../claude/headers.ts';
import { isObject, parseObject } from '../../kit/json/object.ts';
import { KEEPS } from '../../talk/history/shares.ts';
import { sizesOf, tokensFrom } from '../../talk/history/truncate.ts';
import type { Profile } from '../../talk/storage/rows.ts';
import type { SummaryRow } from '../../talk/storage/summary-rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';

/** The most tokens of a summary, where the setting does not say it: this, and this part of `max_tokens`. */
const LONGEST_SUMMARY = 8_192;
const MOST_SHARE = 0.25;

const MOST_DOUBLINGS = 6;

/** The instructions of a summary that is not the API's own, where the setting has none. */
const INSTRUCTIONS =
  'Summarize this conversation: your summary will stand in the place of everything above. Keep every fact, name, number, ' +
  'decision, promise and open question that may matter later, and what the user wants. Answer with the summary alone.';
const TELLS = 'This is a summary of the conversation so far. It stands in the place of its earlier messages.\n\n';

/** The beta of the API's own summaries. */
export const COMPACTION_BETA = 'compact-2026-09-04';

/** What is summarized next. */
export interface PlannedSummary {
  /** What its prompt begins with: a message's number, or a summary's id below zero. */
  base: number;
  /** The number of the last message that it summarizes. */
  until: number;
  /** The most tokens that it may have, and those beyond which it would be of no use: what stays needs the rest. */
  most: number;
  room: number;
  instructions: string | undefined;
}

/** @returns the first message of a prompt, and the summary before it. @param sentFrom a message, or a summary's id below zero */
export function beginningOf(
  { summaries }: Transcript,
  sentFrom: number,
): { from: number; summary: SummaryRow | undefined } {
  const summary = sentFrom < 0 ? summaries.get(-sentFrom) : undefined;
  return summary?.text ? { from: summary.until + 1, summary } : { from: Math.max(0, sentFrom), summary: undefined };
}

/**
 * Plans the next summary: of the oldest turns, so that the newest stay word for word.
 *
 * @param filled the part of `max_tokens` that must be exceeded
 * @returns undefined if there is nothing to summarize now
 */
export function nextSummary(transcript: Transcript, filled: number): PlannedSummary | undefined {
  const { profile, summaries } = transcript;
  const { history } = profile ?? {};
  if (!profile?.exists || history?.strategy !== 'summarize') return undefined;
  const { max_tokens: limit, instructions } = history;
  const latest = summaries.latest();
  const turns = sizesOf(transcript).filter(({ from }) => from > (latest?.until ?? 0));
  if (tokensFrom(turns, 0) + (latest?.tokens ?? 0) <= limit * filled) return undefined;
  const base = latest ? -latest.id : 0;
  const first = firstToKeep(turns, limit * KEEPS, base);
  if (first === undefined) return undefined;
  const room = limit - tokensFrom(turns, first);
  // Behind turns that fill the limit themselves no summary is ever sent.
  if (room < limit * MOST_SHARE) return undefined;
  const { summary_max_tokens: most = Math.max(1, Math.min(LONGEST_SUMMARY, Math.floor(limit * MOST_SHARE))) } = history;
  return { base, until: first - 1, most, room, instructions: instructions?.trim() || undefined };
}

/**
 * @param base what the summary's prompt begins with
 * @returns the first message of the turns that stay: as many as fit, and never a part of a tool loop or a run
 */
function firstToKeep(turns: ReturnType<typeof sizesOf>, most: number, base: number): number | undefined {
  // The cache has whole prompts: a summary of less than the first one with this beginning would read nothing from it.
  const inCache = turns.findIndex(({ sentFrom }) => sentFrom === base);
  let first: number | undefined;
  let tokens = 0;
  for (const [at, turn] of [...turns.entries()].slice(1).reverse()) {
    tokens += turn.tokens;
    if (first !== undefined && (tokens > most || at <= inCache)) break;
    if (!turn.follows) first = turn.from;
  }
  return first;
}

/**
 * @returns whether a summary may be begun. After one that came to nothing, which may have cost as much as another, not before
 *   the next answer; after several in a row not before twice as many answers each time
 */
export function mayBegin({ summaries }: Transcript, newestTurn: number): boolean {
  const newest = summaries.newest();
  if (!newest) return true;
  const pause = 2 ** Math.min(MOST_DOUBLINGS, Math.max(0, summaries.failedInARow() - 1));
  return newest.status !== 'running' && newest.turn + pause <= newestTurn;
}

/** @returns the header `anthropic-beta` of a request with a block of a summary, or for one */
export function withCompaction(betas: string | undefined): string {
  return joinedBetas(betas, [COMPACTION_BETA]);
}

/** @returns the question that asks a model for a summary, as JSON text */
export function summaryQuestion(instructions = INSTRUCTIONS): string {
  return JSON.stringify({ role: 'user', content: instructions });
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
