/** Finds which messages of a request are new, and what they continue. */
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, toJsonText } from '../../kit/json/object.ts';
import {
  addCancelledResults,
  advanceHistoryState,
  countResent,
  createEmptyHistoryState,
  dropResentMessages,
  type HistoryState,
  type PendingResults,
  type SentMessage,
} from './continuation.ts';
import { areResultsFirst } from './results-first.ts';
import { parseMessage, readShownMessages } from './shown-messages.ts';
import type { MessageText } from './storage/history-cache.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findNewestTurn } from './storage/turn-queries.ts';

/** Turns whose answer is in the history. */
export const ANSWERED = ['complete', 'interrupted', 'stopped'] as const;

/** The new messages of a request, and what they continue. */
export interface NewMessagesWithContext {
  fresh: readonly SentMessage[];
  freshTexts: readonly string[];
  at: HistoryState;
  /** Results of the edge's calls for the last answer. They go up with the next message. */
  pending: PendingResults;
  /** Whether they leave a paused answer with calls whose results do not come any more. */
  isPauseAbandoned: boolean;
}

/** Separates the new messages from those that resend the history, and finds the state before the new ones. */
export function separateNewMessages(
  incoming: readonly SentMessage[],
  texts: readonly string[],
  transcript: Transcript,
  last: TurnRow | undefined,
  tail: readonly MessageText[],
): NewMessagesWithContext {
  const leftOut = listOmittedCallIdsOfConversation(transcript);
  const fresh = findFreshMessages(incoming, transcript, leftOut);
  const { at, answers } = computeHistoryState(tail);
  const pending = findPendingResults(transcript, last, at);
  const continued = {
    fresh,
    freshTexts: selectTextsOfNewMessages(fresh, incoming, texts),
    at,
    pending,
    isPauseAbandoned: false,
  };
  // An empty turn does not count: it has not continued a paused answer.
  const answer = last?.status === 'empty' ? findNewestTurn(transcript, ANSWERED) : last;
  const paused = answer?.outcome?.stop_reason === 'pause_turn' && at.role === 'assistant';
  const isRun = typeof answer?.run === 'number';
  const isRepeatOfHistory = () => isRepeatedAnswer(fresh, isRun ? readLastShownAnswer(transcript) : answers, leftOut);
  const isUnanswered = last?.status === 'interrupted' && at.role !== 'assistant';
  if (
    ((paused || pending.size > 0) && (fresh.length === 0 || isRepeatOfHistory())) ||
    (isUnanswered && isRepeatedQuestion(fresh, transcript))
  ) {
    return { ...continued, fresh: [], freshTexts: [] };
  }
  if (fresh.length === 0) {
    throw createInvalidRequestError(
      'messages: this is the stored history without a new message. Send a new message, or rewind the conversation.',
    );
  }
  return { ...continued, isPauseAbandoned: paused && fresh[0]?.role !== 'assistant' && hasPendingCalls(answers) };
}

/** @returns the messages that are not in the history yet. */
function findFreshMessages(
  incoming: readonly SentMessage[],
  transcript: Transcript,
  leftOut: ReadonlySet<string>,
): readonly SentMessage[] {
  // One message resends nothing, unless it is two questions that a client has joined.
  const isOne = incoming.length < 2;
  if (isOne && !(Array.isArray(incoming[0]?.content) && incoming[0].content.length > 1)) return incoming;
  const dropResent = (isSentOnly: boolean) =>
    dropResentMessages(readShownMessages(transcript, isSentOnly), incoming, leftOut);
  const fresh = dropResent(false) ?? dropResent(true) ?? incoming;
  return isOne && fresh.length === 0 ? incoming : fresh;
}

/** @returns the texts of the new messages. Of a message whose first blocks are known, it has the others as they came. */
function selectTextsOfNewMessages(
  fresh: readonly SentMessage[],
  incoming: readonly SentMessage[],
  texts: readonly string[],
): string[] {
  const news = texts.slice(incoming.length - fresh.length);
  const [first] = fresh;
  const { length } = Array.isArray(first?.content) ? first.content : [];
  const [text = ''] = news;
  if (!first || first === incoming.at(-fresh.length)) return news;
  const blocks = splitArrayItems(parseMemberTexts(text).get('content') ?? '[]');
  return [editJson(text, { content: `[${blocks.slice(-length).join(',')}]` }), ...news.slice(1)];
}

/** The edge has made no calls for the last answer. */
const NO_PENDING_RESULTS: PendingResults = new Map();

/** @returns the results of the edge's calls for the last answer that are not in a message yet. */
function findPendingResults(transcript: Transcript, last: TurnRow | undefined, at: HistoryState): PendingResults {
  if (typeof last?.run !== 'number') return NO_PENDING_RESULTS;
  const leftOut = listOmittedCallIdsOfConversation(transcript);
  // The answer that a question follows has its results in it.
  if (at.role !== 'assistant' && leftOut.size === 0) return NO_PENDING_RESULTS;
  const results = [...transcript.edgeCalls.readResultsOfTurn(last.seq)];
  return new Map(results.filter(([id]) => (at.role === 'assistant' && at.callIds.has(id)) || leftOut.has(id)));
}

/** @returns the ids of calls that were shown but do not go up */
export function listOmittedCallIdsOfConversation({ profile }: Transcript): ReadonlySet<string> {
  return new Set(profile?.leftOut);
}

/**
 * Puts the edge's results before the new messages, and the client's own results before the text of their message: behind
 * calls the API accepts only results first.
 *
 * @param cancels whether calls without any result get an error
 */
export function addPendingResultsToNewMessages(
  continued: NewMessagesWithContext,
  cancels: boolean,
): NewMessagesWithContext {
  const { fresh, freshTexts: news, at } = continued;
  const pending =
    cancels && at.role === 'assistant' ? addCancelledResults(at, continued.pending, fresh) : continued.pending;
  if (fresh[0]?.role === 'assistant') return continued;
  if (pending.size === 0 && (at.role !== 'assistant' || areResultsFirst(fresh[0]?.content, [...at.callIds]))) {
    return continued;
  }
  const text = mergeResultsIntoUserMessage(at.callIds, pending, news[0]);
  return {
    ...continued,
    fresh: [parseMessage({ role: 'user', text }), ...fresh.slice(1)],
    freshTexts: [text, ...news.slice(1)],
  };
}

/** Reads the last answer and what follows it. Earlier tool calls need no results any more. */
export function readLastAnswerAndAfter(transcript: Transcript): readonly MessageText[] {
  const tail: MessageText[] = [];
  for (const { role, text } of transcript.messages.readMessageTexts({ sent: true, isBackwards: true })) {
    if (tail.at(-1)?.role === 'assistant' && role !== 'assistant') break;
    tail.push({ role, text });
  }
  return tail.reverse();
}

function computeHistoryState(tail: readonly MessageText[]): { at: HistoryState; answers: SentMessage[] } {
  const messages = tail.map(parseMessage);
  const at = createEmptyHistoryState();
  for (const message of messages) advanceHistoryState(at, message);
  return { at, answers: messages.filter(({ role }) => role === 'assistant') };
}

/** @returns the last answer as its client has it. The answer of a run has more than its last step. */
function readLastShownAnswer(transcript: Transcript): SentMessage[] {
  let last: SentMessage | undefined;
  for (const message of readShownMessages(transcript, true)) last = message;
  return last ? [last] : [];
}

function isRepeatedAnswer(
  fresh: readonly SentMessage[],
  answers: readonly SentMessage[],
  leftOut: ReadonlySet<string>,
): boolean {
  const [only] = fresh;
  const last = answers.at(-1);
  if (!only || !last || fresh.length > 1 || only.role !== 'assistant') return false;
  return countResent([{ ...last, isPartial: false }], fresh, leftOut) === 1;
}

/** @returns whether messages are those that the history ends with. They have no answer yet. */
function isRepeatedQuestion(fresh: readonly SentMessage[], transcript: Transcript): boolean {
  if (fresh.length === 0) return true;
  const questions = [...readShownMessages(transcript, true)].slice(-fresh.length);
  return countResent(questions, fresh) === fresh.length;
}

function hasPendingCalls(answers: readonly SentMessage[]): boolean {
  const blocks = answers.flatMap(({ content }) => (Array.isArray(content) ? content.filter(isObject) : []));
  const results = new Set(blocks.map(({ tool_use_id }) => tool_use_id));
  return blocks.some(({ type, id }) => (type === 'server_tool_use' || type === 'mcp_tool_use') && !results.has(id));
}

/**
 * Puts the results of the edge's calls before the user's next message, mixed with the client's own results in the order of
 * the calls. The API wants all results in one message.
 *
 * @param called the ids of the last answer's calls, in their order
 * @param pending the edge's `tool_result` blocks as JSON texts, by the ids of their calls
 * @param message the user's next message as JSON text; undefined if only the results go up
 * @returns the message as JSON text
 */
function mergeResultsIntoUserMessage(
  called: Iterable<string>,
  pending: PendingResults,
  message: string | undefined,
): string {
  const results = new Map(pending);
  const rest: string[] = [];
  const content = message === undefined ? '[]' : (parseMemberTexts(message).get('content') ?? '[]');
  if (content.startsWith('[')) {
    for (const text of splitArrayItems(content)) {
      const block = JSON.parse(text) as unknown;
      const id = isObject(block) && block.type === 'tool_result' ? toJsonText(block.tool_use_id) : undefined;
      if (id === undefined || pending.has(id) || results.has(id)) rest.push(text);
      else results.set(id, text);
    }
  } else if (JSON.parse(content) !== '') rest.push(`{"type":"text","text":${content}}`);
  const calls = new Set(called);
  const ordered = [...calls].flatMap((id) => results.get(id) ?? []);
  const strays = [...results].filter(([id]) => !calls.has(id)).map(([, text]) => text);
  const all = `[${[...ordered, ...strays, ...rest].join(',')}]`;
  return message === undefined ? `{"role":"user","content":${all}}` : editJson(message, { content: all });
}
