/**
 * Decides which container the next request names. Code that waits for results of tools continues only in its own container: the
 * API rejects results without it. If the container is unknown or has expired, the code and its calls are removed from the
 * history.
 */

import { getContainerIds } from '../../claude/request/referenced-ids.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { getMember, isObject, type JsonObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { ANSWERED, readLastAnswerAndAfter } from './incoming-messages.ts';
import { convertResultsToText } from './omitted-calls.ts';
import { parseBlocks, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { isServerToolCall, removeBlocksAndBoundThinking } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { CodeContainer, MessageRow, TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findNewestTurn } from './storage/turn-queries.ts';

/** @returns the container that an answer names; undefined without one */
export function getContainerOfMessage(message: JsonObject | undefined): CodeContainer | undefined {
  if (!isObject(message?.container)) return undefined;
  const { id, expires_at } = message.container;
  if (typeof id !== 'string') return undefined;
  return typeof expires_at === 'string' ? { id, expires_at } : { id };
}

/** Words about the container that a request names; not those about a file for it. */
const CONTAINER_PATTERN = /\bcontainer(?!_upload)/i;

/** @returns whether an error of the API is about the container that the request names. @param words those of the error */
export function isContainerError(words: string): boolean {
  return CONTAINER_PATTERN.test(words);
}

/**
 * Forgets a container that the upstream does not have any more: the next request is sent without it.
 *
 * @param id the container that a request has named
 * @param error why that was refused
 * @param status the upstream's. It has answered 500 for containers that it has lost
 */
export function forgetLostContainerOnError(
  transcript: Transcript,
  id: string,
  { error, status }: { error: { type: string; message: string }; status: number | undefined },
): void {
  const { type, message } = error;
  const isRefusal = type === 'invalid_request_error' || type === 'not_found_error';
  if (status !== 500 && !(isRefusal && isContainerError(message))) return;
  for (const statuses of [ANSWERED, ['complete']] as const) {
    const turn = findNewestTurn(transcript, statuses);
    if (turn?.outcome?.container?.id !== id) continue;
    const { container: _, ...outcome } = turn.outcome;
    transcript.updateTurn(turn, { outcome });
  }
}

/** @returns the request's `container` with an id; undefined if its caller has named a container */
export function createContainerParameter(callerContainer: unknown, { id }: CodeContainer): string | undefined {
  if (getContainerIds(callerContainer).length > 0) return undefined;
  return JSON.stringify(isObject(callerContainer) ? { ...callerContainer, id } : id);
}

/**
 * @param last the last turn with an answer, or with a question without an answer
 * @param tail the last answer and all messages after it
 * @param isSameTurn whether the request continues the turn of the last answer
 * @returns the container that the request must name; undefined if it needs none, or if there is none
 */
export function findReusableContainer(
  transcript: Transcript,
  last: TurnRow | undefined,
  { tail, isSameTurn, now }: { tail: readonly MessageText[]; isSameTurn: boolean; now: number },
): CodeContainer | undefined {
  const isOpen = findPendingCode(tail).length > 0;
  if (!isSameTurn && !isOpen) return undefined;
  // Code that waits in a container was started by the last complete answer. If the newest turn is a question without an answer,
  // take the container of that answer instead.
  const isUnanswered = isOpen && last?.status === 'interrupted' && !last.outcome?.container;
  const { container } = (isUnanswered ? findNewestTurn(transcript, ['complete']) : last)?.outcome ?? {};
  const ends = container?.expires_at === undefined ? Number.NaN : Date.parse(container.expires_at);
  return ends <= now ? undefined : container;
}

/**
 * Removes code that waits in an unknown container from the history, together with its calls. The results of the calls become
 * text. If the new message has more than results, all calls that wait for a result are removed, because the API then accepts
 * nothing but results.
 *
 * @param body the request's body, which may name a container
 */
export function removeLostCode(transcript: Transcript, body: string, now: number): void {
  const { storedProfile: profile, cachedHistory: cached } = transcript;
  if (!profile?.exists) return;
  const last = cached ? cached.lastTurn : findNewestTurn(transcript, [...ANSWERED, 'empty']);
  const { stop_reason: stopped } = last?.outcome ?? {};
  // Leave the history as it is. A paused answer (`pause_turn`) can still be continued with its code, and an answer that ended
  // with `end_turn` has no waiting code.
  if (!last || (last.status === 'complete' && (stopped === 'pause_turn' || stopped === 'end_turn'))) return;
  const tail = cached?.tail ?? readLastAnswerAndAfter(transcript);
  // In a tool loop, code that an earlier answer started may wait for a result, too. `tail` has only the last answer, so search
  // the whole history.
  const goesOn = last.follows && last.outcome?.stop_reason === 'tool_use';
  if (!goesOn && !tail.some(couldHavePendingServerCall)) return;
  const members = parseMemberTexts(body);
  if (!hasContentBesidesResults(members.get('messages')) && !hasTurnResultsSentAsText(transcript, last)) {
    if (findPendingCode(tail).length === 0) return;
    if (findReusableContainer(transcript, last, { tail, isSameTurn: false, now })) return;
    const container: unknown = JSON.parse(members.get('container') ?? 'null');
    if (createContainerParameter(container, { id: '' }) === undefined) return;
  }
  const { repaired, calls } = findLostCode(transcript);
  if (repaired.length === 0) return;
  transcript.runInTransaction(() => {
    storeRepaired(transcript, repaired);
    transcript.saveProfile({ ...profile, leftOut: [...(profile.leftOut ?? []), ...calls] });
  });
}

/** @returns whether a result of a turn's calls is sent as words, because its call is not sent */
function hasTurnResultsSentAsText({ storedProfile: profile, edgeCalls: calls }: Transcript, turn: TurnRow): boolean {
  if (!profile?.leftOut || typeof turn.run !== 'number') return false;
  const leftOut = new Set(profile.leftOut);
  return [...calls.readResultsOfTurn(turn.seq).keys()].some((id) => leftOut.has(id));
}

/** @returns whether the last of some messages has more than results of calls. @param messages the JSON text of a list */
function hasContentBesidesResults(messages = '[]'): boolean {
  const { role, content } = parseJsonObject(splitArrayItems(messages).at(-1) ?? '') ?? {};
  // A request that ends with an assistant message continues a paused answer. It adds no content of its own.
  if (role === 'assistant') return false;
  if (!Array.isArray(content)) return typeof content === 'string' && content !== '';
  return content.some((block) => getMember(block, 'type') !== 'tool_result');
}

/**
 * Finds the code and the server tool calls of the last tool loop that have no result, and removes them from its messages.
 *
 * @param answer the blocks of the answer that ends the loop
 * @returns the messages that change, and the ids of the code's calls
 */
export function findLostCode(
  transcript: Transcript,
  answer: readonly JsonObject[] = [],
): { repaired: RepairedMessage[]; calls: string[] } {
  const rows = readLastToolLoopRows(transcript);
  if (!rows.some(couldHavePendingServerCall)) return { repaired: [], calls: [] };
  const blocks = [...rows.flatMap(({ text }) => parseBlocks(text)), ...answer];
  const ended = collectCompletedCallIds(blocks);
  const lost = new Set(findPendingCallsMadeByCode(blocks, ended));
  const repaired = rows.flatMap((row) => {
    const before = parseBlocks(row.text);
    const content =
      row.role === 'assistant' ? removeLostCalls(before, lost, ended) : convertResultsToText(before, lost);
    const isSame = content.length === before.length && content.every((block, at) => block === before[at]);
    return isSame ? [] : [{ ...row, content }];
  });
  return { repaired, calls: [...lost] };
}

/** @returns the ids of the calls of code that waits for their results. @param tail the last answer and what follows it */
function findPendingCode(tail: readonly MessageText[]): string[] {
  if (!tail.some(couldHaveCodeCaller)) return [];
  const blocks = tail.flatMap(({ role, text }) => (role === 'assistant' ? parseBlocks(text) : []));
  return findPendingCallsMadeByCode(blocks, collectCompletedCallIds(blocks));
}

function couldHaveCodeCaller({ role, text }: MessageText): boolean {
  return role === 'assistant' && text.includes('"caller"');
}

function couldHavePendingServerCall({ role, text }: MessageText): boolean {
  return role === 'assistant' && (text.includes('"caller"') || /"(server|mcp)_tool_use"/.test(text));
}

/** @returns the ids of uses that have their result */
function collectCompletedCallIds(blocks: readonly JsonObject[]): ReadonlySet<string> {
  return new Set(blocks.map(({ tool_use_id }) => toJsonText(tool_use_id)));
}

/** @returns the ids of what code has called that has not ended. @param ended the ids of uses that have their result */
export function findPendingCallsMadeByCode(blocks: readonly JsonObject[], ended: ReadonlySet<string>): string[] {
  const open = blocks.filter(
    (block) => isCallMadeByCode(block) && !ended.has(toJsonText(getMember(block.caller, 'tool_id'))),
  );
  return open.map(({ id }) => toJsonText(id));
}

/** @returns whether a block is a call that code has made */
export function isCallMadeByCode({ type, caller }: JsonObject): boolean {
  return type === 'tool_use' && isObject(caller) && caller.type !== 'direct';
}

/** Reads the last tool loop, newest first: its answers, and the messages with results between them. */
function readLastToolLoopRows(transcript: Transcript): MessageRow[] {
  const rows: MessageRow[] = [];
  for (const row of transcript.messages.readMessages({ sent: true, isBackwards: true, pending: true })) {
    if (row.role !== 'assistant' && !row.text.includes('"tool_result"')) break;
    rows.push(row);
  }
  return rows;
}

function removeLostCalls(
  blocks: readonly JsonObject[],
  lost: ReadonlySet<string>,
  ended: ReadonlySet<string>,
): JsonObject[] {
  const isLost = ({ type, id }: JsonObject) =>
    (type === 'tool_use' && lost.has(toJsonText(id))) || (isServerToolCall(type) && !ended.has(toJsonText(id)));
  return removeBlocksAndBoundThinking(blocks, isLost);
}
