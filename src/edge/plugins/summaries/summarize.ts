/** Decides which turns to summarize. */

import { SUMMARY_KEEP_RATIO } from '../../conversations/history/history-ratios.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { findLastCommittedTurnNumber } from '../../conversations/history/storage/turn-queries.ts';
import { computeTurnTokenSizes, sumTokens } from '../../conversations/history/truncate.ts';
import { getSummaryRows } from './summary-rows.ts';

/** The most tokens of a summary, if the setting does not limit them: this number, and this part of `max_tokens`. */
const LONGEST_SUMMARY = 8_192;
const MOST_SHARE = 0.25;

const MOST_DOUBLINGS = 6;

/** The plan of the next summary. */
export interface SummaryPlan {
  /** The first message of its prompt: a message's number, or a summary's id below zero. */
  base: number;
  /** The number of the last message that it summarizes. */
  until: number;
  /** The most tokens that it may have, and those beyond which it would be of no use: what stays needs the rest. */
  most: number;
  room: number;
  instructions: string | undefined;
}

/**
 * Plans the next summary: of the oldest turns, so that the newest stay word for word.
 *
 * @param filled the part of `max_tokens` that must be exceeded
 * @returns undefined if there is nothing to summarize now
 */
export function planNextSummary(transcript: Transcript, filled: number): SummaryPlan | undefined {
  const { storedProfile: profile } = transcript;
  const { history } = profile ?? {};
  if (!profile?.exists || history?.strategy !== 'summarize' || !canStartSummary(transcript)) return undefined;
  const { max_tokens: limit, instructions } = history;
  const latest = getSummaryRows(transcript).findMostCovering();
  const turns = computeTurnTokenSizes(transcript).filter(({ from }) => from > (latest?.until ?? 0));
  if (sumTokens(turns, 0) + (latest?.tokens ?? 0) <= limit * filled) return undefined;
  const base = latest ? -latest.id : 0;
  const first = findFirstUnsummarizedMessage(turns, limit * SUMMARY_KEEP_RATIO, base);
  if (first === undefined) return undefined;
  const room = limit - sumTokens(turns, first);
  // Make no summary if the remaining turns fill the limit by themselves, because it could never be sent with them.
  if (room < limit * MOST_SHARE) return undefined;
  const { summary_max_tokens: most = Math.max(1, Math.min(LONGEST_SUMMARY, Math.floor(limit * MOST_SHARE))) } = history;
  return { base, until: first - 1, most, room, instructions: instructions?.trim() || undefined };
}

/**
 * @param base the first message of the summary's prompt
 * @returns the first message of the turns that remain: as many turns as fit, and never a part of a tool loop or a run
 */
function findFirstUnsummarizedMessage(
  turns: ReturnType<typeof computeTurnTokenSizes>,
  most: number,
  base: number,
): number | undefined {
  // Summarize at least to the end of the first turn whose prompt starts at the same message as the prompt of this summary
  // (`base`). The prompt cache stores only the prompts of whole turns, so a shorter part would not be read from the cache.
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
 * @returns whether a summary may be started. After a failed one, which may have cost as much as a complete one, only after the
 *   next answer; after several in a row only after twice as many answers each time
 */
function canStartSummary(transcript: Transcript): boolean {
  const summaries = getSummaryRows(transcript);
  const newest = summaries.findNewestSummary();
  if (!newest) return true;
  const pause = 2 ** Math.min(MOST_DOUBLINGS, Math.max(0, summaries.countRecentFailures() - 1));
  return newest.status !== 'running' && newest.turn + pause <= findLastCommittedTurnNumber(transcript);
}
