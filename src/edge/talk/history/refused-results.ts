/**
 * Results of the edge's calls that the API has refused. They would be refused with every later question, so the model is told in
 * words that the tool has answered. What an answer brings is kept only if it can go up.
 */

import { writeJson } from '../../kit/json/kept-text.ts';
import { asText, type Json, memberOf, parseObject } from '../../kit/json/object.ts';
import type { PendingResults } from './continuation.ts';
import { toldResult, wordsBefore } from './left-out-calls.ts';
import { ANSWERED, tailIn } from './new-messages.ts';
import { blocksIn, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { answeredTools } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn, turnAt } from './storage/turn-queries.ts';
import { loopStart } from './thinking.ts';

/** A path by which the API names a block of a message. */
const BLOCK_PATH = /messages\.(\d+)\.content\.(\d+)/g;
/** Words about an image, and about all that is sent together, that may come without a path. */
const ABOUT_IMAGE = /Could not process image|image_dimensions_too_large/;
const PROMPT_TOO_LONG = /prompt is too long/;
/** The most characters of the API's words that the model is told. */
const MOST_REFUSAL_WORDS = 300;

/** The results of a step that go up. */
export interface ResultsOfStep {
  /** The number of the step that has made the calls. */
  turn: number;
  pending: PendingResults;
}

/**
 * Finds the results that a refusal is about.
 *
 * @param refusal the body of the API's 400
 * @param messages the messages that went up
 * @returns the ids of their calls; none for a refusal that names anything else
 */
export function refusedResults(
  refusal: string,
  messages: readonly unknown[],
  { pending }: Pick<ResultsOfStep, 'pending'>,
): string[] {
  const named = [...refusal.matchAll(BLOCK_PATH)];
  if (named.length > 0) {
    const found = named.map(([, message, block]) => resultAt(messages[Number(message)], Number(block), pending));
    return [...new Set(found.filter((id) => id !== undefined))];
  }
  const results = [...pending];
  const idsOf = (some: typeof results) => some.map(([id]) => id);
  if (ABOUT_IMAGE.test(refusal)) return idsOf(results.filter(([, text]) => hasImage(parseObject(text))));
  if (!PROMPT_TOO_LONG.test(refusal)) return [];
  return idsOf(results.toSorted(([, one], [, other]) => other.length - one.length).slice(0, 1));
}

/** @returns the id of the call whose result a block is, or belongs to; undefined for any other */
function resultAt(message: unknown, at: number, pending: PendingResults): string | undefined {
  const content = memberOf(message, 'content');
  if (!Array.isArray(content)) return undefined;
  const block: unknown = content[at];
  const isResult = memberOf(block, 'type') === 'tool_result';
  const id = isResult ? asText(memberOf(block, 'tool_use_id')) : undefined;
  if (id !== undefined) return pending.has(id) ? id : undefined;
  const words = wordsBefore(content, at);
  const result = words && parseObject(pending.get(words.id) ?? '');
  return result && words.behind < toldResult(result).length ? words.id : undefined;
}

/**
 * Has results go up in words from now on, behind which the model has refused to answer: they would be refused again. Where it has
 * refused that, too, all that led to them leaves the history.
 *
 * @param refused the turn that was refused
 * @returns whether it can be asked again
 */
export function hideRefused(transcript: Transcript, refused: Pick<TurnRow, 'seq'>): boolean {
  const results = resultsWithoutAnswer(transcript);
  if (!results) return false;
  const isAgain = "turns where status = 'refused' and seq > ? and seq < ?";
  if (transcript.has(isAgain, results.turn, refused.seq)) {
    const start = loopStart(transcript);
    transcript.refuseTurns('seq >= ?', turnAt(transcript, start)?.run ?? start);
    return false;
  }
  hideResults(transcript, results.turn, results.pending.keys(), 'no answer may be written to it.');
  return true;
}

/**
 * @returns the results of the edge's calls to which the model has said nothing yet: they go up with what is said next, or stand in
 *   a question that has no answer. Undefined if there are none
 */
function resultsWithoutAnswer(transcript: Transcript): ResultsOfStep | undefined {
  // Behind an empty answer they have been taken.
  const last = latestTurn(transcript, [...ANSWERED, 'empty']);
  const results = resultsInQuestion(transcript, last, tailIn(transcript));
  if (results || typeof last?.run !== 'number') return results;
  const pending = transcript.calls.results(last.seq);
  return pending.size > 0 ? { turn: last.seq, pending } : undefined;
}

/**
 * Finds the results of the edge's calls that stand in a question without an answer: the API may not have taken them.
 *
 * @param last the last turn with an answer, or with a question that has none
 * @param tail the last answer and what follows it
 */
export function resultsInQuestion(
  transcript: Transcript,
  last: Pick<TurnRow, 'status'> | undefined,
  tail: readonly MessageText[],
): ResultsOfStep | undefined {
  const questions = tail.filter(({ role }) => role === 'user');
  if (last?.status !== 'interrupted' || questions.length === 0) return undefined;
  const step = latestTurn(transcript, ['complete']);
  if (typeof step?.run !== 'number') return undefined;
  const blocks = questions.flatMap(({ text }) => blocksIn(text));
  const answered = new Set(answeredTools(blocks));
  const isThere = (id: string) => answered.has(id) || blocks.some((_, at) => wordsBefore(blocks, at)?.id === id);
  const pending = new Map([...transcript.calls.results(step.seq)].filter(([id]) => isThere(id)));
  return pending.size > 0 ? { turn: step.seq, pending } : undefined;
}

/**
 * Stores that results cannot be shown, also where they stand in a question without an answer.
 *
 * @param why the words with which the API has refused them
 */
export function hideResults(transcript: Transcript, turn: number, ids: Iterable<string>, why: string): void {
  const content = `The tool was called and has answered; do not call it again for this. What it answered cannot be shown: ${why.slice(0, MOST_REFUSAL_WORDS).toWellFormed()}`;
  const before = transcript.calls.results(turn);
  const hidden = new Map([...ids].map((id) => [id, { type: 'tool_result', tool_use_id: id, content }]));
  for (const [id, result] of hidden) transcript.calls.changeResult(turn, id, writeJson(result));
  const repaired: RepairedMessage[] = [];
  for (const row of transcript.messages.history({ sent: true, backwards: true })) {
    if (row.role !== 'user') break;
    const blocks = blocksIn(row.text);
    const content = withHidden(blocks, hidden, before);
    if (content.some((block, at) => block !== blocks[at])) repaired.push({ ...row, content });
  }
  storeRepaired(transcript, repaired);
}

/** @returns the blocks of a message with hidden results in place of what they were. @param before the results as they were */
function withHidden(blocks: readonly Json[], hidden: ReadonlyMap<string, Json>, before: PendingResults): Json[] {
  const all: Json[] = [];
  for (let at = 0; at < blocks.length; at += 1) {
    const block = blocks[at] as Json;
    const words = wordsBefore([block], 0)?.id ?? '';
    const result = hidden.get(asText(block.tool_use_id ?? ''));
    const hiddenWords = hidden.get(words);
    all.push(...(result ? [result] : hiddenWords ? toldResult(hiddenWords) : [block]));
    if (hiddenWords) at += toldResult(parseObject(before.get(words) ?? '') ?? {}).length - 1;
  }
  return all;
}

/** @returns the words of a refusal */
export function wordsOfRefusal(refusal: string): string {
  const message = memberOf(parseObject(refusal)?.error, 'message');
  return typeof message === 'string' ? message : 'the API has refused it.';
}

function hasImage(result: unknown): boolean {
  const content = memberOf(result, 'content');
  return Array.isArray(content) && content.some((block) => memberOf(block, 'type') === 'image');
}
