/** Builds the request that goes up from the caller's body, the history and the conversation's defaults. */

import { adaptForModel, changedTexts } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { maximumCost } from '../../claude/pricing/maximum-cost.ts';
import { readOption, withoutMembers } from '../../claude/request/members.ts';
import { type Replacement, RequestBody } from '../../claude/request/request-body.ts';
import type { SentHistory } from '../../claude/request/sent-history.ts';
import type { Settings } from '../../config/settings.ts';
import { releasedLength } from '../../kit/http/body/release-bytes.ts';
import type { MemoryShare } from '../../kit/http/body-memory.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { ApiError, tooLarge } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { edit, itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { writeJson } from '../../kit/json/kept-text.ts';
import { isObject, type Json, parseObject } from '../../kit/json/object.ts';
import type { ContextValues } from '../../kit/plugins/context-values.ts';
import { type EdgeTools, edgeToolsIn, NO_EDGE_TOOLS } from '../../registry/tools/edge-tools.ts';
import { type RunLimits, runLimits } from '../../registry/tools/run-limits.schema.ts';
import type { AgentInUse } from './agent-in-use.ts';
import { type Asked, mostOf, type RequestOptions, readAsked } from './asked-request.ts';
import { containerAfter, withContainer } from './container.ts';
import { checkContinuation, type SentMessage } from './continuation.ts';
import { frameOf } from './frame.ts';
import { guard } from './guard.ts';
import { inheritedParts } from './inherited-parts.ts';
import { ANSWERED, type Continued, joinedResults, leftOutOf, newMessages, tailIn } from './new-messages.ts';
import { messageWithoutCalls } from './omitted-calls.ts';
import { withoutOmittedTools } from './omitted-tools.ts';
import { markQuestion } from './question-breakpoint.ts';
import { type ResultsOfStep, resultsInQuestion } from './refused-results.ts';
import { repairPaused } from './repair-paused.ts';
import { type RepairablePlan, RequestRepair } from './repair-request.ts';
import { bodyWithRepairedCalls } from './repaired-calls.ts';
import { answeredTools } from './replayable-blocks.ts';
import { messageOf } from './shown-messages.ts';
import type { CachedHistory, MessageText } from './storage/history-cache.ts';
import { BREAKPOINT, hasThinking, withoutBreakpoints, withoutThinking } from './storage/message-text.ts';
import type { Container } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn } from './storage/turn-queries.ts';
import { isLongHistory, readHistory, readLongHistory, type StoredHistory, sentHistoryOf } from './stored-history.ts';
import { modelOfLoop, NONE_UNBOUND, type UnboundTurns, unboundTurns } from './thinking.ts';
import { beginningOf, firstMessageSent, lacksSummary } from './truncate.ts';

/** The plan of a turn. */
export interface NextRequest extends RepairablePlan {
  /** The room that it takes until it has gone up. Absent where its caller's request has it. */
  share?: MemoryShare;
  /** The upstream's name of the model. */
  model: string;
  maxTokens: number;
  /** The most tokens that the prompt can have, if the last turn's usage says so. The next three are members of its row. */
  count: number | undefined;
  frame: string | null;
  sentFrom: number;
  follows: boolean;
  /** Whether it leaves a paused answer. Then that goes up without its calls that have no result, and is stored so at the end. */
  leavesPaused: boolean;
  /** Whether its oldest turns are left out, although a summary should stand in their place. */
  isTruncated: boolean;
  /** Repairs it if the API rejects what was accepted before; absent where nothing was. */
  repair?: RequestRepair<NextRequest> | undefined;
  /** The defaults that the conversation stores, if this is its first turn. */
  defaults: { model: string; maxTokens: number; system: string | undefined; tools: string | undefined };
  /** What an agent's answer may cost if it is not a run; undefined if that is not limited. */
  most: Nanodollars | undefined;
  /** What plugins remember of a turn that begins; absent for a later step. */
  memory?: ContextValues;
  /** The tools that the edge calls, and the limits of the run; absent if the turn is not a run. */
  run?: PlannedRun | undefined;
}

/** What the steps of a run have in common. */
export interface PlannedRun {
  tools: EdgeTools;
  limits: RunLimits;
  /** The caller's body without its messages. */
  rest: string;
}

/**
 * Plans a turn. Writes nothing.
 *
 * @param sent the caller's body, which the schema of a conversation's request has accepted; of a first turn what
 *   `withoutEdgeBlocks` has made of it
 * @throws ApiError 400 for messages that do not continue the history, 413 for a request that is too large to go up
 */
export function nextRequest(
  sent: string,
  transcript: Transcript,
  settings: Settings,
  options: RequestOptions = {},
): NextRequest {
  const text = bodyWithRepairedCalls(sent);
  const request = readAsked(text, transcript, settings, options);
  const continuation = readIncoming(request, transcript, settings, options);
  const { agent } = options;
  const { json, sent: members, frozen, maxTokens, name } = request;
  const { fresh, news, shown, last, follows, leavesPaused, model } = continuation;
  const run = runIn(
    request.members,
    json,
    { tools: request.inherited.tools, runs: frozen?.runs ?? options.prefix?.runs },
    options.isRun === true,
  );
  const frame = frameOf(members, frozen, model, options.betas, run?.tools.mark);
  const { history, sentFrom } = readSentHistory(request, continuation, transcript, settings);
  const mark = () => markQuestion(history, continuation.tail, fresh, transcript);
  const { body, longer } = bodyOfTurn(request, { ...continuation, mark }, history, run, options);
  const limit = settings.MAX_BODY_BYTES;
  if (body.bytes.length > limit) throw tooLargeToSend(limit, body.hasHistory);
  // If only messages were added, the upstream has already reported how many tokens the prompt has without them.
  const isExtended = frame !== null && last?.frame === frame && last.sentFrom === sentFrom;
  const before = isExtended ? last.tokens : null;
  const added = before === null ? undefined : tokensAdded(fresh, news, model, settings);
  return {
    messages: fresh.map(({ role }, index) => ({
      ...{ role, text: withoutBreakpoints(news[index] ?? '') },
      shown: shown[index] === news[index] ? null : withoutBreakpoints(shown[index] ?? ''),
    })),
    body,
    longer,
    model,
    maxTokens,
    count: before === null || added === undefined ? undefined : before + added,
    frame,
    sentFrom,
    follows,
    leavesPaused,
    isTruncated: lacksSummary(request.profile?.history, sentFrom),
    repair:
      continuation.results || body.hasHistory || agent
        ? new RequestRepair<NextRequest>({
            ...{ transcript, results: continuation.results, isStep: options.isStep === true },
            plan: () => nextRequest(sent, transcript, settings, options),
          })
        : undefined,
    defaults: {
      model: name,
      maxTokens,
      system: memberText(members, 'system') ?? (frozen ? undefined : request.inherited.system),
      tools: memberText(members, 'tools'),
    },
    most: agent && !run ? mostOf(request.members) : undefined,
    run: run && { ...run, rest: edit(text, { messages: '[]' }) },
  };
}

/** What is said in a request. */
interface Said {
  /** The new messages, and their JSON texts. */
  fresh: readonly SentMessage[];
  news: readonly string[];
  /** The texts as they are shown: as they came, with all results of the edge's calls. */
  shown: readonly string[];
  /** The last turn that the upstream has answered. */
  last: ReturnType<typeof latestTurn>;
  tail: readonly MessageText[];
  /** The history, if it was read for this. */
  stored: StoredHistory | undefined;
  follows: boolean;
  leavesPaused: boolean;
  /** The turn that is gone on with. */
  continued: ReturnType<typeof latestTurn>;
  /** The upstream's name of the model. */
  model: string;
  /** The container that the request names. */
  container: Container | undefined;
  /** The results of the edge's calls that go up with the new messages, or before them in a question without an answer. */
  results: ResultsOfStep | undefined;
}

/** Reads which messages are new, and what they continue: that chooses the model. */
function readIncoming(
  { json, members, profile, cached, name }: Asked,
  transcript: Transcript,
  { models, MAX_BODY_BYTES: limit }: Settings,
  { agent, isAgain = false, isBound = false, isStep = false, counts = false, now = Date.now() }: RequestOptions,
): Said {
  const asksFor = models.resolve(name);
  const incoming = json.messages as SentMessage[];
  const texts = itemTexts(members.get('messages') ?? '[]');
  const last = cached ? cached.last : latestTurn(transcript, [...ANSWERED, 'empty']);
  const begin = beginningOf(transcript, profile?.sentFrom ?? 0).from;
  const stored = cached || isLongHistory(transcript, begin) ? undefined : readHistory(transcript, begin, limit);
  const tail = cached?.tail ?? stored?.tail ?? tailIn(transcript);
  const cancels = readOption('on_pending_tools', undefined, json) === 'cancel';
  const incomingOnly = newMessages(incoming, texts, transcript, last, tail);
  const newIn = toldBy(leftOutOf(transcript));
  if (isBound) guard().checkMessages(newIn(incomingOnly).fresh, callsOfClient(tail, agent));
  const { leavesPaused } = incomingOnly;
  const joined = isAgain ? incomingOnly : joinedResults(incomingOnly, cancels);
  const { fresh, at, news } = newIn(joined);
  const { news: shown } = joined;
  if (fresh.length > 0) checkContinuation(at, fresh, (profile?.turns ?? 0) === 0);
  const follows = fresh.length === 0 || answeredTools(fresh[0]?.content).length > 0;
  const continued = follows ? last : undefined;
  const model = continued ? modelOfLoop(transcript, continued, asksFor, models) : asksFor;
  const isSameTurn = isStep || (fresh.length === 0 && last?.outcome?.stop_reason === 'pause_turn');
  const container = counts ? undefined : containerAfter(transcript, last, { tail, isSameTurn, now });
  const { pending } = incomingOnly;
  const results = last && pending.size > 0 ? { turn: last.seq, pending } : resultsInQuestion(transcript, last, tail);
  return { fresh, news, shown, last, tail, stored, follows, leavesPaused, continued, model, container, results };
}

/** @returns what tells in words what left-out calls have answered */
function toldBy(leftOut: ReadonlySet<string>): (of: Continued) => Continued {
  return (of) => {
    const news = of.news.map((text) => messageWithoutCalls(text, leftOut));
    const fresh = of.fresh.map((message, at) => {
      const text = news[at] ?? '';
      return text === of.news[at] ? message : messageOf({ role: message.role, text });
    });
    return { ...of, fresh, news };
  };
}

/**
 * @returns the body that goes up. The results of a step, which may be long, are bytes in it at once: as text and parsed they
 *   would be in memory several times more
 */
export function bodyOfTurn(
  request: Asked,
  {
    fresh,
    news,
    model,
    container,
    mark,
  }: Pick<Said, 'fresh' | 'news' | 'model'> & Partial<Pick<Said, 'container'>> & { mark?(): Replacement | undefined },
  history: SentHistory,
  run: Omit<PlannedRun, 'rest'> | undefined,
  options: RequestOptions,
): { body: RequestBody; longer: SentHistory | undefined } {
  const { used, free } = request;
  const { isStep = false } = options;
  const changes = changesFor(request, model, run, options);
  const named = container && withContainer(request.json.container, container);
  if (named !== undefined) changes.container = named;
  const isCached = used === 0 || (isStep && used < free);
  if (isCached) changes.cache_control = BREAKPOINT.cache_control;
  const longer = isStep ? history.plus(news, fresh) : undefined;
  const own = isStep ? [] : news;
  const text = edit(request.text, { ...changes, messages: `[${own.join(',')}]` });
  return {
    body: new RequestBody(text, longer ?? history, isCached && used + 1 < free ? mark?.() : undefined),
    longer: news.every((text) => withoutBreakpoints(text) === text) ? longer : undefined,
  };
}

/** @returns how the members of the body that goes up differ from what is asked, beside its messages */
function changesFor(
  { inherited, json, maxTokens, models, name }: Asked,
  model: string,
  run: Omit<PlannedRun, 'rest'> | undefined,
  { agent, counts = false }: RequestOptions,
): Record<string, string | undefined> {
  const changes: Record<string, string | undefined> = {
    ...(run || agent ? withoutMembers().all : withoutMembers().ofTurn),
    stream: counts ? undefined : 'true',
    // A loop is gone on with by the model that began it.
    ...(model !== models.resolve(name) &&
      changedTexts(adaptForModel(models.find(model), json, models.find(name)).changes)),
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
  { profile, cached, frozen }: Asked,
  { news, last, tail, stored, follows, leavesPaused, continued, model }: Said,
  transcript: Transcript,
  { models, MAX_BODY_BYTES: limit }: Settings,
): { history: CachedHistory['history']; sentFrom: number } {
  const newCharacters = news.reduce((sum, text) => sum + text.length, 0);
  const sentFrom = firstMessageSent(transcript, profile, newCharacters, continued?.sentFrom);
  const isCached =
    cached?.from === sentFrom &&
    cached.model === model &&
    (follows || !(cached.isForLoop || (last && !models.mayBeSame(last.model, model))));
  const unbound = () => unboundTurns(transcript, { from: sentFrom, model, follows }, models);
  // What is in memory is the history as it is stored: if the turn fails, the paused answer may still go on.
  if (leavesPaused) return { history: historyLeavingPaused(transcript, unbound, { sentFrom, limit }), sentFrom };
  const { history, isForLoop } = isCached ? cached : sentHistory(transcript, unbound, { sentFrom, limit, stored });
  if (frozen) transcript.cacheHistory({ from: sentFrom, history, model, isForLoop, tail, last, frozen });
  return { history, sentFrom };
}

/** @returns the history without the calls of its last answer that have no result */
function historyLeavingPaused(
  transcript: Transcript,
  unbound: () => UnboundTurns,
  { sentFrom, limit }: { sentFrom: number; limit: number },
): SentHistory {
  const repaired = new Map(repairPaused(transcript).map(({ seq, content }) => [seq, content]));
  const first = Math.max(beginningOf(transcript, sentFrom).from, Math.min(...repaired.keys()));
  const before = sentHistory(transcript, unbound, { sentFrom, limit, stored: undefined, to: first - 1 });
  const { turns } = unbound();
  const texts = [...transcript.messages.history({ from: first, sent: true })].flatMap(({ seq, turn, text }) => {
    const content = repaired.get(seq);
    if (content?.length === 0) return [];
    const rest = content ? writeJson({ role: 'assistant', content }) : text;
    return turns.has(turn) ? withoutThinking(rest) : rest;
  });
  return before.history.plus(texts);
}

/** @returns the ids of the calls in the last answer that its client makes: the edge calls the other tools of the agent. */
function callsOfClient(tail: readonly MessageText[], agent: AgentInUse | undefined): ReadonlySet<string> {
  const blocks = tail.flatMap(({ text }) => {
    const content = parseObject(text)?.content;
    return Array.isArray(content) ? content.filter(isObject) : [];
  });
  return new Set(
    blocks.flatMap(({ type, name, id }) => (type === 'tool_use' && agent?.hasTool(name, 'client') ? [String(id)] : [])),
  );
}

/** @returns the run planned from its stored request. @throws ApiError 400 for a malformed limit */
export function plannedRun(
  rest: string,
  transcript: Transcript,
  agent: AgentInUse | undefined,
  isRun: boolean,
): PlannedRun | undefined {
  const sent = memberTexts(rest);
  const { frozen } = transcript;
  const laid = agent
    ? withoutOmittedTools(agent.applyPrefix(sent, inheritedParts(sent, frozen), { breakpoints: 0 }), transcript)
    : rest;
  const run = runIn(memberTexts(laid), JSON.parse(laid) as Json, frozen, isRun);
  return run && { ...run, rest };
}

/**
 * @param isRun whether it is a run even without tools that the edge calls
 * @returns the tools that the edge calls, and the run's limits; undefined if the request is not a run
 */
export function runIn(
  members: Map<string, string>,
  json: Json,
  frozen: { tools: string | undefined; runs: string | undefined },
  isRun: boolean,
): Omit<PlannedRun, 'rest'> | undefined {
  const tools = edgeToolsIn(members.get('tools') ?? frozen.tools, frozen.runs) ?? (isRun ? NO_EDGE_TOOLS : undefined);
  return tools && { tools, limits: validate(runLimits, json) };
}

function memberText(members: Map<string, string>, name: string): string | undefined {
  const text = members.get(name);
  return text === 'null' ? undefined : text;
}

/**
 * @param sentFrom what is sent first: the number of a message, or a summary's id below zero
 * @param stored what has been read already; read again if it begins elsewhere
 * @param to the last message; default: all
 */
export function sentHistory(
  transcript: Transcript,
  unbound: () => UnboundTurns,
  { sentFrom, limit, stored, to }: { sentFrom: number; limit: number; stored: StoredHistory | undefined; to?: number },
): Pick<CachedHistory, 'history' | 'isForLoop'> {
  const { from, standIn } = beginningOf(transcript, sentFrom);
  const begins = standIn?.text ? [standIn.text] : [];
  if (isLongHistory(transcript, from)) {
    const { turns, later } = unbound();
    const long = readLongHistory(transcript, { from, to, begins }, limit, turns);
    if (long === undefined) throw tooLargeToSend(limit, true);
    return { history: long, isForLoop: later };
  }
  const history = stored?.from === from ? stored : readHistory(transcript, from, limit, to);
  if (history.isTooLong) throw tooLargeToSend(limit, true);
  // Without thinking, an object that wakes has a query less to prepare.
  const { turns, later } = history.messages.some(({ text }) => hasThinking(text)) ? unbound() : NONE_UNBOUND;
  return { history: sentHistoryOf(history, turns, begins), isForLoop: later };
}

/** @returns the most tokens that new messages can have; undefined if that is not limited. */
function tokensAdded(
  messages: readonly SentMessage[],
  texts: readonly string[],
  model: string,
  { models }: Settings,
): number | undefined {
  const bytes = texts.reduce((sum, text) => sum + releasedLength(encoder.encode(text)), 0);
  const { worstCase } = maximumCost({ model, messages, max_tokens: 0 }, { bytes, models });
  return worstCase.bounded ? worstCase.inputTokens : undefined;
}

/**
 * Makes the 413 for a request that is too large to go up.
 *
 * @param hasHistory whether it has a history. Then a smaller request does not help, and the error says what helps
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
