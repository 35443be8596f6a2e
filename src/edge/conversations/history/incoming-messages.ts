/** Finds which messages of a request are new, and prepares them for the model and for views. */
import { readRequestField } from '../../claude/request/all-fields.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import type { ResolvedAgent } from './agent-in-use.ts';
import {
  addCancelledResults,
  advanceHistoryState,
  checkContinuation,
  countResent,
  createEmptyHistoryState,
  dropResentMessagesInSteps,
  type HistoryState,
  type PendingResults,
  type SentMessage,
} from './continuation.ts';
import { getRestrictedTokenGuard } from './guard.ts';
import { convertOmittedResultsInMessage } from './omitted-calls.ts';
import { listAnsweredCallIds } from './replayable-blocks.ts';
import type { RequestOptions, ResolvedRequest } from './resolved-request.ts';
import { areResultsFirst } from './results-first.ts';
import { parseMessage, readShownMessages } from './shown-messages.ts';
import type { HistoryEnd, MessageText } from './storage/history-cache.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findNewestTurn } from './storage/turn-queries.ts';
import { isLongHistory, readHistory, type StoredMessagesToSend } from './stored-history.ts';
import { findStartOfPrompt } from './truncate.ts';

/** Turns whose answer is in the history. */
export const ANSWERED = ['complete', 'interrupted', 'stopped'] as const;

/** The messages of a request: the stored ones that it continues, the new ones, and how views show the new ones. */
export interface IncomingMessages {
  stored: StoredEnd;
  /** As the model receives them. Empty if the request continues the last answer, or repeats the last question. */
  new: readonly IncomingMessage[];
  /** The JSON texts of the new messages for views: results of omitted calls are still blocks, and not yet texts. */
  shown: readonly string[];
  /** Whether the new messages leave a paused answer with calls that will not get results. */
  isPauseAbandoned: boolean;
}

/** The end of the stored history, which the new messages continue. */
interface StoredEnd extends HistoryEnd {
  /** The stored history, if it was read to find its end. */
  history: StoredMessagesToSend | undefined;
  /** Results of the edge's calls for the last answer that no message contains yet. They are sent with the next message. */
  pendingResults: PendingResults;
}

/** A new message, parsed and as JSON text. */
export interface IncomingMessage {
  message: SentMessage;
  text: string;
}

/**
 * Reads the messages of a request in steps.
 *
 * @param limit about how many characters of the history are read
 * @throws ApiError 400 for messages that do not continue the history, 403 for those that a restricted token may not send
 */
export function* readIncomingMessages(
  { json, members, profile, cached }: ResolvedRequest,
  transcript: Transcript,
  limit: number,
  { agent, isAgain = false, isRestricted = false }: RequestOptions,
): SteppedWork<IncomingMessages> {
  const end = cached
    ? { lastTurn: cached.lastTurn, tail: cached.tail, history: undefined }
    : readStoredEnd(transcript, profile?.sentFrom ?? 0, limit);
  const { state, answers } = computeHistoryState(end.tail);
  const stored: StoredEnd = { ...end, pendingResults: findPendingResults(transcript, end.lastTurn, state) };
  const texts = splitArrayItems(members.get('messages') ?? '[]');
  const received = (json.messages as SentMessage[]).map((message, at) => ({ message, text: texts[at] ?? '' }));
  const { messages, isPauseAbandoned } = yield* separateNewMessages(received, transcript, stored, { state, answers });
  const omittedCallIds = listOmittedCallIdsOfConversation(transcript);
  const toSent = (one: IncomingMessage) => convertOmittedResults(one, omittedCallIds);
  if (isRestricted) {
    const sent = messages.map((one) => toSent(one).message);
    getRestrictedTokenGuard().checkMessages(sent, findCallIdsOfClient(end.tail, agent));
  }
  const isCancelling = readRequestField('on_pending_tools', undefined, json) === 'cancel';
  const complete = isAgain ? messages : addPendingResults(messages, state, stored.pendingResults, isCancelling);
  const sent: IncomingMessage[] = [];
  for (const one of complete) {
    yield one.text.length;
    sent.push(toSent(one));
  }
  if (sent.length > 0) {
    const isFirstTurn = (profile?.turns ?? 0) === 0;
    checkContinuation(state, getParsedMessages(sent), isFirstTurn);
  }
  return { stored, new: sent, shown: complete.map(({ text }) => text), isPauseAbandoned };
}

/** @returns whether the new messages continue the last answer: they answer its calls, or add nothing to it */
export function continuesLastAnswer({ new: messages }: Pick<IncomingMessages, 'new'>): boolean {
  return messages.length === 0 || listAnsweredCallIds(messages[0]?.message.content).length > 0;
}

export function getParsedMessages(messages: readonly IncomingMessage[]): SentMessage[] {
  return messages.map(({ message }) => message);
}

/** @param sentFrom the first message of the prompt: its number, or a summary's id below zero */
function readStoredEnd(transcript: Transcript, sentFrom: number, limit: number): Omit<StoredEnd, 'pendingResults'> {
  const { from } = findStartOfPrompt(transcript, sentFrom);
  const history = isLongHistory(transcript, from) ? undefined : readHistory(transcript, from, limit);
  return {
    lastTurn: findNewestTurn(transcript, [...ANSWERED, 'empty']),
    tail: history?.tail ?? readLastAnswerAndAfter(transcript),
    history,
  };
}

/** Separates the new messages from those that resend the history. */
function* separateNewMessages(
  received: readonly IncomingMessage[],
  transcript: Transcript,
  { lastTurn, pendingResults }: StoredEnd,
  { state, answers }: ReturnType<typeof computeHistoryState>,
): SteppedWork<{ messages: readonly IncomingMessage[]; isPauseAbandoned: boolean }> {
  const omittedCallIds = listOmittedCallIdsOfConversation(transcript);
  const messages = yield* dropStoredMessages(received, transcript, omittedCallIds);
  const parsed = getParsedMessages(messages);
  // If the newest turn has an empty answer, check the turn before it: an empty answer does not end a paused one, which can
  // still be continued.
  const answered = lastTurn?.status === 'empty' ? findNewestTurn(transcript, ANSWERED) : lastTurn;
  const isPaused = answered?.outcome?.stop_reason === 'pause_turn' && state.role === 'assistant';
  const isRun = typeof answered?.run === 'number';
  const repeatsAnswer = () =>
    isRepeatedAnswer(parsed, isRun ? readLastShownAnswer(transcript) : answers, omittedCallIds);
  const isUnanswered = lastTurn?.status === 'interrupted' && state.role !== 'assistant';
  if (
    ((isPaused || pendingResults.size > 0) && (messages.length === 0 || repeatsAnswer())) ||
    (isUnanswered && isRepeatedQuestion(parsed, transcript))
  ) {
    return { messages: [], isPauseAbandoned: false };
  }
  if (messages.length === 0) {
    throw createInvalidRequestError(
      'messages: this is the stored history without a new message. Send a new message, or rewind the conversation.',
    );
  }
  return { messages, isPauseAbandoned: isPaused && parsed[0]?.role !== 'assistant' && hasPendingCalls(answers) };
}

/** @returns the messages that are not in the history yet. If the first blocks of a message are stored, only its other blocks. */
function* dropStoredMessages(
  received: readonly IncomingMessage[],
  transcript: Transcript,
  omittedCallIds: ReadonlySet<string>,
): SteppedWork<readonly IncomingMessage[]> {
  const incoming = getParsedMessages(received);
  // A single message cannot repeat the history, so return it unchanged. The exception is a message with several blocks: some
  // clients merge a stored question and a new one into it.
  const isOne = incoming.length < 2;
  if (isOne && !(Array.isArray(incoming[0]?.content) && incoming[0].content.length > 1)) return received;
  const dropResent = (isSentOnly: boolean) =>
    dropResentMessagesInSteps(readShownMessages(transcript, isSentOnly), incoming, omittedCallIds);
  const parsed = (yield* dropResent(false)) ?? (yield* dropResent(true));
  if (!parsed || (isOne && parsed.length === 0)) return received;
  const messages = received.slice(received.length - parsed.length);
  const [[first], [whole]] = [parsed, messages];
  if (!first || !whole || first === whole.message) return messages;
  const blocks = splitArrayItems(parseMemberTexts(whole.text).get('content') ?? '[]');
  const { length } = Array.isArray(first.content) ? first.content : [];
  const text = editJson(whole.text, { content: `[${blocks.slice(-length).join(',')}]` });
  return [{ message: first, text }, ...messages.slice(1)];
}

/** @returns a message with texts in place of the results of omitted calls */
function convertOmittedResults(one: IncomingMessage, omittedCallIds: ReadonlySet<string>): IncomingMessage {
  const text = convertOmittedResultsInMessage(one.text, omittedCallIds);
  return text === one.text ? one : { message: parseMessage({ role: one.message.role, text }), text };
}

/** @returns the ids of the calls in the last answer that its client makes: the edge calls the other tools of the agent. */
function findCallIdsOfClient(tail: readonly MessageText[], agent: ResolvedAgent | undefined): ReadonlySet<string> {
  const blocks = tail.flatMap(({ text }) => {
    const content = parseJsonObject(text)?.content;
    return Array.isArray(content) ? content.filter(isObject) : [];
  });
  return new Set(
    blocks.flatMap(({ type, name, id }) => (type === 'tool_use' && agent?.hasTool(name, 'client') ? [String(id)] : [])),
  );
}

/** The edge has made no calls for the last answer. */
const NO_PENDING_RESULTS: PendingResults = new Map();

/** @returns the results of the edge's calls for the last answer that are not in a message yet. */
function findPendingResults(transcript: Transcript, last: TurnRow | undefined, at: HistoryState): PendingResults {
  if (typeof last?.run !== 'number') return NO_PENDING_RESULTS;
  const leftOut = listOmittedCallIdsOfConversation(transcript);
  // If the history ends with a user message, that message already contains the results, so none are pending.
  if (at.role !== 'assistant' && leftOut.size === 0) return NO_PENDING_RESULTS;
  const results = [...transcript.edgeCalls.readResultsOfTurn(last.seq)];
  return new Map(results.filter(([id]) => (at.role === 'assistant' && at.callIds.has(id)) || leftOut.has(id)));
}

/** @returns the ids of calls that were shown but are not sent */
function listOmittedCallIdsOfConversation({ storedProfile: profile }: Transcript): ReadonlySet<string> {
  return new Set(profile?.leftOut);
}

/**
 * Puts the edge's results before the new messages, and the client's own results before the text of their message, because the
 * API accepts only results first after calls.
 *
 * @param isCancelling whether calls without any result get an error
 */
function addPendingResults(
  messages: readonly IncomingMessage[],
  state: HistoryState,
  pendingResults: PendingResults,
  isCancelling: boolean,
): readonly IncomingMessage[] {
  const [first, ...others] = messages;
  const followsAnswer = state.role === 'assistant';
  if (first?.message.role === 'assistant') return messages;
  const results =
    isCancelling && followsAnswer
      ? addCancelledResults(state, pendingResults, getParsedMessages(messages))
      : pendingResults;
  if (results.size === 0 && (!followsAnswer || areResultsFirst(first?.message.content, [...state.callIds])))
    return messages;
  const text = mergeResultsIntoUserMessage(state.callIds, results, first?.text);
  return [{ message: parseMessage({ role: 'user', text }), text }, ...others];
}

/** Reads the last answer and what follows it. Earlier tool calls need no results any more. */
export function readLastAnswerAndAfter(transcript: Transcript): readonly MessageText[] {
  const tail: MessageText[] = [];
  const isBeforeAnswer = (role: string) => tail.at(-1)?.role === 'assistant' && role !== 'assistant';
  const messages = transcript.messages.readMessageTexts({ sent: true, isBackwards: true }, isBeforeAnswer);
  for (const { role, text } of messages) tail.push({ role, text });
  return tail.reverse();
}

function computeHistoryState(tail: readonly MessageText[]): { state: HistoryState; answers: SentMessage[] } {
  const messages = tail.map(parseMessage);
  const state = createEmptyHistoryState();
  for (const message of messages) advanceHistoryState(state, message);
  return { state, answers: messages.filter(({ role }) => role === 'assistant') };
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
 * @param message the user's next message as JSON text; undefined if only the results are sent
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
