/** Builds the request that goes up from the caller's body, the history and the conversation's defaults. */

import { encoder } from '../../http/bytes.ts';
import { ApiError, invalidRequest, tooLarge } from '../../http/errors.ts';
import type { JsonBody } from '../../http/json-body.ts';
import { edit, itemTexts, memberTexts } from '../../json/edit.ts';
import { isObject } from '../../json/object.ts';
import { worstCaseOf } from '../../pricing/worst-case.ts';
import type { Settings } from '../../settings/settings.ts';
import { RequestBody } from '../../upstream/request/request-body.ts';
import { SentHistory } from '../../upstream/request/sent-history.ts';
import type { MessageText } from '../storage/history-cache.ts';
import { hasBreakpoint, withoutBreakpoints } from '../storage/message-text.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { latestTurn } from '../storage/turn-queries.ts';
import {
  addToState,
  checkContinuation,
  countResent,
  emptyHistoryState,
  type HistoryState,
  type SentMessage,
  type StoredMessage,
} from './continuation.ts';
import { answeredTools } from './replayable-blocks.ts';
import { firstMessageSent } from './truncate.ts';

/** The plan of a turn. */
export interface NextRequest {
  messages: { role: string; text: string }[];
  /** The body that goes up. */
  body: JsonBody;
  /** The upstream's name of the model. */
  model: string;
  maxTokens: number;
  /** The most tokens that the prompt can have, if the last turn's usage tells. The next three are members of its row. */
  count: number | undefined;
  frame: string | null;
  sentFrom: number;
  follows: boolean;
  /** The defaults that the conversation stores, if this is its first turn. */
  defaults: { model: string; maxTokens: number; system: string | undefined; tools: string | undefined };
}

/** Members that do not change the length of the prompt. */
const OUTSIDE_THE_PROMPT: ReadonlySet<string> = new Set([
  'messages',
  'conversation',
  'stream',
  'max_tokens',
  'metadata',
  'stop_sequences',
  'temperature',
  'top_p',
  'top_k',
  'cache_control',
  'service_tier',
]);
/** The most characters of a frame; longer ones are not stored. */
const LONGEST_FRAME = 4_000;

/** The defaults that a prefix gives to a new conversation. */
export interface PrefixDefaults {
  model: string | undefined;
  maxTokens: number | undefined;
}

interface RequestOptions {
  /** Of a new conversation. */
  prefix?: PrefixDefaults | undefined;
  /** The header `anthropic-beta`, which can change how the API counts a prompt. */
  betas?: string | undefined;
  /** Whether the prompt is only counted: members about the answer are left out then. */
  counts?: boolean;
}

/**
 * Plans a turn; nothing is written.
 *
 * @param text the caller's body, which the schema of a conversation's request has accepted
 * @throws ApiError 400 for messages that do not continue the history, 413 for what has become too large
 */
export function nextRequest(
  text: string,
  transcript: Transcript,
  settings: Settings,
  { prefix, betas, counts = false }: RequestOptions = {},
): NextRequest {
  const profile = transcript.profile?.exists ? transcript.profile : undefined;
  const json = JSON.parse(text) as Record<string, unknown>;
  const members = memberTexts(text);
  const name = typeof json.model === 'string' ? json.model : (profile?.model ?? prefix?.model);
  if (name === undefined || name === null)
    throw invalidRequest('model: Field required: this conversation has no default.');
  const ownTokens = typeof json.max_tokens === 'number' ? json.max_tokens : undefined;
  const maxTokens = counts ? 0 : (ownTokens ?? profile?.maxTokens ?? prefix?.maxTokens);
  if (maxTokens === undefined || maxTokens === null) {
    throw invalidRequest('max_tokens: Field required: this conversation has no default.');
  }
  const model = settings.models.resolve(name);
  const incoming = json.messages as SentMessage[];
  const texts = itemTexts(members.get('messages') ?? '[]');
  const cached = transcript.cachedHistory;
  const last = cached ? cached.last : latestTurn(transcript, [...ANSWERED, 'empty']);
  const tail = cached?.tail ?? tailIn(transcript);
  const { fresh, at } = newMessages(incoming, transcript, last, tail);
  const news = texts.slice(incoming.length - fresh.length);
  if (fresh.length > 0) checkContinuation(at, fresh, (profile?.turns ?? 0) === 0);

  const frozen = profile && (cached?.frozen ?? transcript.frozen);
  const changes: Record<string, string | undefined> = {
    conversation: undefined,
    prefix: undefined,
    stream: counts ? undefined : 'true',
    model: JSON.stringify(model),
    max_tokens: counts ? undefined : String(maxTokens),
  };
  if (frozen?.system !== undefined && !members.has('system')) changes.system = frozen.system;
  if (frozen?.tools !== undefined && !members.has('tools')) changes.tools = frozen.tools;
  const hasOwnCaching = [text, changes.system, changes.tools].some((part) => part && hasBreakpoint(part));
  if (!hasOwnCaching) changes.cache_control = '{"type":"ephemeral"}';

  const frame = frameOf(members, frozen, model, betas);
  const follows = fresh.length === 0 || answeredTools(fresh[0]?.content).length > 0;
  const newCharacters = news.reduce((sum, text) => sum + text.length, 0);
  const sentFrom = firstMessageSent(transcript, profile, newCharacters, follows);
  const history =
    cached?.from === sentFrom ? cached.history : sentHistory(transcript, sentFrom, settings.MAX_BODY_BYTES);
  if (frozen) transcript.cacheHistory({ from: sentFrom, history, tail, last, frozen });
  changes.messages = `[${news.join(',')}]`;
  const prompt = new RequestBody(edit(text, changes), history);
  if (prompt.bytes.length > settings.MAX_BODY_BYTES) throw tooLargeToSend(settings.MAX_BODY_BYTES, prompt.hasHistory);
  // The upstream has reported how many tokens the prompt has without the new messages, if only they are new.
  const isExtended = frame !== null && last?.frame === frame && last.sentFrom === sentFrom;
  const before = isExtended ? last.tokens : null;
  const added = before === null ? undefined : tokensAdded(fresh, news, model, settings);
  return {
    messages: fresh.map(({ role }, index) => ({ role, text: withoutBreakpoints(news[index] ?? '') })),
    body: prompt,
    model,
    maxTokens,
    count: before === null || added === undefined ? undefined : before + added,
    frame,
    sentFrom,
    follows,
    defaults: { model: name, maxTokens, system: given(members, 'system'), tools: given(members, 'tools') },
  };
}

function given(members: Map<string, string>, name: string): string | undefined {
  const text = members.get(name);
  return text === 'null' ? undefined : text;
}

const ANSWERED = ['complete', 'interrupted', 'stopped'] as const;

/** Separates the new messages from those that resend the history, and finds the state before them. */
function newMessages(
  incoming: readonly SentMessage[],
  transcript: Transcript,
  last: TurnRow | undefined,
  tail: readonly MessageText[],
): { fresh: readonly SentMessage[]; at: HistoryState } {
  const known = (sent: boolean) => countResent(storedMessages(transcript, sent), incoming);
  const fresh = incoming.slice(incoming.length < 2 ? 0 : known(false) || known(true));
  const { at, answers } = stateAfter(tail);
  // An empty turn has not continued a paused answer.
  const answer = last?.status === 'empty' ? latestTurn(transcript, ANSWERED) : last;
  const paused = answer?.outcome?.stop_reason === 'pause_turn' && at.role === 'assistant';
  if (paused && (fresh.length === 0 || isAgain(fresh, answers))) return { fresh: [], at };
  if (fresh.length === 0) {
    throw invalidRequest(
      'messages: this is the history as it stands, with nothing new. Send a new message, or rewind.',
    );
  }
  if (paused && fresh[0]?.role !== 'assistant' && owesResults(answers)) {
    throw invalidRequest(
      'messages: the last answer was paused in a tool of the API. Send the whole history, or that answer alone, to let it go on; or rewind the conversation.',
    );
  }
  return { fresh, at };
}

function* storedMessages(transcript: Transcript, sent: boolean): Generator<StoredMessage> {
  for (const message of transcript.texts({ sent })) {
    const { status } = message;
    yield { ...messageOf(message), isPartial: status === 'interrupted' || status === 'stopped' };
  }
}

/** @returns a stored message, parsed. */
export function messageOf({ role, text }: MessageText): SentMessage {
  return { role, content: (JSON.parse(text) as { content?: unknown }).content };
}

/** Reads the last answer and what follows it: tool calls before it need no results any more. */
function tailIn(transcript: Transcript): readonly MessageText[] {
  const tail: MessageText[] = [];
  for (const { role, text } of transcript.texts({ sent: true, backwards: true })) {
    if (tail.at(-1)?.role === 'assistant' && role !== 'assistant') break;
    tail.push({ role, text });
  }
  return tail.reverse();
}

function stateAfter(tail: readonly MessageText[]): { at: HistoryState; answers: SentMessage[] } {
  const messages = tail.map(messageOf);
  const at = emptyHistoryState();
  for (const message of messages) addToState(at, message);
  return { at, answers: messages.filter(({ role }) => role === 'assistant') };
}

function isAgain(fresh: readonly SentMessage[], answers: readonly SentMessage[]): boolean {
  const [only] = fresh;
  const last = answers.at(-1);
  if (!only || !last || fresh.length > 1 || only.role !== 'assistant') return false;
  return countResent([{ ...last, isPartial: false }], fresh) === 1;
}

function owesResults(answers: readonly SentMessage[]): boolean {
  const blocks = answers.flatMap(({ content }) => (Array.isArray(content) ? content.filter(isObject) : []));
  const results = new Set(blocks.map(({ tool_use_id }) => tool_use_id));
  return blocks.some(({ type, id }) => (type === 'server_tool_use' || type === 'mcp_tool_use') && !results.has(id));
}

/** Reads the history once; the texts go up as they are stored. */
function sentHistory(transcript: Transcript, from: number, limit: number): SentHistory {
  const texts: string[] = [];
  let length = 0;
  for (const { text } of transcript.texts({ from, sent: true })) {
    length += text.length;
    if (length > limit) throw tooLargeToSend(limit, true);
    texts.push(text);
  }
  return SentHistory.EMPTY.plus(texts);
}

/** @returns what decides the length of a prompt beside its messages; null where that is too long to be stored. */
function frameOf(
  members: Map<string, string>,
  frozen: { system: string | undefined; tools: string | undefined } | undefined,
  model: string,
  betas: string | undefined,
): string | null {
  const parts = betas === undefined ? [model] : [model, `anthropic-beta:${betas}`];
  for (const [name, text] of members) {
    if (OUTSIDE_THE_PROMPT.has(name) || name === 'model') continue;
    // What the first turn sends is frozen for the later ones, so it is no difference.
    if (name === 'system' || name === 'tools') {
      if (!frozen || frozen[name] === text) continue;
    }
    parts.push(`${name}:${text}`);
  }
  const frame = parts.sort().join('\n');
  return frame.length <= LONGEST_FRAME ? frame : null;
}

/** @returns the most tokens that new messages can have; undefined where that is not limited. */
function tokensAdded(
  messages: readonly SentMessage[],
  texts: readonly string[],
  model: string,
  { models }: Settings,
): number | undefined {
  const bytes = texts.reduce((sum, text) => sum + encoder.encode(text).length, 0);
  const { worstCase } = worstCaseOf({ model, messages, max_tokens: 0 }, { bytes, models });
  return worstCase.bounded ? worstCase.inputTokens : undefined;
}

/**
 * Makes the 413 for a request that is too large to go up.
 *
 * @param hasHistory whether it has a history: then a smaller request does not help, and the error says what does
 */
export function tooLargeToSend(limitBytes: number, hasHistory: boolean): ApiError {
  if (!hasHistory) return tooLarge(limitBytes);
  return new ApiError(
    'request_too_large',
    `The history of this conversation has outgrown the ${limitBytes} bytes that one request may have. ` +
      'Go back (POST /conversations/:id/rewind), go on from an earlier message (POST /conversations/:id/fork with `at`), ' +
      'or have its oldest turns left out: PATCH /conversations/:id with {"history":{"max_tokens":…,"strategy":"truncate"}}.',
  );
}
