/**
 * Replaces results of the edge's calls that the API has rejected. They would be rejected with every later question, so the
 * model gets a text instead, which explains that the tool has responded.
 */

import { getMember, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { PendingResults } from './continuation.ts';
import { ANSWERED, readLastAnswerAndAfter } from './incoming-messages.ts';
import { convertResultToTextBlocks, findPrecedingCallText } from './omitted-calls.ts';
import { parseBlocks, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { listAnsweredCallIds } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findNewestTurn, findTurnByNumber } from './storage/turn-queries.ts';
import { findToolLoopStart } from './thinking.ts';

/** Words that choose between results: about an image, and about the length of all that is sent together. */
const ABOUT_IMAGE = /\bimages?\b|image_/i;
const ABOUT_LENGTH = /\btoo (?:long|large|many)\b|\bexceeds?\b/i;
/** The most characters of the API's error that are sent to the model. */
const MAX_REFUSAL_CHARACTERS = 300;

/** The results of a step, as they are sent. */
export interface StepResults {
  /** The number of the step that has made the calls. */
  turn: number;
  pending: PendingResults;
}

/**
 * Chooses the results that a rejection is about, if it names none by a path. Only the results are new in the request, so if the
 * error gives no hint, all of them are chosen.
 *
 * @returns the ids of their calls
 */
export function guessRejectedResults(words: string, status: number, pending: PendingResults): string[] {
  const results = [...pending];
  const getCallIds = (some: typeof results) => some.map(([id]) => id);
  const withImage = results.filter(([, text]) => hasImage(parseJsonObject(text)));
  if (withImage.length > 0 && ABOUT_IMAGE.test(words)) return getCallIds(withImage);
  if (status !== 413 && !ABOUT_LENGTH.test(words)) return getCallIds(results);
  return getCallIds(results.toSorted(([, one], [, other]) => other.length - one.length).slice(0, 1));
}

/** @returns the id of the call whose result a block is, or belongs to; undefined for any other */
export function findResultCallId(message: unknown, at: number, pending: PendingResults): string | undefined {
  const content = getMember(message, 'content');
  if (!Array.isArray(content)) return undefined;
  const block: unknown = content[at];
  const isResult = getMember(block, 'type') === 'tool_result';
  const id = isResult ? toJsonText(getMember(block, 'tool_use_id')) : undefined;
  if (id !== undefined) return pending.has(id) ? id : undefined;
  const words = findPrecedingCallText(content, at);
  const result = words && parseJsonObject(pending.get(words.id) ?? '');
  return result && words.behind < convertResultToTextBlocks(result).length ? words.id : undefined;
}

/**
 * Replaces the results after which the model has refused to answer by text, because the model would refuse again. If it has
 * also refused the text, all turns that led to the results are removed from the history.
 *
 * @param refused the turn that was refused
 * @returns whether the model can be asked again
 */
export function hideResultsAfterRefusal(transcript: Transcript, refused: Pick<TurnRow, 'seq'>): boolean {
  const results = findUnansweredResults(transcript);
  if (!results) return false;
  const isAgain = "turns where status = 'refused' and seq > ? and seq < ?";
  if (transcript.hasRows(isAgain, results.turn, refused.seq)) {
    const start = findToolLoopStart(transcript);
    transcript.markTurnsRefused('seq >= ?', findTurnByNumber(transcript, start)?.run ?? start);
    return false;
  }
  storeResultsAsHidden(transcript, results.turn, results.pending.keys(), 'no answer may be written to it.');
  return true;
}

/**
 * @returns the results of the edge's calls that the model has not answered yet: they are sent with the next message, or are
 *   part of a question without an answer. Undefined if there are none
 */
function findUnansweredResults(transcript: Transcript): StepResults | undefined {
  // Search from the last turn that the API accepted. A turn with an empty answer is such a turn: the API accepted the tool
  // results that were sent with it.
  const last = findNewestTurn(transcript, [...ANSWERED, 'empty']);
  const results = findResultsInUnansweredQuestion(transcript, last, readLastAnswerAndAfter(transcript));
  if (results || typeof last?.run !== 'number') return results;
  const pending = transcript.edgeCalls.readResultsOfTurn(last.seq);
  return pending.size > 0 ? { turn: last.seq, pending } : undefined;
}

/**
 * Finds the results of the edge's calls in a question without an answer, which the API may not have accepted.
 *
 * @param last the last turn with an answer, or with a question without an answer
 * @param tail the last answer and all messages after it
 */
export function findResultsInUnansweredQuestion(
  transcript: Transcript,
  last: Pick<TurnRow, 'status'> | undefined,
  tail: readonly MessageText[],
): StepResults | undefined {
  const questions = tail.filter(({ role }) => role === 'user');
  if (last?.status !== 'interrupted' || questions.length === 0) return undefined;
  const step = findNewestTurn(transcript, ['complete']);
  if (typeof step?.run !== 'number') return undefined;
  const blocks = questions.flatMap(({ text }) => parseBlocks(text));
  const answered = new Set(listAnsweredCallIds(blocks));
  const isInQuestion = (id: string) =>
    answered.has(id) || blocks.some((_, at) => findPrecedingCallText(blocks, at)?.id === id);
  const pending = new Map([...transcript.edgeCalls.readResultsOfTurn(step.seq)].filter(([id]) => isInQuestion(id)));
  return pending.size > 0 ? { turn: step.seq, pending } : undefined;
}

/**
 * Stores that results are not sent any more, also those in a question without an answer.
 *
 * @param why the error with which the API has rejected them
 */
export function storeResultsAsHidden(transcript: Transcript, turn: number, ids: Iterable<string>, why: string): void {
  const before = transcript.edgeCalls.readResultsOfTurn(turn);
  const hidden = createHiddenResultBlocks(ids, why);
  for (const [id, result] of hidden) transcript.edgeCalls.replaceResult(turn, id, stringifyWithRememberedTexts(result));
  const repaired: RepairedMessage[] = [];
  for (const row of transcript.messages.readMessages({ sent: true, isBackwards: true })) {
    if (row.role !== 'user') break;
    const blocks = parseBlocks(row.text);
    const content = replaceHiddenResults(blocks, hidden, before);
    if (content.some((block, at) => block !== blocks[at])) repaired.push({ ...row, content });
  }
  storeRepaired(transcript, repaired);
}

/** @returns results that cannot be shown, by the ids of their calls. @param why as in `hideResults` */
export function createHiddenResultBlocks(ids: Iterable<string>, why: string): ReadonlyMap<string, JsonObject> {
  const content = `The tool was called and has answered; do not call it again for this. What it answered cannot be shown: ${why.slice(0, MAX_REFUSAL_CHARACTERS).toWellFormed()}`;
  return new Map([...ids].map((id) => [id, { type: 'tool_result', tool_use_id: id, content }]));
}

/** @returns the blocks of a message, in which hidden results are replaced by text. @param before the original results */
export function replaceHiddenResults(
  blocks: readonly JsonObject[],
  hidden: ReadonlyMap<string, JsonObject>,
  before: PendingResults,
): JsonObject[] {
  const all: JsonObject[] = [];
  for (let at = 0; at < blocks.length; at += 1) {
    const block = blocks[at] as JsonObject;
    const words = findPrecedingCallText([block], 0)?.id ?? '';
    const result = hidden.get(toJsonText(block.tool_use_id ?? ''));
    const hiddenWords = hidden.get(words);
    all.push(...(result ? [result] : hiddenWords ? convertResultToTextBlocks(hiddenWords) : [block]));
    if (hiddenWords) at += convertResultToTextBlocks(parseJsonObject(before.get(words) ?? '') ?? {}).length - 1;
  }
  return all;
}

/** @returns the words of a refusal */
export function getErrorText(refusal: string): string {
  const message = getMember(parseJsonObject(refusal)?.error, 'message');
  return typeof message === 'string' ? message : 'the API has refused it.';
}

function hasImage(result: unknown): boolean {
  const content = getMember(result, 'content');
  return Array.isArray(content) && content.some((block) => getMember(block, 'type') === 'image');
}
