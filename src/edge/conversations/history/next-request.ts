/** Builds the request that goes up from the caller's body, the history and the conversation's defaults. */

import { adaptRequestForModel, describeChanges } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import { fieldRemovals, readRequestField } from '../../claude/request/all-fields.ts';
import { type HistoryReplacement, RequestBody } from '../../claude/request/request-body.ts';
import type { SentHistory } from '../../claude/request/sent-history.ts';
import type { Settings } from '../../config/settings.ts';
import { freeBytesAndReturnLength } from '../../kit/http/body/release-bytes.ts';
import type { BodyMemoryShare } from '../../kit/http/body-memory.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { ApiError, createTooLargeError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { findEdgeTools, NO_EDGE_TOOLS, type ParsedEdgeTools } from '../../registry/tools/edge-tools.ts';
import { type RunLimits, runLimits } from '../../registry/tools/run-limits.schema.ts';
import type { ResolvedAgent } from './agent-in-use.ts';
import { createContainerParameter, findReusableContainer } from './container.ts';
import { checkContinuation, type SentMessage } from './continuation.ts';
import { createPromptFrameKey } from './frame.ts';
import { getRestrictedTokenGuard } from './guard.ts';
import { findInheritedSystemAndTools } from './inherited-parts.ts';
import {
  ANSWERED,
  addPendingResultsToNewMessages,
  listOmittedCallIdsOfConversation,
  type NewMessagesWithContext,
  readLastAnswerAndAfter,
  separateNewMessages,
} from './new-messages.ts';
import { convertOmittedResultsInMessage } from './omitted-calls.ts';
import { removeOmittedTools } from './omitted-tools.ts';
import { addBreakpointToPreviousQuestion } from './question-breakpoint.ts';
import { findResultsInUnansweredQuestion, type StepResults } from './refused-results.ts';
import { removePendingCallsOfPausedAnswer } from './repair-paused.ts';
import { type RepairablePlan, RequestRepair } from './repair-request.ts';
import { repairCallsInBody } from './repaired-calls.ts';
import { listAnsweredCallIds } from './replayable-blocks.ts';
import { type RequestOptions, type ResolvedRequest, readMaxCost, resolveRequest } from './resolved-request.ts';
import { parseMessage } from './shown-messages.ts';
import type { CachedHistory, MessageText } from './storage/history-cache.ts';
import { BREAKPOINT, hasThinking, removeBreakpointsFromMessage, removeThinking } from './storage/message-text.ts';
import type { CodeContainer } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findNewestTurn } from './storage/turn-queries.ts';
import {
  createSentHistory,
  isLongHistory,
  readHistory,
  readLongHistory,
  type StoredMessagesToSend,
} from './stored-history.ts';
import {
  findModelOfToolLoop,
  findTurnsWithoutThinking,
  NO_UNBOUND_TURNS,
  type TurnsWithoutThinking,
} from './thinking.ts';
import { findFirstMessageToSend, findStartOfPrompt, isSummaryMissing } from './truncate.ts';

/** The plan of a turn. */
export interface NextRequestPlan extends RepairablePlan {
  /** The memory that it takes until it has been sent. Absent if the caller's request holds it. */
  share?: BodyMemoryShare;
  /** The upstream's name of the model. */
  model: string;
  maxTokens: number;
  /** The most tokens that the prompt can have, if the last turn's usage says so. The next three are members of its row. */
  count: number | undefined;
  frame: string | null;
  sentFrom: number;
  follows: boolean;
  /** Whether it leaves a paused answer. Then that goes up without its calls that have no result, and is stored so at the end. */
  isPauseAbandoned: boolean;
  /** Whether its oldest turns are left out, although a summary should stand in their place. */
  isTruncated: boolean;
  /** Repairs it if the API rejects what was accepted before; absent where nothing was. */
  repair?: RequestRepair<NextRequestPlan> | undefined;
  /** The defaults that the conversation stores, if this is its first turn. */
  defaults: { model: string; maxTokens: number; system: string | undefined; tools: string | undefined };
  /** What an agent's answer may cost if it is not a run; undefined if that is not limited. */
  maxCost: Nanodollars | undefined;
  /** What plugins remember of a turn that begins; absent for a later step. */
  memory?: PluginContextValues;
  /** The tools that the edge calls, and the limits of the run; absent if the turn is not a run. */
  run?: PlannedRun | undefined;
}

/** What the steps of a run have in common. */
export interface PlannedRun {
  tools: ParsedEdgeTools;
  limits: RunLimits;
  /** The caller's body without its messages. */
  bodyWithoutMessages: string;
}

/**
 * Plans a turn. Writes nothing.
 *
 * @param callerBody the caller's body, which the schema of a conversation's request has accepted; of a first turn what
 *   `restoreEdgeCallsInText` has made of it
 * @throws ApiError 400 for messages that do not continue the history, 413 for a request that is too large to go up
 */
export function planNextRequest(
  callerBody: string,
  transcript: Transcript,
  settings: Settings,
  options: RequestOptions = {},
): NextRequestPlan {
  const text = repairCallsInBody(callerBody);
  const request = resolveRequest(text, transcript, settings, options);
  const continuation = readIncomingMessages(request, transcript, settings, options);
  const { agent } = options;
  const { json, sent: members, frozen, maxTokens, name } = request;
  const {
    fresh,
    freshTexts: news,
    shownTexts: shown,
    last,
    follows,
    isPauseAbandoned: leavesPaused,
    model,
  } = continuation;
  const run = planRun(
    request.members,
    json,
    { tools: request.inherited.tools, runs: frozen?.runs ?? options.prefix?.runs },
    options.isRun === true,
  );
  const frame = createPromptFrameKey(members, frozen, model, options.betas, run?.tools.mark);
  const { history, sentFrom } = readSentHistory(request, continuation, transcript, settings);
  const markPreviousQuestion = () => addBreakpointToPreviousQuestion(history, continuation.tail, fresh, transcript);
  const { body, longer } = buildTurnBody(
    request,
    { ...continuation, mark: markPreviousQuestion },
    history,
    run,
    options,
  );
  const limit = settings.MAX_BODY_BYTES;
  if (body.bytes.length > limit) throw createRequestTooLargeError(limit, body.hasHistory);
  // If only messages were added, the upstream has already reported how many tokens the prompt has without them.
  const isExtended = frame !== null && last?.frame === frame && last.sentFrom === sentFrom;
  const before = isExtended ? last.tokens : null;
  const added = before === null ? undefined : computeAddedTokenUpperBound(fresh, news, model, settings);
  return {
    messages: fresh.map(({ role }, index) => ({
      role,
      text: removeBreakpointsFromMessage(news[index] ?? ''),
      shown: shown[index] === news[index] ? null : removeBreakpointsFromMessage(shown[index] ?? ''),
    })),
    body,
    longer,
    model,
    maxTokens,
    count: before === null || added === undefined ? undefined : before + added,
    frame,
    sentFrom,
    follows,
    isPauseAbandoned: leavesPaused,
    isTruncated: isSummaryMissing(request.profile?.history, sentFrom),
    repair:
      continuation.results || body.hasHistory || agent
        ? new RequestRepair<NextRequestPlan>({
            transcript,
            results: continuation.results,
            isStep: options.isStep === true,
            planAgain: () => planNextRequest(callerBody, transcript, settings, options),
          })
        : undefined,
    defaults: {
      model: name,
      maxTokens,
      system: getMemberText(members, 'system') ?? (frozen ? undefined : request.inherited.system),
      tools: getMemberText(members, 'tools'),
    },
    maxCost: agent && !run ? readMaxCost(request.members) : undefined,
    run: run && { ...run, bodyWithoutMessages: editJson(text, { messages: '[]' }) },
  };
}

/** What is said in a request. */
interface IncomingMessages {
  /** The new messages, and their JSON texts. */
  fresh: readonly SentMessage[];
  freshTexts: readonly string[];
  /** The texts as they are shown: as they came, with all results of the edge's calls. */
  shownTexts: readonly string[];
  /** The last turn that the upstream has answered. */
  last: ReturnType<typeof findNewestTurn>;
  tail: readonly MessageText[];
  /** The history, if it was read for this. */
  storedHistory: StoredMessagesToSend | undefined;
  follows: boolean;
  isPauseAbandoned: boolean;
  /** The turn that is gone on with. */
  continuedTurn: ReturnType<typeof findNewestTurn>;
  /** The upstream's name of the model. */
  model: string;
  /** The container that the request names. */
  container: CodeContainer | undefined;
  /** The results of the edge's calls that go up with the new messages, or before them in a question without an answer. */
  results: StepResults | undefined;
}

/** Reads which messages are new, and what they continue: that chooses the model. */
function readIncomingMessages(
  { json, members, profile, cached, name }: ResolvedRequest,
  transcript: Transcript,
  { models, MAX_BODY_BYTES: limit }: Settings,
  { agent, isAgain = false, isBound = false, isStep = false, counts = false, now = Date.now() }: RequestOptions,
): IncomingMessages {
  const asksFor = models.resolveAlias(name);
  const incoming = json.messages as SentMessage[];
  const texts = splitArrayItems(members.get('messages') ?? '[]');
  const last = cached ? cached.last : findNewestTurn(transcript, [...ANSWERED, 'empty']);
  const begin = findStartOfPrompt(transcript, profile?.sentFrom ?? 0).from;
  const stored = cached || isLongHistory(transcript, begin) ? undefined : readHistory(transcript, begin, limit);
  const tail = cached?.tail ?? stored?.tail ?? readLastAnswerAndAfter(transcript);
  const cancels = readRequestField('on_pending_tools', undefined, json) === 'cancel';
  const incomingOnly = separateNewMessages(incoming, texts, transcript, last, tail);
  const newIn = createOmittedCallWriter(listOmittedCallIdsOfConversation(transcript));
  if (isBound) getRestrictedTokenGuard().checkMessages(newIn(incomingOnly).fresh, findCallIdsOfClient(tail, agent));
  const { isPauseAbandoned: leavesPaused } = incomingOnly;
  const joined = isAgain ? incomingOnly : addPendingResultsToNewMessages(incomingOnly, cancels);
  const { fresh, at, freshTexts: news } = newIn(joined);
  const { freshTexts: shown } = joined;
  if (fresh.length > 0) checkContinuation(at, fresh, (profile?.turns ?? 0) === 0);
  const follows = fresh.length === 0 || listAnsweredCallIds(fresh[0]?.content).length > 0;
  const continued = follows ? last : undefined;
  const model = continued ? findModelOfToolLoop(transcript, continued, asksFor, models) : asksFor;
  const isSameTurn = isStep || (fresh.length === 0 && last?.outcome?.stop_reason === 'pause_turn');
  const container = counts ? undefined : findReusableContainer(transcript, last, { tail, isSameTurn, now });
  const { pending } = incomingOnly;
  const results =
    last && pending.size > 0 ? { turn: last.seq, pending } : findResultsInUnansweredQuestion(transcript, last, tail);
  return {
    fresh,
    freshTexts: news,
    shownTexts: shown,
    last,
    tail,
    storedHistory: stored,
    follows,
    isPauseAbandoned: leavesPaused,
    continuedTurn: continued,
    model,
    container,
    results,
  };
}

/** @returns what tells in words what left-out calls have answered */
function createOmittedCallWriter(leftOut: ReadonlySet<string>): (of: NewMessagesWithContext) => NewMessagesWithContext {
  return (of) => {
    const news = of.freshTexts.map((text) => convertOmittedResultsInMessage(text, leftOut));
    const fresh = of.fresh.map((message, at) => {
      const text = news[at] ?? '';
      return text === of.freshTexts[at] ? message : parseMessage({ role: message.role, text });
    });
    return { ...of, fresh, freshTexts: news };
  };
}

/**
 * @returns the body that goes up. The results of a step, which may be long, are bytes in it at once: as text and parsed they
 *   would be in memory several times more
 */
export function buildTurnBody(
  request: ResolvedRequest,
  {
    fresh,
    freshTexts: news,
    model,
    container,
    mark: markPreviousQuestion,
  }: Pick<IncomingMessages, 'fresh' | 'freshTexts' | 'model'> &
    Partial<Pick<IncomingMessages, 'container'>> & { mark?(): HistoryReplacement | undefined },
  history: SentHistory,
  run: Omit<PlannedRun, 'bodyWithoutMessages'> | undefined,
  options: RequestOptions,
): { body: RequestBody; longer: SentHistory | undefined } {
  const { used, free } = request;
  const { isStep = false } = options;
  const changes = collectChanges(request, model, run, options);
  const named = container && createContainerParameter(request.json.container, container);
  if (named !== undefined) changes.container = named;
  const isCached = used === 0 || (isStep && used < free);
  if (isCached) changes.cache_control = BREAKPOINT.cache_control;
  const longer = isStep ? history.appendMessages(news, fresh) : undefined;
  const own = isStep ? [] : news;
  const text = editJson(request.text, { ...changes, messages: `[${own.join(',')}]` });
  return {
    body: new RequestBody(text, longer ?? history, isCached && used + 1 < free ? markPreviousQuestion?.() : undefined),
    longer: news.every((text) => removeBreakpointsFromMessage(text) === text) ? longer : undefined,
  };
}

/** @returns how the members of the body that goes up differ from what is asked, beside its messages */
function collectChanges(
  { inherited, json, maxTokens, models, name }: ResolvedRequest,
  model: string,
  run: Omit<PlannedRun, 'bodyWithoutMessages'> | undefined,
  { agent, counts = false }: RequestOptions,
): Record<string, string | undefined> {
  const changes: Record<string, string | undefined> = {
    ...(run || agent ? fieldRemovals().all : fieldRemovals().ofTurn),
    stream: counts ? undefined : 'true',
    // A loop is gone on with by the model that began it.
    ...(model !== models.resolveAlias(name) &&
      describeChanges(adaptRequestForModel(models.findRow(model), json, models.findRow(name)).changes)),
    model: JSON.stringify(model),
    max_tokens: counts ? undefined : String(maxTokens),
  };
  if (!agent && inherited.system !== undefined) changes.system = inherited.system;
  if (!agent && inherited.tools !== undefined) changes.tools = inherited.tools;
  if (run?.tools.sent !== undefined) changes.tools = run.tools.sent;
  return changes;
}

/** Reads the history that goes up, and keeps it in memory for the next turn. */
function readSentHistory(
  { profile, cached, frozen }: ResolvedRequest,
  {
    freshTexts: news,
    last,
    tail,
    storedHistory: stored,
    follows,
    isPauseAbandoned: leavesPaused,
    continuedTurn: continued,
    model,
  }: IncomingMessages,
  transcript: Transcript,
  { models, MAX_BODY_BYTES: limit }: Settings,
): { history: CachedHistory['history']; sentFrom: number } {
  const newCharacters = news.reduce((sum, text) => sum + text.length, 0);
  const sentFrom = findFirstMessageToSend(transcript, profile, newCharacters, continued?.sentFrom);
  const isCached =
    cached?.from === sentFrom &&
    cached.model === model &&
    (follows || !(cached.isForLoop || (last && !models.canBeSameModel(last.model, model))));
  const findUnboundTurnsOnce = () => findTurnsWithoutThinking(transcript, { from: sentFrom, model, follows }, models);
  // What is in memory is the history as it is stored: if the turn fails, the paused answer may still go on.
  if (leavesPaused)
    return { history: buildHistoryWithoutPause(transcript, findUnboundTurnsOnce, { sentFrom, limit }), sentFrom };
  const { history, isForLoop } = isCached
    ? cached
    : buildSentHistory(transcript, findUnboundTurnsOnce, { sentFrom, limit, stored });
  if (frozen) transcript.storeCachedHistory({ from: sentFrom, history, model, isForLoop, tail, last, frozen });
  return { history, sentFrom };
}

/** @returns the history without the calls of its last answer that have no result */
function buildHistoryWithoutPause(
  transcript: Transcript,
  unbound: () => TurnsWithoutThinking,
  { sentFrom, limit }: { sentFrom: number; limit: number },
): SentHistory {
  const repaired = new Map(removePendingCallsOfPausedAnswer(transcript).map(({ seq, content }) => [seq, content]));
  const first = Math.max(findStartOfPrompt(transcript, sentFrom).from, Math.min(...repaired.keys()));
  const before = buildSentHistory(transcript, unbound, { sentFrom, limit, stored: undefined, to: first - 1 });
  const { turns } = unbound();
  const texts = [...transcript.messages.readMessages({ from: first, sent: true })].flatMap(({ seq, turn, text }) => {
    const content = repaired.get(seq);
    if (content?.length === 0) return [];
    const rest = content ? stringifyWithRememberedTexts({ role: 'assistant', content }) : text;
    return turns.has(turn) ? removeThinking(rest) : rest;
  });
  return before.history.appendMessages(texts);
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

/** @returns the run planned from its stored request. @throws ApiError 400 for a malformed limit */
export function restorePlannedRun(
  bodyWithoutMessages: string,
  transcript: Transcript,
  agent: ResolvedAgent | undefined,
  isRun: boolean,
): PlannedRun | undefined {
  const sent = parseMemberTexts(bodyWithoutMessages);
  const { frozenTexts: frozen } = transcript;
  const laid = agent
    ? removeOmittedTools(
        agent.buildRequestWithAgent(sent, findInheritedSystemAndTools(sent, frozen), { maxBreakpoints: 0 }),
        transcript,
      )
    : bodyWithoutMessages;
  const run = planRun(parseMemberTexts(laid), JSON.parse(laid) as JsonObject, frozen, isRun);
  return run && { ...run, bodyWithoutMessages };
}

/**
 * @param isRun whether it is a run even without tools that the edge calls
 * @returns the tools that the edge calls, and the run's limits; undefined if the request is not a run
 */
export function planRun(
  members: Map<string, string>,
  json: JsonObject,
  frozen: { tools: string | undefined; runs: string | undefined },
  isRun: boolean,
): Omit<PlannedRun, 'bodyWithoutMessages'> | undefined {
  const tools = findEdgeTools(members.get('tools') ?? frozen.tools, frozen.runs) ?? (isRun ? NO_EDGE_TOOLS : undefined);
  return tools && { tools, limits: validateBySchema(runLimits, json) };
}

function getMemberText(members: Map<string, string>, name: string): string | undefined {
  const text = members.get(name);
  return text === 'null' ? undefined : text;
}

/**
 * @param sentFrom what is sent first: the number of a message, or a summary's id below zero
 * @param stored what has been read already; read again if it begins elsewhere
 * @param to the last message; default: all
 */
export function buildSentHistory(
  transcript: Transcript,
  unbound: () => TurnsWithoutThinking,
  {
    sentFrom,
    limit,
    stored,
    to,
  }: { sentFrom: number; limit: number; stored: StoredMessagesToSend | undefined; to?: number },
): Pick<CachedHistory, 'history' | 'isForLoop'> {
  const { from, standIn } = findStartOfPrompt(transcript, sentFrom);
  const begins = standIn?.text ? [standIn.text] : [];
  if (isLongHistory(transcript, from)) {
    const { turns, isForLoop: later } = unbound();
    const long = readLongHistory(transcript, { from, to, begins: begins }, limit, turns);
    if (long === undefined) throw createRequestTooLargeError(limit, true);
    return { history: long, isForLoop: later };
  }
  const history = stored?.from === from ? stored : readHistory(transcript, from, limit, to);
  if (history.isTooLong) throw createRequestTooLargeError(limit, true);
  // Without thinking, an object that wakes has a query less to prepare.
  const { turns, isForLoop: later } = history.messages.some(({ text }) => hasThinking(text))
    ? unbound()
    : NO_UNBOUND_TURNS;
  return { history: createSentHistory(history, turns, begins), isForLoop: later };
}

/** @returns the most tokens that new messages can have; undefined if that is not limited. */
function computeAddedTokenUpperBound(
  messages: readonly SentMessage[],
  texts: readonly string[],
  model: string,
  { models }: Settings,
): number | undefined {
  const bytes = texts.reduce((sum, text) => sum + freeBytesAndReturnLength(encoder.encode(text)), 0);
  const { maximumCost: worstCase } = computeMaximumCost({ model, messages, max_tokens: 0 }, { bytes, models });
  return worstCase.bounded ? worstCase.inputTokens : undefined;
}

/**
 * Makes the 413 for a request that is too large to go up.
 *
 * @param hasHistory whether it has a history. Then a smaller request does not help, and the error says what helps
 */
export function createRequestTooLargeError(limitBytes: number, hasHistory: boolean): ApiError {
  if (!hasHistory) return createTooLargeError(limitBytes);
  return new ApiError(
    'request_too_large',
    `The history of this conversation is larger than the ${limitBytes} bytes that one request can have. ` +
      'Rewind it (POST /conversations/:id/rewind), fork it from an earlier message (POST /conversations/:id/fork with `at`), ' +
      'or leave out its oldest turns with PATCH /conversations/:id and {"history":{"max_tokens":…,"strategy":"truncate"}}.',
  );
}
