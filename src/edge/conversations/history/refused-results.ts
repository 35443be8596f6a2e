/**
 * Results of the edge's calls that the API has refused. They would be refused with every later question, so the model is told in
 * words that the tool has answered. What an answer brings is kept only if it can go up.
 */

import { type Json, memberOf, parseObject, toText } from '../../kit/json/object.ts';
import { writeJson } from '../../kit/json/remembered-text.ts';
import type { PendingResults } from './continuation.ts';
import { ANSWERED, readTail } from './new-messages.ts';
import { findPrecedingCallText, resultAsText } from './omitted-calls.ts';
import { parseBlocks, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { answeredCallIdsOf } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn, turnAt } from './storage/turn-queries.ts';
import { loopStart } from './thinking.ts';

/** Words that choose between results: about an image, and about the length of all that is sent together. */
const ABOUT_IMAGE = /\bimages?\b|image_/i;
const ABOUT_LENGTH = /\btoo (?:long|large|many)\b|\bexceeds?\b/i;
/** The most characters of the API's words that the model is told. */
const MAX_REFUSAL_CHARACTERS = 300;

/** The results of a step that go up. */
export interface StepResults {
  /** The number of the step that has made the calls. */
  turn: number;
  pending: PendingResults;
}

/**
 * Chooses the results that a rejection is about, where it names none by a path. They are what is new in the request, so if its words
 * say nothing, it is about all of them.
 *
 * @returns the ids of their calls
 */
export function chooseResults(words: string, status: number, pending: PendingResults): string[] {
  const results = [...pending];
  const idsOf = (some: typeof results) => some.map(([id]) => id);
  const withImage = results.filter(([, text]) => hasImage(parseObject(text)));
  if (withImage.length > 0 && ABOUT_IMAGE.test(words)) return idsOf(withImage);
  if (status !== 413 && !ABOUT_LENGTH.test(words)) return idsOf(results);
  return idsOf(results.toSorted(([, one], [, other]) => other.length - one.length).slice(0, 1));
}

/** @returns the id of the call whose result a block is, or belongs to; undefined for any other */
export function resultAt(message: unknown, at: number, pending: PendingResults): string | undefined {
  const content = memberOf(message, 'content');
  if (!Array.isArray(content)) return undefined;
  const block: unknown = content[at];
  const isResult = memberOf(block, 'type') === 'tool_result';
  const id = isResult ? toText(memberOf(block, 'tool_use_id')) : undefined;
  if (id !== undefined) return pending.has(id) ? id : undefined;
  const words = findPrecedingCallText(content, at);
  const result = words && parseObject(pending.get(words.id) ?? '');
  return result && words.behind < resultAsText(result).length ? words.id : undefined;
}

/**
 * Has results go up in words from now on, behind which the model has refused to answer: they would be refused again. Where it has
 * refused that, too, all that led to them leaves the history.
 *
 * @param refused the turn that was refused
 * @returns whether it can be asked again
 */
export function hideRefusedResults(transcript: Transcript, refused: Pick<TurnRow, 'seq'>): boolean {
  const results = resultsWithoutAnswer(transcript);
  if (!results) return false;
  const isAgain = "turns where status = 'refused' and seq > ? and seq < ?";
  if (transcript.has(isAgain, results.turn, refused.seq)) {
    const start = loopStart(transcript);
    transcript.markTurnsRefused('seq >= ?', turnAt(transcript, start)?.run ?? start);
    return false;
  }
  hideResults(transcript, results.turn, results.pending.keys(), 'no answer may be written to it.');
  return true;
}

/**
 * @returns the results of the edge's calls to which the model has said nothing yet: they go up with what is said next, or stand in
 *   a question that has no answer. Undefined if there are none
 */
function resultsWithoutAnswer(transcript: Transcript): StepResults | undefined {
  // Behind an empty answer they have been taken.
  const last = latestTurn(transcript, [...ANSWERED, 'empty']);
  const results = resultsInQuestion(transcript, last, readTail(transcript));
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
): StepResults | undefined {
  const questions = tail.filter(({ role }) => role === 'user');
  if (last?.status !== 'interrupted' || questions.length === 0) return undefined;
  const step = latestTurn(transcript, ['complete']);
  if (typeof step?.run !== 'number') return undefined;
  const blocks = questions.flatMap(({ text }) => parseBlocks(text));
  const answered = new Set(answeredCallIdsOf(blocks));
  const isInQuestion = (id: string) =>
    answered.has(id) || blocks.some((_, at) => findPrecedingCallText(blocks, at)?.id === id);
  const pending = new Map([...transcript.calls.results(step.seq)].filter(([id]) => isInQuestion(id)));
  return pending.size > 0 ? { turn: step.seq, pending } : undefined;
}

/**
 * Stores that results cannot be shown, also where they stand in a question without an answer.
 *
 * @param why the words with which the API has refused them
 */
export function hideResults(transcript: Transcript, turn: number, ids: Iterable<string>, why: string): void {
  const before = transcript.calls.results(turn);
  const hidden = hiddenResultBlocks(ids, why);
  for (const [id, result] of hidden) transcript.calls.changeResult(turn, id, writeJson(result));
  const repaired: RepairedMessage[] = [];
  for (const row of transcript.messages.history({ sent: true, isBackwards: true })) {
    if (row.role !== 'user') break;
    const blocks = parseBlocks(row.text);
    const content = withHiddenResults(blocks, hidden, before);
    if (content.some((block, at) => block !== blocks[at])) repaired.push({ ...row, content });
  }
  storeRepaired(transcript, repaired);
}

/** @returns results that cannot be shown, by the ids of their calls. @param why as in `hideResults` */
export function hiddenResultBlocks(ids: Iterable<string>, why: string): ReadonlyMap<string, Json> {
  const content = `The tool was called and has answered; do not call it again for this. What it answered cannot be shown: ${why.slice(0, MAX_REFUSAL_CHARACTERS).toWellFormed()}`;
  return new Map([...ids].map((id) => [id, { type: 'tool_result', tool_use_id: id, content }]));
}

/** @returns the blocks of a message with hidden results in place of what they were. @param before the results as they were */
export function withHiddenResults(
  blocks: readonly Json[],
  hidden: ReadonlyMap<string, Json>,
  before: PendingResults,
): Json[] {
  const all: Json[] = [];
  for (let at = 0; at < blocks.length; at += 1) {
    const block = blocks[at] as Json;
    const words = findPrecedingCallText([block], 0)?.id ?? '';
    const result = hidden.get(toText(block.tool_use_id ?? ''));
    const hiddenWords = hidden.get(words);
    all.push(...(result ? [result] : hiddenWords ? resultAsText(hiddenWords) : [block]));
    if (hiddenWords) at += resultAsText(parseObject(before.get(words) ?? '') ?? {}).length - 1;
  }
  return all;
}

/** @returns the words of a refusal */
export function errorTextOf(refusal: string): string {
  const message = memberOf(parseObject(refusal)?.error, 'message');
  return typeof message === 'string' ? message : 'the API has refused it.';
}

function hasImage(result: unknown): boolean {
  const content = memberOf(result, 'content');
  return Array.isArray(content) && content.some((block) => memberOf(block, 'type') === 'image');
}
