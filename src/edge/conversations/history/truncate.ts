/** Leaves out the oldest turns if a history is longer than the conversation's limit. */
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import type { HistorySetting } from './history.schema.ts';
import { TRUNCATED_FILL_RATIO } from './history-ratios.ts';
import type { HistorySubstitute } from './storage/plugin-rows.ts';
import type { ConversationProfile } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { listTurnSizes } from './storage/turn-queries.ts';

export interface SizedTurn {
  /** The number of its first message. */
  from: number;
  /** Tokens that it adds to a prompt. */
  tokens: number;
  /** Whether it must not be sent without the turn before it. */
  follows: boolean;
}

/** Most tokens have at least this many characters. */
export const CHARACTERS_PER_TOKEN = 3;

/**
 * Finds the first message to send. Complete turns are left out, oldest first, and never a call without its result.
 *
 * @param start the first message that was sent until now
 * @param fresh tokens of the new messages
 * @param maxTokens the limit in tokens
 * @returns `start` if everything fits
 */
export function findFirstFitting(turns: readonly SizedTurn[], start: number, fresh: number, maxTokens: number): number {
  const sent = turns.filter(({ from }) => from >= start);
  let tokens = fresh + sent.reduce((sum, turn) => sum + turn.tokens, 0);
  if (tokens <= maxTokens) return start;
  for (const [index, turn] of sent.entries()) {
    if (index > 0 && !turn.follows && tokens <= maxTokens * TRUNCATED_FILL_RATIO) return turn.from;
    tokens -= turn.tokens;
  }
  // No later turn fits. Send at least the turn that the new messages continue, however long it is.
  const last = sent.findLast(({ follows }) => !follows);
  return last?.from ?? start;
}

/**
 * Finds the first message of the prompt by the conversation's setting `history`: a message's number, or a summary's id below
 * zero.
 *
 * @param characters the characters of the new messages
 * @param continued the first message of the last turn's prompt, if the new messages continue that turn
 * @throws ApiError 400 if the limit is exceeded and the strategy is `error`
 */
export function findFirstMessageToSend(
  transcript: Transcript,
  profile: ConversationProfile | undefined,
  characters: number,
  continued: number | undefined,
): number {
  const before = continued ?? profile?.sentFrom ?? 0;
  const from = before >= 0 || transcript.historySubstitutes?.findUsableById(-before) ? before : 0;
  if (!profile?.history) return from;
  const { max_tokens: most, strategy } = profile.history;
  const turns = computeTurnTokenSizes(transcript);
  const fresh = Math.ceil(characters / CHARACTERS_PER_TOKEN);
  const sumTotalTokens = (start: number) => fresh + sumTokens(turns, start);
  if (strategy === 'summarize') {
    // Within a tool loop, do not switch to another summary: keep the summary or the first message that the loop began with.
    if (continued !== undefined) return from;
    const summary = transcript.historySubstitutes?.findMostCovering();
    const start = summary ? summary.until + 1 : 0;
    if (sumTotalTokens(start) + (summary?.tokens ?? 0) <= most) return summary ? -summary.id : 0;
    const first = findFirstFitting(turns, Math.max(start, from), fresh, most);
    return sumTotalTokens(first) > most ? profile.nextMessage : Math.max(1, first);
  }
  if (sumTotalTokens(from) <= most) return from;
  if (strategy === 'error') {
    throw createInvalidRequestError(
      `messages: this conversation is longer than its limit of ${most} tokens. Rewind or fork it, or set \`history.strategy\` to \`truncate\` (PATCH /conversations/:id).`,
    );
  }
  // Do not truncate within a tool loop: its thinking is valid only if no message before it changes. See
  // https://platform.claude.com/docs/build-with-claude/preserved-thinking
  if (continued !== undefined) return from;
  const first = findFirstFitting(turns, from, fresh, most);
  // If even the last turn does not fit beside the new question, send the question without any earlier turn.
  return sumTotalTokens(first) > most ? profile.nextMessage : first;
}

/**
 * @returns the first message of a prompt, and the summary before it. @param sentFrom a message, or a summary's id below zero
 */
export function findStartOfPrompt(
  { historySubstitutes: standIns }: Transcript,
  sentFrom: number,
): { from: number; standIn: HistorySubstitute | undefined } {
  const standIn = sentFrom < 0 ? standIns?.findUsableById(-sentFrom) : undefined;
  return standIn?.text ? { from: standIn.until + 1, standIn } : { from: Math.max(0, sentFrom), standIn: undefined };
}

/** @returns the tokens of the turns from a message on */
export function sumTokens(turns: readonly SizedTurn[], start: number): number {
  return turns.reduce((sum, turn) => (turn.from >= start ? sum + turn.tokens : sum), 0);
}

/** @returns whether a history is sent without its oldest turns although its setting wants a summary of them */
export function isSummaryMissing(history: HistorySetting | null | undefined, sentFrom: number): boolean {
  return history?.strategy === 'summarize' && sentFrom > 0;
}

/** @returns about how many tokens each turn adds to a prompt, and the first message of its own prompt, oldest first */
export function computeTurnTokenSizes(transcript: Transcript): (SizedTurn & { sentFrom: number })[] {
  let before: { tokens: number; sentFrom: number } | undefined;
  return listTurnSizes(transcript).map(({ first, characters, tokens, sentFrom, follows }) => {
    const reported = tokens === null ? undefined : { tokens, sentFrom };
    // The prompt of a turn begins with the whole prompt of the turn before it, so the turn's own tokens are the difference.
    const added = reported && before?.sentFrom === reported.sentFrom ? reported.tokens - before.tokens : 0;
    const all = reported && !before ? reported.tokens : 0;
    before = reported;
    const estimated = Math.ceil(characters / CHARACTERS_PER_TOKEN);
    return { from: first, tokens: added > 0 ? added : all > 0 ? all : estimated, follows, sentFrom };
  });
}
