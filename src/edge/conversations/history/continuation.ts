/** Checks that messages continue a history, before anything is stored or sent. */
import { runAtOnce, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { getMember, isObject, type JsonObject } from '../../kit/json/object.ts';
import { listAnsweredCallIds, listToolCallIds } from './replayable-blocks.ts';

/** A message as it is sent and stored. */
export interface SentMessage {
  role: string;
  content: unknown;
}

/** The state at the end of a history: the last role, and the tool calls that still need results. */
export interface HistoryState {
  role: 'user' | 'assistant' | undefined;
  /** Ids of the last answer's tool calls. */
  callIds: Set<string>;
  /** Ids of those whose results the user has sent. */
  resultIds: Set<string>;
}

export function createEmptyHistoryState(): HistoryState {
  return { role: undefined, callIds: new Set(), resultIds: new Set() };
}

/** Updates the state by the next message of the history. */
export function advanceHistoryState(at: HistoryState, { role, content }: SentMessage): void {
  if (role === 'assistant') {
    if (at.role !== 'assistant') at.callIds.clear();
    at.resultIds.clear();
    for (const id of listToolCallIds(content)) at.callIds.add(id);
    at.role = 'assistant';
  } else if (role === 'user') {
    for (const id of listAnsweredCallIds(content)) at.resultIds.add(id);
    at.role = 'user';
  }
}

/**
 * Checks new messages by the API's rules for a conversation: the model must be able to answer them.
 *
 * @param first whether the history is empty: only then the messages may contain answers (an import)
 * @throws ApiError 400 that says what to send instead
 */
export function checkContinuation(at: HistoryState, messages: readonly SentMessage[], first: boolean): void {
  checkMessages(at, messages, first);
  if (at.role === 'assistant') {
    throw createInvalidRequestError(
      'messages: the last message must use the "user" role, because a conversation does not support prefilled responses.',
    );
  }
}

/**
 * Checks messages as a part of a history, which may end with an answer, and updates the state by them.
 *
 * @param first as for `checkContinuation`
 * @throws ApiError 400 that says what to send instead
 */
export function checkMessages(at: HistoryState, messages: readonly SentMessage[], first: boolean): void {
  for (const [index, message] of messages.entries()) checkMessage(at, message, `messages.${index}`, first);
  if (at.role !== 'assistant') validateAllCallsAnswered(at, 'messages');
}

/** The same for one message, whose calls a later message may answer. */
export function checkMessage(at: HistoryState, message: SentMessage, path: string, first: boolean): void {
  if (message.role === 'assistant') {
    if (!first) {
      throw createInvalidRequestError(
        `${path}: this conversation stores its history. Send only the new messages, or the unchanged history followed by the new messages. Only the first turn of a conversation can add assistant messages.`,
      );
    }
    if (at.role === undefined && !startsWithCompaction(message.content))
      throw createInvalidRequestError(`${path}: first message must use the "user" role`);
    if (at.role === 'assistant')
      throw createInvalidRequestError(
        `${path}: follows another assistant message. Send one of them, or add a user message between them.`,
      );
    validateAllCallsAnswered(at, path);
    advanceHistoryState(at, message);
  } else if (message.role === 'user') validateToolResults(at, message.content, path);
}

/** @returns whether a content begins with a compaction block, which replaces all messages before it. */
function startsWithCompaction(content: unknown): boolean {
  return Array.isArray(content) && getMember(content[0], 'type') === 'compaction';
}

/** Updates the state by a message of the user, too. */
function validateToolResults(at: HistoryState, content: unknown, path: string): void {
  const { callIds: called, resultIds: answered } = at;
  at.role = 'user';
  for (const id of listAnsweredCallIds(content)) {
    if (!called.has(id)) {
      throw createInvalidRequestError(
        `${path}: the last response has no \`tool_use\` with the id ${id}. Send a \`tool_result\` only for calls of this response.`,
      );
    }
    if (answered.has(id))
      throw createInvalidRequestError(
        `${path}: each tool_use must have a single result. ${id} already has one. Remove this result.`,
      );
    answered.add(id);
  }
}

function validateAllCallsAnswered(at: HistoryState, path: string): void {
  const missing = [...at.callIds].filter((id) => !at.resultIds.has(id));
  if (missing.length === 0) return;
  throw createInvalidRequestError(
    `${path}: the \`tool_use\` of the last response requires its \`tool_result\` first: ${missing.join(', ')}. Send the results in the next user message, or rewind the conversation.`,
  );
}

const NO_OMITTED_CALLS: ReadonlySet<string> = new Set();

/** A message of the history, to compare it with a message that a client sends. */
export interface ComparableHistoryMessage extends SentMessage {
  /** The ids of calls that the model has refused: they were not made, and a client may have seen them as the edge's. */
  refused?: readonly string[];
  /** Whether its turn was interrupted: the client may have received less of the answer, or a little more. */
  isPartial: boolean;
}

/**
 * Finds the new messages after those that resend the history: many clients send all of it with each request.
 *
 * Consecutive answers match one joined answer, because some clients join them. (A run that has waited for approval has such
 * answers.) User messages must be equal except for the order of results. Of answers, only the text and the tool calls are
 * compared, because clients drop thinking and reorder blocks that they do not show. An answer without either may be missing on
 * one side, and the questions around it may be joined. A string equals one text block; cache breakpoints and nulls are ignored.
 *
 * @param leftOut the ids of calls that are not sent, which clients may drop
 * @returns the new messages (the first one may have only its last blocks); undefined if the messages do not begin with the
 *   whole history
 */
export function* dropResentMessagesInSteps(
  history: Iterable<ComparableHistoryMessage>,
  messages: readonly SentMessage[],
  leftOut: ReadonlySet<string> = NO_OMITTED_CALLS,
): SteppedWork<readonly SentMessage[] | undefined> {
  let at = 0;
  /** How many blocks of the message there are known. */
  let within = 0;
  for (const stored of groupAnswers(history)) {
    const [one] = stored;
    yield stored.reduce((sum, { content }) => sum + computeTextLength(content), 0);
    const isAnswer = one?.role === 'assistant';
    if (isAnswer) at = findFirstAfterRepeatedQuestions(messages, at);
    else if (within === 0) at = findFirstAfterSilentAnswers(messages, at, leftOut);
    const first = messages[at];
    const isPartial = stored.some((one) => one.isPartial);
    if (isAnswer && first?.role !== 'assistant' && (isPartial || areAnswersWithoutKeptContent(stored, leftOut)))
      continue;
    if (!first || first.role !== one?.role) return undefined;
    if (isAnswer) {
      let end = at + 1;
      while (messages[end]?.role === 'assistant') end += 1;
      if (!isSameMessageGroup(stored, messages.slice(at, end), leftOut)) return undefined;
      at = end;
      continue;
    }
    const [own, blocks] = [toBlockList(one.content), toBlockList(first.content)];
    const until = within + own.length;
    if (
      (own.length > 0 || blocks.length === 0) &&
      serializeCanonically(normalizeOrder(own)) === serializeCanonically(normalizeOrder(blocks.slice(within, until)))
    ) {
      within = until < blocks.length ? until : 0;
      if (within === 0) at += 1;
    }
    // Continue even if the request lacks this stored question: some clients drop a question whose answer was interrupted.
    else if (first.role !== 'user' || !isPartial) return undefined;
  }
  if (at > 0 && within === 0) at = findFirstAfterSilentAnswers(messages, at, leftOut);
  const [first, ...others] = messages.slice(at);
  if (within === 0 || !first) return at === 0 ? undefined : messages.slice(at);
  return [{ ...first, content: toBlockList(first.content).slice(within) }, ...others];
}

/** @returns the number of the first message from one on that is no answer without text and calls: of those nothing may be kept */
function findFirstAfterSilentAnswers(
  messages: readonly SentMessage[],
  from: number,
  leftOut: ReadonlySet<string>,
): number {
  let at = from;
  for (
    let one = messages[at];
    one?.role === 'assistant' && areAnswersWithoutKeptContent([one], leftOut);
    one = messages[at]
  )
    at += 1;
  return at;
}

/**
 * @returns the number of the first message that does not repeat the question before it. A repeated question without an answer
 *   is stored once
 */
function findFirstAfterRepeatedQuestions(messages: readonly SentMessage[], from: number): number {
  const question = messages[from - 1];
  const isRepeated = ({ role, content }: SentMessage) =>
    role === 'user' &&
    serializeCanonically(toBlockList(content)) === serializeCanonically(toBlockList(question?.content));
  let at = from;
  // Never skip the last message, even if it has the same content as the stored question: it is the new question.
  if (question?.role === 'user')
    for (let one = messages[at]; at < messages.length - 1 && one && isRepeated(one); one = messages[at]) at += 1;
  return at;
}

/** @returns how many of the messages are in the history already; 0 if they do not begin with the whole history */
export function countResent(...args: Parameters<typeof dropResentMessagesInSteps>): number {
  const [, messages] = args;
  return messages.length - (runAtOnce(dropResentMessagesInSteps(...args)) ?? messages).length;
}

/** @returns about how many characters a content has: those of its long texts */
function computeTextLength(content: unknown): number {
  if (typeof content === 'string') return content.length;
  if (!Array.isArray(content)) return 0;
  return content.reduce<number>((sum, block) => {
    const text = getMember(block, 'text') ?? getMember(block, 'content');
    return sum + (Array.isArray(text) ? computeTextLength(text) : typeof text === 'string' ? text.length : 0);
  }, 0);
}

/** Yields each message as a list of one, and answers in a row as one list. */
function* groupAnswers(history: Iterable<ComparableHistoryMessage>): Generator<ComparableHistoryMessage[]> {
  let together: ComparableHistoryMessage[] = [];
  for (const message of history) {
    if (together.length > 0 && !(message.role === 'assistant' && together[0]?.role === 'assistant')) {
      yield together;
      together = [];
    }
    together.push(message);
  }
  if (together.length > 0) yield together;
}

/** @returns whether answers have nothing that every client keeps. */
function areAnswersWithoutKeptContent(
  answers: readonly (SentMessage & Pick<ComparableHistoryMessage, 'refused'>)[],
  leftOut: ReadonlySet<string>,
): boolean {
  return joinAnswerTexts(answers) === '' && serializeCalls(answers, addRefusedCallIds(leftOut, answers)) === '';
}

function addRefusedCallIds(
  leftOut: ReadonlySet<string>,
  answers: readonly Pick<ComparableHistoryMessage, 'refused'>[],
): ReadonlySet<string> {
  const refused = answers.flatMap((one) => one.refused ?? []);
  return refused.length === 0 ? leftOut : new Set([...leftOut, ...refused]);
}

function isSameMessageGroup(
  stored: readonly ComparableHistoryMessage[],
  messages: readonly SentMessage[],
  leftOut: ReadonlySet<string>,
): boolean {
  const [before, now] = [joinAnswerTexts(stored), joinAnswerTexts(messages)];
  if (stored.some(({ isPartial }) => isPartial) && (before.startsWith(now) || now.startsWith(before))) return true;
  const without = addRefusedCallIds(leftOut, stored);
  return before === now && serializeCalls(stored, without) === serializeCalls(messages, without);
}

function joinAnswerTexts(answers: readonly SentMessage[]): string {
  return answers.map(({ content }) => normalizeText(content)).join('');
}

function serializeCalls(answers: readonly SentMessage[], leftOut: ReadonlySet<string>): string {
  const calls = answers.flatMap(({ content }) => listToolCallIds(content));
  return calls.filter((id) => !leftOut.has(id)).join();
}

/** @returns the text of a content without white space, because clients join and trim blocks. */
function normalizeText(content: unknown): string {
  if (typeof content === 'string') return content.replace(/\s+/g, '');
  if (!Array.isArray(content)) return '';
  return content
    .map((block) => (isObject(block) && block.type === 'text' && typeof block.text === 'string' ? block.text : ''))
    .join('')
    .replace(/\s+/g, '');
}

/** @returns the blocks of a user's message with its results in one order: the edge puts them in that of their calls */
function normalizeOrder(blocks: readonly unknown[]): readonly unknown[] {
  if (listAnsweredCallIds(blocks).length === 0) return blocks;
  const named = blocks.map((block) => ({ block, id: listAnsweredCallIds([block])[0] ?? '' }));
  const ordered = named.toSorted((one, other) => Number(one.id > other.id) - Number(one.id < other.id));
  return ordered.map(({ block }) => block);
}

/** @throws ApiError 400 for a content that nests so deep that it cannot be compared */
function serializeCanonically(content: unknown): string {
  try {
    return JSON.stringify(content, (_, value: unknown) => (isObject(value) ? normalizeJson(value) : value));
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    throw createInvalidRequestError('messages: Input nests too deep. Send messages with fewer levels.');
  }
}

function toBlockList(content: unknown): unknown[] {
  if (Array.isArray(content)) return content;
  return (content ?? '') === '' ? [] : [{ type: 'text', text: content }];
}

/** @returns the members sorted by name, without cache breakpoints and nulls. */
function normalizeJson(value: JsonObject): JsonObject {
  const names = Object.keys(value).filter((name) => name !== 'cache_control' && value[name] !== null);
  const sorted: JsonObject = Object.fromEntries(names.sort().map((name) => [name, value[name]]));
  if (value.type === 'tool_result') sorted.content = toBlockList(value.content);
  return sorted;
}

/** Results of calls that the edge has made for the last answer, by call id. They are not in the history yet. */
export type PendingResults = ReadonlyMap<string, string>;

/**
 * The result for calls of the client's own tools that the client leaves without one, if it sends `on_pending_tools: "cancel"`.
 */
const CANCELLED_RESULT = 'This call was cancelled, because the user continued without its result.';

/**
 * Adds an error as the result of each call in the last answer that has no result, neither from the edge nor in the new
 * messages.
 *
 * @param pending the results that the edge has
 * @returns these results, and an error for each call without a result
 */
export function addCancelledResults(
  { callIds: called }: Pick<HistoryState, 'callIds'>,
  pending: PendingResults,
  [next]: readonly SentMessage[],
): PendingResults {
  if (next?.role !== 'user') return pending;
  const answered = new Set(listAnsweredCallIds(next.content));
  const missing = [...called].filter((id) => !answered.has(id) && !pending.has(id));
  if (missing.length === 0) return pending;
  const results = missing.map((tool_use_id): [string, string] => [
    tool_use_id,
    JSON.stringify({ type: 'tool_result', tool_use_id, content: CANCELLED_RESULT, is_error: true }),
  ]);
  return new Map([...pending, ...results]);
}

/** @returns the content of a user's message without the added errors: a client that resends the message does not have them */
export function removeCancelledResults(content: unknown): unknown {
  if (!Array.isArray(content) || !content.some(isCancelledResult)) return content;
  return content.filter((block) => !isCancelledResult(block));
}

function isCancelledResult(block: unknown): boolean {
  return (
    isObject(block) && block.type === 'tool_result' && block.is_error === true && block.content === CANCELLED_RESULT
  );
}
