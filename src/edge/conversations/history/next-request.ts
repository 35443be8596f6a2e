/** Builds the request that is sent from the caller's body, the history and the conversation's defaults. */

import type { ModelTable } from '../../claude/models/models.ts';
import { adaptRequestForModel, describeChanges } from '../../claude/pricing/adapt-for-model.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import { fieldRemovals } from '../../claude/request/all-fields.ts';
import { createCacheControl } from '../../claude/request/cache-breakpoints.ts';
import { type HistoryReplacement, RequestBody } from '../../claude/request/request-body.ts';
import type { SentHistory } from '../../claude/request/sent-history.ts';
import type { Settings } from '../../config/settings.ts';
import { runAtOnce, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { freeBytesAndReturnLength } from '../../kit/http/body/release-bytes.ts';
import type { BodyMemoryShare } from '../../kit/http/body-memory.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import type { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { findEdgeTools, NO_EDGE_TOOLS, type ParsedEdgeTools } from '../../registry/tools/edge-tools.ts';
import { type RunLimits, runLimits } from '../../registry/tools/run-limits.schema.ts';
import type { ResolvedAgent } from './agent-in-use.ts';
import { createContainerParameter, findReusableContainer } from './container.ts';
import { createPromptFrameKey } from './frame.ts';
import {
  continuesLastAnswer,
  getParsedMessages,
  type IncomingMessage,
  type IncomingMessages,
  readIncomingMessages,
} from './incoming-messages.ts';
import { findInheritedSystemAndTools } from './inherited-parts.ts';
import { removeOmittedTools } from './omitted-tools.ts';
import { createRequestTooLargeError, readSentHistory } from './prompt-history.ts';
import { addBreakpointToPreviousQuestion } from './question-breakpoint.ts';
import { findResultsInUnansweredQuestion, type StepResults } from './refused-results.ts';
import { type RepairablePlan, RequestRepair } from './repair-request.ts';
import { repairCallsInBody } from './repaired-calls.ts';
import { type RequestOptions, type ResolvedRequest, readMaxCost, resolveRequest } from './resolved-request.ts';
import { removeBreakpointsFromMessage } from './storage/message-text.ts';
import type { CodeContainer, TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { findModelOfToolLoop } from './thinking.ts';
import { isSummaryMissing } from './truncate.ts';

/** The plan of a turn. */
export interface NextRequestPlan extends RepairablePlan {
  /** The memory that is reserved for it until it has been sent. Absent if the caller's request has reserved it. */
  reservedMemory?: BodyMemoryShare;
  /** The model as the Claude API names it: an alias is already resolved. */
  model: string;
  maxTokens: number;
  /**
   * The upper bound of the prompt's tokens, if it can be computed from the last turn's usage. The next three are members of the
   * turn's row.
   */
  tokenCount: number | undefined;
  frame: string | null;
  sentFrom: number;
  follows: boolean;
  /** Whether it leaves a paused answer. Then that is sent without its calls that have no result, and is stored so at the end. */
  isPauseAbandoned: boolean;
  /** Whether the oldest turns are truncated although a summary should replace them. */
  isTruncated: boolean;
  /** Repairs the request if the API rejects content that it accepted before; absent if there is none. */
  repair?: RequestRepair<NextRequestPlan> | undefined;
  /** The defaults that the conversation stores, if this is its first turn. */
  defaults: { model: string; maxTokens: number; system: string | undefined; tools: string | undefined };
  /** The maximum cost of an agent's answer that is not a run; undefined without a limit. */
  maxCost: Nanodollars | undefined;
  /** What plugins remember of a turn that begins; absent for a later step. */
  pluginContext?: PluginContextValues;
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
 * @throws ApiError 400 for messages that do not continue the history, 413 for a request that is too large to be sent
 */
export function planNextRequest(
  callerBody: string,
  transcript: Transcript,
  settings: Settings,
  options: RequestOptions = {},
): NextRequestPlan {
  return runAtOnce(planNextRequestInSteps(callerBody, transcript, settings, options));
}

/**
 * Plans a turn with a long body in steps, each of which reads the body once. The plan is valid only if the conversation has not
 * changed in the meantime.
 */
export function* planNextRequestInSteps(
  callerBody: string,
  transcript: Transcript,
  settings: Settings,
  options: RequestOptions,
): SteppedWork<NextRequestPlan> {
  const { length } = callerBody;
  yield length;
  const hasChanged = transcript.trackChanges();
  const text = repairCallsInBody(callerBody);
  yield length;
  const request = resolveRequest(text, transcript, settings, options);
  yield length;
  const incoming = yield* readIncomingMessages(request, transcript, settings.MAX_BODY_BYTES, options);
  const { agent } = options;
  yield length;
  const { json, callerMembers, frozen, maxTokens, modelName } = request;
  const { lastTurn, tail } = incoming.stored;
  const follows = continuesLastAnswer(incoming);
  const model = chooseModel(settings.models, modelName, transcript, follows ? lastTurn : undefined);
  const run = planRun(
    request.members,
    json,
    { tools: request.inherited.tools, runs: frozen?.runs ?? options.initialDefaults?.runs },
    options.isRunEvenWithoutTools === true,
  );
  const frame = createPromptFrameKey(callerMembers, frozen, model, options.betas, run?.tools.mark);
  const { history, sentFrom, toCache } = yield* readSentHistory(
    request,
    incoming,
    { model, follows },
    transcript,
    settings,
  );
  // If the conversation has changed since the first step, the cache would keep what was read before, also for the next plan.
  if (toCache && !hasChanged()) transcript.storeCachedHistory(toCache);
  const { body, extendedHistory } = buildTurnBody(
    request,
    {
      messages: incoming.new,
      model,
      container: findContainer(incoming, transcript, options),
      markPreviousQuestion: (breakpoint) =>
        addBreakpointToPreviousQuestion(breakpoint, history, tail, getParsedMessages(incoming.new), transcript),
    },
    history,
    run,
    options,
  );
  const limit = settings.MAX_BODY_BYTES;
  yield length + history.joinedBytes.length;
  if (body.bytes.length > limit) throw createRequestTooLargeError(limit, body.hasHistory);
  // If the prompt only adds messages to the last turn's prompt, only the added ones must be estimated: the upstream has
  // reported how many tokens the rest has.
  const isExtended = frame !== null && lastTurn?.frame === frame && lastTurn.sentFrom === sentFrom;
  const before = isExtended ? lastTurn.tokens : null;
  yield length;
  const added = before === null ? undefined : computeAddedTokenUpperBound(incoming.new, model, settings);
  const results = findUnacceptedResults(incoming, transcript);
  return {
    messages: incoming.new.map(({ message, text }, index) => {
      const shown = incoming.shown[index] ?? text;
      return {
        role: message.role,
        text: removeBreakpointsFromMessage(text),
        shown: shown === text ? null : removeBreakpointsFromMessage(shown),
      };
    }),
    body,
    extendedHistory,
    model,
    maxTokens,
    tokenCount: before === null || added === undefined ? undefined : before + added,
    frame,
    sentFrom,
    follows,
    isPauseAbandoned: incoming.isPauseAbandoned,
    isTruncated: isSummaryMissing(request.profile?.history, sentFrom),
    repair:
      results || body.hasHistory || agent
        ? new RequestRepair<NextRequestPlan>({
            transcript,
            results,
            isStep: options.isLaterStep === true,
            planAgain: (rejectedTools) =>
              planNextRequest(callerBody, transcript, settings, { ...options, rejectedTools }),
          })
        : undefined,
    defaults: {
      model: modelName,
      maxTokens,
      system: getMemberText(callerMembers, 'system') ?? (frozen ? undefined : request.inherited.system),
      tools: getMemberText(callerMembers, 'tools'),
    },
    maxCost: agent && !run ? readMaxCost(request.members) : undefined,
    run: run && { ...run, bodyWithoutMessages: editJson(text, { messages: '[]' }) },
  };
}

/** @returns the model as the Claude API names it. @param continuedTurn the turn whose answer the request continues */
function chooseModel(
  models: ModelTable,
  name: string,
  transcript: Transcript,
  continuedTurn: TurnRow | undefined,
): string {
  const requestedModel = models.resolveAlias(name);
  return continuedTurn ? findModelOfToolLoop(transcript, continuedTurn, requestedModel, models) : requestedModel;
}

/** @returns the container that the request names; undefined if it needs none */
function findContainer(
  { stored: { lastTurn, tail }, new: messages }: IncomingMessages,
  transcript: Transcript,
  { isLaterStep = false, counts = false, now = Date.now() }: RequestOptions,
): CodeContainer | undefined {
  if (counts) return undefined;
  const isSameTurn = isLaterStep || (messages.length === 0 && lastTurn?.outcome?.stop_reason === 'pause_turn');
  return findReusableContainer(transcript, lastTurn, { tail, isSameTurn, now });
}

/** @returns results of the edge's calls that the API may not have accepted yet: in the new messages, or in the last question */
function findUnacceptedResults(
  { stored: { lastTurn, tail, pendingResults } }: IncomingMessages,
  transcript: Transcript,
): StepResults | undefined {
  return lastTurn && pendingResults.size > 0
    ? { turn: lastTurn.seq, pending: pendingResults }
    : findResultsInUnansweredQuestion(transcript, lastTurn, tail);
}

/**
 * Builds the body that is sent. The results of a step, which may be long, become bytes at once: as text and parsed, they would
 * take several times as much memory.
 */
export function buildTurnBody(
  request: ResolvedRequest,
  {
    messages,
    model,
    container,
    markPreviousQuestion,
  }: {
    messages: readonly IncomingMessage[];
    model: string;
    container?: CodeContainer | undefined;
    markPreviousQuestion?(breakpoint: JsonObject): HistoryReplacement | undefined;
  },
  history: SentHistory,
  run: Omit<PlannedRun, 'bodyWithoutMessages'> | undefined,
  options: RequestOptions,
): { body: RequestBody; extendedHistory: SentHistory | undefined } {
  const { used, breakpointLimit } = request;
  const { isLaterStep = false } = options;
  const changes = collectChanges(request, model, run, options);
  const named = container && createContainerParameter(request.json.container, container);
  if (named !== undefined) changes.container = named;
  // Let the API place a breakpoint by itself if the caller has placed none. In a later step it may use one that is left.
  const isCached = used === 0 || (isLaterStep && used < breakpointLimit);
  const automatic = isObject(request.json.cache_control) ? request.json.cache_control : undefined;
  if (isCached && !automatic) changes.cache_control = JSON.stringify(createCacheControl('5m'));
  const texts = messages.map(({ text }) => text);
  const extended = isLaterStep ? history.appendMessages(texts, getParsedMessages(messages)) : undefined;
  const text = editJson(request.text, { ...changes, messages: `[${isLaterStep ? '' : texts.join(',')}]` });
  const isQuestionMarked = isCached && used + (automatic ? 0 : 1) < breakpointLimit;
  const replaced = isQuestionMarked
    ? markPreviousQuestion?.(createCacheControl(automatic?.ttl === '1h' ? '1h' : '5m'))
    : undefined;
  return {
    body: new RequestBody(text, extended ?? history, replaced),
    extendedHistory: extended && texts.every((one) => removeBreakpointsFromMessage(one) === one) ? extended : undefined,
  };
}

/** @returns the changes from the caller's members to the members of the body that is sent, without the messages */
function collectChanges(
  { inherited, json, maxTokens, models, modelName }: ResolvedRequest,
  model: string,
  run: Omit<PlannedRun, 'bodyWithoutMessages'> | undefined,
  { agent, counts = false }: RequestOptions,
): Record<string, string | undefined> {
  const changes: Record<string, string | undefined> = {
    ...(run || agent ? fieldRemovals().all : fieldRemovals().ofTurn),
    stream: counts ? undefined : 'true',
    // A tool loop is finished by the model that began it. If the request names another model, adapt its fields to the loop's
    // model.
    ...(model !== models.resolveAlias(modelName) &&
      describeChanges(adaptRequestForModel(models.findRow(model), json, models.findRow(modelName)).changes)),
    model: JSON.stringify(model),
    max_tokens: counts ? undefined : String(maxTokens),
  };
  if (!agent && inherited.system !== undefined) changes.system = inherited.system;
  if (!agent && inherited.tools !== undefined) changes.tools = inherited.tools;
  if (run?.tools.sent !== undefined) changes.tools = run.tools.sent;
  return changes;
}

/** @returns the run planned from its stored request. @throws ApiError 400 for a malformed limit */
export function restorePlannedRun(
  bodyWithoutMessages: string,
  transcript: Transcript,
  agent: ResolvedAgent | undefined,
  isRunEvenWithoutTools: boolean,
): PlannedRun | undefined {
  const sent = parseMemberTexts(bodyWithoutMessages);
  const { frozenTexts: frozen } = transcript;
  const withAgent = agent
    ? removeOmittedTools(
        agent.buildRequestWithAgent(sent, findInheritedSystemAndTools(sent, frozen), { maxBreakpoints: 0 }),
        transcript,
      )
    : bodyWithoutMessages;
  const run = planRun(parseMemberTexts(withAgent), JSON.parse(withAgent) as JsonObject, frozen, isRunEvenWithoutTools);
  return run && { ...run, bodyWithoutMessages };
}

/**
 * @param isRunEvenWithoutTools whether it is a run even without tools that the edge calls
 * @returns the tools that the edge calls, and the run's limits; undefined if the request is not a run
 */
export function planRun(
  members: Map<string, string>,
  json: JsonObject,
  frozen: { tools: string | undefined; runs: string | undefined },
  isRunEvenWithoutTools: boolean,
): Omit<PlannedRun, 'bodyWithoutMessages'> | undefined {
  const tools =
    findEdgeTools(members.get('tools') ?? frozen.tools, frozen.runs) ??
    (isRunEvenWithoutTools ? NO_EDGE_TOOLS : undefined);
  return tools && { tools, limits: validateBySchema(runLimits, json) };
}

function getMemberText(members: Map<string, string>, name: string): string | undefined {
  const text = members.get(name);
  return text === 'null' ? undefined : text;
}

/** @returns the most tokens that new messages can have; undefined if that is not limited. */
function computeAddedTokenUpperBound(
  added: readonly IncomingMessage[],
  model: string,
  { models }: Settings,
): number | undefined {
  const bytes = added.reduce((sum, { text }) => sum + freeBytesAndReturnLength(encoder.encode(text)), 0);
  const request = { model, messages: getParsedMessages(added), max_tokens: 0 };
  const { maximumCost } = computeMaximumCost(request, { bytes, models });
  return maximumCost.bounded ? maximumCost.inputTokens : undefined;
}
