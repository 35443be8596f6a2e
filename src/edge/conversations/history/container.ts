/**
 * Decides which container the next request names. Code that waits for the results of tools goes on in its container alone: the
 * API refuses results without it. Where it is not known, or has ended, the code and its calls leave the history.
 */

import { containerIds } from '../../claude/request/named-ids.ts';
import { itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { asText, isObject, type Json, memberOf, parseObject } from '../../kit/json/object.ts';
import { ANSWERED, tailIn } from './new-messages.ts';
import { resultsAsText } from './omitted-calls.ts';
import { blocksIn, type RepairedMessage, storeRepaired } from './repaired-messages.ts';
import { blocksWithout, isServed } from './replayable-blocks.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { Container, MessageRow, TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn } from './storage/turn-queries.ts';

/** @returns the container that an answer names; undefined without one */
export function containerOf(message: Json | undefined): Container | undefined {
  if (!isObject(message?.container)) return undefined;
  const { id, expires_at } = message.container;
  if (typeof id !== 'string') return undefined;
  return typeof expires_at === 'string' ? { id, expires_at } : { id };
}

/** Words about the container that a request names; not those about a file for it. */
const ABOUT_CONTAINER = /\bcontainer(?!_upload)/i;

/** @returns whether an error of the API is about the container that the request names. @param words those of the error */
export function isAboutContainer(words: string): boolean {
  return ABOUT_CONTAINER.test(words);
}

/**
 * Forgets a container that the upstream does not have any more: the next request goes up without it.
 *
 * @param id the container that a request has named
 * @param error why that was refused
 * @param status the upstream's. It has answered 500 for containers that it has lost
 */
export function forgetLostContainer(
  transcript: Transcript,
  id: string,
  { error, status }: { error: { type: string; message: string }; status: number | undefined },
): void {
  const { type, message } = error;
  const isRefusal = type === 'invalid_request_error' || type === 'not_found_error';
  if (status !== 500 && !(isRefusal && isAboutContainer(message))) return;
  for (const statuses of [ANSWERED, ['complete']] as const) {
    const turn = latestTurn(transcript, statuses);
    if (turn?.outcome?.container?.id !== id) continue;
    const { container: _, ...outcome } = turn.outcome;
    transcript.changeTurn(turn, { outcome });
  }
}

/** @returns what a request says of its container, with an id; undefined if its caller has named one */
export function withContainer(named: unknown, { id }: Container): string | undefined {
  if (containerIds(named).length > 0) return undefined;
  return JSON.stringify(isObject(named) ? { ...named, id } : id);
}

/**
 * @param last the last turn with an answer, or with a question that has none
 * @param tail the last answer and what follows it
 * @param isSameTurn whether the request goes on with the turn whose answer is the last
 * @returns the container that the request names; undefined if it needs none, or if there is none
 */
export function containerAfter(
  transcript: Transcript,
  last: TurnRow | undefined,
  { tail, isSameTurn, now }: { tail: readonly MessageText[]; isSameTurn: boolean; now: number },
): Container | undefined {
  const isOpen = waitingCode(tail).length > 0;
  if (!isSameTurn && !isOpen) return undefined;
  // A question that has no answer may stand behind the answer that waits.
  const isUnanswered = isOpen && last?.status === 'interrupted' && !last.outcome?.container;
  const { container } = (isUnanswered ? latestTurn(transcript, ['complete']) : last)?.outcome ?? {};
  const ends = container?.expires_at === undefined ? Number.NaN : Date.parse(container.expires_at);
  return ends <= now ? undefined : container;
}

/**
 * Takes code that waits in no known container out of the history, with its calls. What the tools answer is told in words. All that
 * waits for its result leaves where more is said than the results of calls: the API takes nothing beside them then.
 *
 * @param body the request's body: its caller may name the container
 */
export function leaveLostCode(transcript: Transcript, body: string, now: number): void {
  const { profile, cachedHistory: cached } = transcript;
  if (!profile?.exists) return;
  const last = cached ? cached.last : latestTurn(transcript, [...ANSWERED, 'empty']);
  const { stop_reason: stopped } = last?.outcome ?? {};
  // A paused answer may go on, and one that has come to its end waits for nothing.
  if (!last || (last.status === 'complete' && (stopped === 'pause_turn' || stopped === 'end_turn'))) return;
  const tail = cached?.tail ?? tailIn(transcript);
  // An earlier answer of the loop may wait, too.
  const goesOn = last.follows && last.outcome?.stop_reason === 'tool_use';
  if (!goesOn && !tail.some(mayBeOpen)) return;
  const members = memberTexts(body);
  if (!asksMore(members.get('messages')) && !isToldInWords(transcript, last)) {
    if (waitingCode(tail).length === 0) return;
    if (containerAfter(transcript, last, { tail, isSameTurn: false, now })) return;
    const container: unknown = JSON.parse(members.get('container') ?? 'null');
    if (withContainer(container, { id: '' }) === undefined) return;
  }
  const { repaired, calls } = lostCode(transcript);
  if (repaired.length === 0) return;
  transcript.together(() => {
    storeRepaired(transcript, repaired);
    transcript.save({ ...profile, leftOut: [...(profile.leftOut ?? []), ...calls] });
  });
}

/** @returns whether a result of a turn's calls goes up in words, as its call does not go up */
function isToldInWords({ profile, calls }: Transcript, turn: TurnRow): boolean {
  if (!profile?.leftOut || typeof turn.run !== 'number') return false;
  const leftOut = new Set(profile.leftOut);
  return [...calls.results(turn.seq).keys()].some((id) => leftOut.has(id));
}

/** @returns whether the last of some messages has more than results of calls. @param messages the JSON text of a list */
function asksMore(messages = '[]'): boolean {
  const { role, content } = parseObject(itemTexts(messages).at(-1) ?? '') ?? {};
  // A paused answer goes on.
  if (role === 'assistant') return false;
  if (!Array.isArray(content)) return typeof content === 'string' && content !== '';
  return content.some((block) => memberOf(block, 'type') !== 'tool_result');
}

/**
 * Finds what leaves the history with what has not ended in the last tool loop: code, and other calls of the API's tools.
 *
 * @param answer the blocks of the answer that ends the loop
 * @returns the messages that change, and the ids of the code's calls
 */
export function lostCode(
  transcript: Transcript,
  answer: readonly Json[] = [],
): { repaired: RepairedMessage[]; calls: string[] } {
  const rows = loopRows(transcript);
  if (!rows.some(mayBeOpen)) return { repaired: [], calls: [] };
  const blocks = [...rows.flatMap(({ text }) => blocksIn(text)), ...answer];
  const ended = endedIn(blocks);
  const lost = new Set(callsOfCode(blocks, ended));
  const repaired = rows.flatMap((row) => {
    const before = blocksIn(row.text);
    const content = row.role === 'assistant' ? answerWithout(before, lost, ended) : resultsAsText(before, lost);
    const isSame = content.length === before.length && content.every((block, at) => block === before[at]);
    return isSame ? [] : [{ ...row, content }];
  });
  return { repaired, calls: [...lost] };
}

/** @returns the ids of the calls of code that waits for their results. @param tail the last answer and what follows it */
function waitingCode(tail: readonly MessageText[]): string[] {
  if (!tail.some(hasCaller)) return [];
  const blocks = tail.flatMap(({ role, text }) => (role === 'assistant' ? blocksIn(text) : []));
  return callsOfCode(blocks, endedIn(blocks));
}

function hasCaller({ role, text }: MessageText): boolean {
  return role === 'assistant' && text.includes('"caller"');
}

function mayBeOpen({ role, text }: MessageText): boolean {
  return role === 'assistant' && (text.includes('"caller"') || /"(server|mcp)_tool_use"/.test(text));
}

/** @returns the ids of uses that have their result */
function endedIn(blocks: readonly Json[]): ReadonlySet<string> {
  return new Set(blocks.map(({ tool_use_id }) => asText(tool_use_id)));
}

/** @returns the ids of what code has called that has not ended. @param ended the ids of uses that have their result */
export function callsOfCode(blocks: readonly Json[], ended: ReadonlySet<string>): string[] {
  const open = blocks.filter((block) => isOfCode(block) && !ended.has(asText(memberOf(block.caller, 'tool_id'))));
  return open.map(({ id }) => asText(id));
}

/** @returns whether a block is a call that code has made */
export function isOfCode({ type, caller }: Json): boolean {
  return type === 'tool_use' && isObject(caller) && caller.type !== 'direct';
}

/** Reads the last tool loop, newest first: its answers, and the messages with results between them. */
function loopRows(transcript: Transcript): MessageRow[] {
  const rows: MessageRow[] = [];
  for (const row of transcript.messages.history({ sent: true, backwards: true, pending: true })) {
    if (row.role !== 'assistant' && !row.text.includes('"tool_result"')) break;
    rows.push(row);
  }
  return rows;
}

function answerWithout(blocks: readonly Json[], lost: ReadonlySet<string>, ended: ReadonlySet<string>): Json[] {
  const isLost = ({ type, id }: Json) =>
    (type === 'tool_use' && lost.has(asText(id))) || (isServed(type) && !ended.has(asText(id)));
  return blocksWithout(blocks, isLost);
}
