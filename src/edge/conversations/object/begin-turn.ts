/** Begins a turn: plans it, and stores it before its request is sent. */

import {
  addCachingResponse,
  type CachesByUpstream,
  listUpstreamsWithUnexpiredCache,
} from '../../claude/upstreams/pool.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { runAtOnce, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { createDimensionValue, type DimensionValues, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import type { ResolvedAgent } from '../history/agent-in-use.ts';
import { removeLostCode } from '../history/container.ts';
import { addNeededBetasToHeaders, findBetasNeededByMessages } from '../history/needed-betas.ts';
import { type NextRequestPlan, planNextRequest, planNextRequestInSteps } from '../history/next-request.ts';
import type { RequestOptions } from '../history/resolved-request.ts';
import {
  BLANK_TURN,
  type ConversationProfile,
  formatVersionReference,
  type NewMessage,
  type TurnRow,
  type TurnStatus,
} from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { addIncompleteNote, addNotes, type TurnNotes } from '../history/storage/turn-notes.ts';
import { findNewestTurn } from '../history/storage/turn-queries.ts';
import type { StepOrRecoveryOptions, TurnExecutionContext } from '../turn/turn-context.ts';
import { toListedParent } from '../turn/turn-ending.ts';
import { TurnExecutor } from '../turn/turn-executor.ts';
import { isUnreportedRejection, type TurnRunner } from '../turn/turn-handle.ts';
import { TurnRecorder } from '../turn/turn-recorder.ts';
import { getTurnIdPrefix } from '../views/redact-for.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import type { InitialContextOptions, StartedTurnRequest, TurnRequest } from './contract.ts';
import type { ConversationContext, ConversationHooks, PendingTurn } from './hooks.ts';
import { createPrefixApplier, type InitialContext, readRetainedAgent } from './initial-context.ts';
import { startConversation } from './profile-changes.ts';
import { requireSameRetainedVersion } from './retained-prefix.ts';

/** How often the alarm rings while a turn runs. It wakes an object that died. */
export const WATCH_MS = 30_000;

/** The statuses of turns whose prompt the upstream has read. */
const PROMPT_READ_STATUSES: readonly TurnStatus[] = ['complete', 'interrupted', 'stopped', 'refused', 'empty'];

/**
 * Plans a turn. Writes nothing and waits for nothing.
 *
 * @param present the profile of the conversation, if it exists
 * @throws ApiError 400 for messages that do not continue the history, and for a run where nothing runs; 413 for a request that is
 *   too large to be sent
 */
export function planTurn(...args: Parameters<typeof planTurnInSteps>): NextRequestPlan {
  return runAtOnce(planTurnInSteps(...args));
}

/** Plans a turn with a long body in steps. The plan is valid only if the conversation has not changed in the meantime. */
export function* planTurnInSteps(
  conversation: ConversationContext,
  present: ConversationProfile | undefined,
  turn: PendingTurn,
): SteppedWork<NextRequestPlan> {
  const { request, initialContext } = turn;
  const { transcript } = conversation;
  removeLostCode(transcript, request.body, conversation.now());
  if (present) requireSameInitialContext(present, request.edgeOptions);
  const agent = present ? readRetainedAgent(conversation) : initialContext?.agent && initialContext.stored;
  const options: RequestOptions = {
    initialDefaults: initialContext,
    agent,
    betas: request.headers['anthropic-beta'],
    isRunEvenWithoutTools: isRunEvenWithoutTools(request),
    defaults: agent ? undefined : request.edgeOptions.defaults,
    now: conversation.now(),
    // A subagent's request is written by the edge, so the restrictions of the caller's token do not apply to it.
    isRestricted: request.caller.only !== undefined && !request.parent,
  };
  const plan = (model?: string) =>
    planNextRequest(request.body, transcript, conversation.settings(), { ...options, model });
  const planned = planTurnByPlugins(conversation, turn, agent, plan);
  return planned ?? (yield* planNextRequestInSteps(request.body, transcript, conversation.settings(), options));
}

/** Plans a turn, or a prompt that is counted: by the first plugin that plans it, else without one. */
export function planTurnByPluginsOrDefault(...args: Parameters<typeof planTurnByPlugins>): NextRequestPlan {
  const [, , , plan] = args;
  return planTurnByPlugins(...args) ?? plan();
}

function planTurnByPlugins(
  { hooks }: ConversationContext,
  turn: Parameters<NonNullable<ConversationHooks['plan']>>[0],
  agent: ResolvedAgent | undefined,
  plan: (model?: string) => NextRequestPlan,
): NextRequestPlan | undefined {
  let planned: NextRequestPlan | undefined;
  for (const pluginHooks of hooks) planned ??= pluginHooks.plan?.(turn, agent, plan);
  return planned;
}

/** @throws ApiError 400 if a request names another prefix or agent than the conversation has */
export function requireSameInitialContext(
  retained: ConversationProfile,
  { prefix, agent }: InitialContextOptions,
): void {
  if (agent !== undefined) requireSameRetainedVersion('agent', retained.agent, agent);
  if (prefix !== undefined) requireSameRetainedVersion('prefix', retained.prefix, prefix);
}

/**
 * Stores a turn and its messages, and makes its runner. Waits for nothing: the caller takes the lock with the result.
 *
 * @throws ApiError if the deployment has no upstream; nothing is stored then
 */
export function storeTurnAndCreateRunner(
  conversation: ConversationContext,
  turn: PendingTurn,
  planned: NextRequestPlan,
): TurnRunner {
  const { transcript } = conversation;
  // Call this before anything is stored: it throws if the deployment has no upstream.
  conversation.getUpstream();
  const now = conversation.now();
  startConversationIfNew(conversation, turn, planned);
  conversation.alarm.scheduleWatchAt(now + WATCH_MS);
  const pending = { ...turn, request: applyFallbackModelsOfAgent(conversation, turn.request) };
  const row = createTurnRow(transcript, pending.request, planned, now);
  try {
    // The plugins store their data of the turn, and may change its row. Their long notes are added only to the stored row.
    const longNotes: TurnNotes = Object.assign(
      {},
      ...conversation.hooks.map((hooks) => hooks.storeTurnData?.(pending, planned, row)),
    );
    // Pass on what the plugins remember of the turn: `createTurnExecutor` reads the ledger's dimensions from it.
    planned.pluginContext = turn.pluginContext;
    for (const hooks of conversation.hooks) {
      const runner = hooks.run?.(pending, planned, row);
      if (runner) return runner;
    }
    const recorder = storeTurnAndMessages(conversation, row, planned, { longNotes });
    return createSingleRequestRunner(conversation, pending.request, recorder, planned);
  } catch (thrown) {
    // Delete the stored turn: it has no runner, so it would stay `running` for ever.
    try {
      transcript.deleteMessages('turn >= ?', row.seq);
      transcript.deleteTurns('seq >= ?', row.seq);
    } catch (undeleted) {
      // The turn could not be deleted either. Restarting the object undoes the writes since the last await; if they were stored
      // before, the recovery after the restart ends the turn.
      conversation.abortObject(undeleted);
    }
    throw thrown;
  }
}

/** Starts the conversation, if this is its first turn, with the defaults that this turn sets for all later ones. */
function startConversationIfNew(
  conversation: ConversationContext,
  { request: { conversationKey, parent }, initialContext }: PendingTurn,
  { defaults }: NextRequestPlan,
): void {
  const { transcript, maintenance } = conversation;
  if (transcript.storedProfile?.exists) return;
  startConversation(conversation, conversationKey, WATCH_MS, {
    model: defaults.model,
    maxTokens: defaults.maxTokens,
    history: initialContext?.history ?? null,
    ...(parent && { parent, retentionSeconds: parent.retentionSeconds }),
  });
  storeInitialContext(transcript, defaults, initialContext);
  maintenance.scheduleRetentionEnd();
}

/** Stores the system prompt and the tools of a new conversation, and its prefix or its agent. */
function storeInitialContext(
  transcript: Transcript,
  { system, tools }: NextRequestPlan['defaults'],
  initialContext: InitialContext | undefined,
): void {
  const { storedProfile: profile } = transcript;
  if (!profile || (system === undefined && tools === undefined && !initialContext)) return;
  transcript.runInTransaction(() => {
    if (system !== undefined) transcript.storeFrozenText('system', system);
    if (tools !== undefined) transcript.storeFrozenText('tools', tools);
    if (!initialContext) return;
    const { runs, agent, retained } = initialContext;
    if (runs !== undefined) transcript.storeFrozenText('runs', runs);
    if (agent) transcript.storeFrozenText('agent', initialContext.stored.text);
    transcript.saveProfile({ ...profile, prefix: retained ?? null, agent: agent ?? null });
  });
}

/** @returns the request; with an agent, the agent's fallback models replace the caller's. */
function applyFallbackModelsOfAgent<Request extends StartedTurnRequest>(
  conversation: ConversationContext,
  request: Request,
): Request {
  const agent = readRetainedAgent(conversation);
  if (!agent) return request;
  const { fallback_models } = agent.definition;
  return { ...request, edgeOptions: { ...request.edgeOptions, fallback_models } };
}

export function createTurnRow(
  transcript: Transcript,
  request: StartedTurnRequest,
  planned: Pick<NextRequestPlan, 'model' | 'frame' | 'sentFrom' | 'follows'>,
  now: number,
): TurnRow {
  const { id: requestId, hash, route, key = null } = request.call;
  const { model, frame, sentFrom, follows } = planned;
  return {
    ...BLANK_TURN,
    seq: Math.max(transcript.storedProfile?.nextTurn ?? 1, transcript.newestTurnNumber + 1),
    id: createTurnId(request),
    requestId,
    key,
    hash,
    status: 'running',
    route,
    model,
    beganAt: now,
    endedAt: null,
    settled: false,
    frame,
    sentFrom,
    follows,
    background: request.edgeOptions.background ? 1 : null,
  };
}

export function createTurnId({ edgeOptions, call }: Pick<StartedTurnRequest, 'edgeOptions' | 'call'>): string {
  return getTurnIdPrefix(edgeOptions.show) + call.id.slice(-12);
}

/** Stores the row of a turn, or of a step, and its messages. @param longNotes notes that only its stored row has */
export function storeTurnAndMessages(
  { transcript }: ConversationContext,
  row: TurnRow,
  planned: NextRequestPlan,
  {
    longNotes = {},
    ...options
  }: Omit<StepOrRecoveryOptions, 'newMessages' | 'recovered'> & { longNotes?: TurnNotes } = {},
): TurnRecorder {
  const { storedProfile: profile } = transcript;
  if (!profile) throw new TypeError('The profile of this conversation is not stored.');
  // Only a new question moves the beginning of the sent history. A turn that continues the last answer keeps it.
  const sentFrom = planned.follows ? profile.sentFrom : planned.sentFrom;
  const betas = findBetasNeededByMessages(planned.messages);
  if (sentFrom !== profile.sentFrom || betas.length > 0) {
    const needed = betas.length > 0 ? { betas: [...new Set([...(profile.betas ?? []), ...betas])] } : {};
    transcript.saveProfile({ ...profile, sentFrom, ...needed });
  }
  const messages = planned.messages.map((message, index) => {
    const id = `msg_${row.id}_${index + 1}`;
    const origin = options.isOfEdge && message.role === 'user' ? ('edge' as const) : null;
    return { ...message, seq: profile.nextMessage + index, turn: row.seq, id, createdAt: row.beganAt, origin };
  });
  const stored = { ...row };
  addNotes(stored, longNotes);
  // A later step of a run is not stored in steps: after a crash its run would continue without its results.
  const characters = messages.reduce((sum, { text }) => sum + text.length, 0);
  const isInSteps = !options.isLaterStep && transcript.exceedsRow(characters);
  const messageSteps = isInSteps ? storeMessagesInSteps(transcript, stored, messages) : undefined;
  if (messageSteps) transcript.storeNewTurn({ ...stored, notes: addIncompleteNote(stored.notes) }, []);
  else transcript.storeNewTurn(stored, messages);
  const cached = transcript.cachedHistory;
  if (cached)
    transcript.storeCachedHistory({
      ...cached,
      running: { turn: row.seq, messages: planned.messages, history: planned.extendedHistory },
    });
  return new TurnRecorder(transcript, row, planned.maxTokens, {
    ...options,
    isPauseAbandoned: planned.isPauseAbandoned,
    newMessages: planned.messages.length,
    messageSteps,
  });
}

/** Stores the messages of a turn in steps. With the last one the turn's row no longer has the note that they are incomplete. */
function* storeMessagesInSteps(
  transcript: Transcript,
  row: TurnRow,
  messages: readonly NewMessage[],
): SteppedWork<void> {
  yield* transcript.addMessagesInSteps(messages);
  transcript.updateTurn(row, { notes: row.notes });
}

/** Makes the runner of a turn that is not a run. */
export function createSingleRequestRunner(
  conversation: ConversationContext,
  request: StartedTurnRequest,
  turn: TurnRecorder,
  planned: NextRequestPlan,
): TurnRunner {
  const { transcript, maintenance } = conversation;
  return createTurnExecutor(conversation, request, turn, planned, {
    headers: request.headers,
    costLimit: planned.maxCost,
    onEnd: (settled) => {
      conversation.lock.release();
      maintenance.scheduleFailedTurnDeletion(turn);
      // Let plugins store data about the end, such as an event. If no client knows of the turn, its caller gets the error.
      if (!isUnreportedRejection(transcript, turn))
        callHookOfEachPlugin(conversation, 'storeEndData', (part) => part.storeEndData?.(turn));
      maintenance.settlements.storeConfirmationLater(turn.row, settled);
      maintenance.reportChangesInBackground();
    },
    onEndNotStored: conversation.abortObject,
  });
}

/** Makes the runner of a stored turn or step. */
export function createTurnExecutor(
  conversation: ConversationContext,
  { conversationKey, call, caller: identity, query, edgeOptions }: StartedTurnRequest,
  turn: TurnRecorder,
  planned: NextRequestPlan,
  options: Pick<TurnExecutionContext, 'headers' | 'costLimit' | 'isLaterStep' | 'onEnd' | 'onEndNotStored'>,
): TurnExecutor {
  const { transcript, env, waitUntil } = conversation;
  const upstream = conversation.getUpstream();
  const previousUpstream = upstream.pool && findNewestTurn(transcript, PROMPT_READ_STATUSES)?.outcome?.upstream;
  const { prefix } = transcript.storedProfile ?? {};
  const { betas } = readRetainedAgent(conversation)?.definition ?? {};
  return new TurnExecutor(turn, {
    requestId: call.id,
    identity,
    query,
    accounts: env,
    store: env.STORE,
    waitUntil,
    conversation: conversationKey.id,
    parent: transcript.storedProfile?.parent && toListedParent(transcript.storedProfile.parent),
    newCharacters: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    applyPrefix: createPrefixApplier(conversation, transcript.storedProfile),
    dimensions: Object.assign(
      createDimensionValue(OF_PREFIX, prefix ? formatVersionReference(prefix) : undefined),
      ...callHookOfEachPlugin(conversation, 'getDimensions', (part) => part.getDimensions?.(planned.pluginContext)),
    ) as DimensionValues,
    settings: conversation.settings(),
    upstream,
    previousUpstream,
    cachedAt:
      previousUpstream === undefined ? undefined : findUpstreamsWithCachedPrompt(transcript, conversation.now()),
    fallbackModels: edgeOptions.fallback_models,
    background: edgeOptions.background,
    isStreaming: call.stream && !transcript.storedProfile?.parent,
    transcript,
    now: conversation.now,
    ...options,
    headers: addNeededBetasToHeaders(addNeededBetasToHeaders(options.headers, betas), transcript.storedProfile?.betas),
  });
}

/** @returns the upstreams that have cached prompts of the conversation, according to the usage of its last turns */
function findUpstreamsWithCachedPrompt(transcript: Transcript, now: number): string[] {
  let caches: CachesByUpstream = {};
  for (const { outcome, endedAt } of transcript.listTurns(RECENTLY_ENDED, now - HOUR_MS)) {
    const { upstream: name, usage } = outcome ?? {};
    if (name !== undefined && usage && endedAt !== null)
      caches = addCachingResponse(caches, { name, usage, at: endedAt });
  }
  return listUpstreamsWithUnexpiredCache(caches, now);
}

/** Selects the last turns that have ended since a time. Older ones say nothing about caches. */
const RECENTLY_ENDED = 'seq in (select seq from turns where ended_at > ? order by seq desc limit 20)';

/**
 * Plans a step of a run, or a turn that begins again. If it is the first turn of its conversation and died, the conversation
 * does not exist yet, but its profile already has the defaults.
 */
export function replanStoredRequest(
  conversation: ConversationContext,
  request: StartedTurnRequest,
  body: string,
  options: Pick<RequestOptions, 'isLaterStep' | 'isAgain'>,
): NextRequestPlan {
  const { transcript } = conversation;
  const { model = null, maxTokens = null } = transcript.storedProfile ?? {};
  const { runs } = transcript.frozenTexts;
  removeLostCode(transcript, body, conversation.now());
  return planNextRequest(body, transcript, conversation.settings(), {
    ...options,
    now: conversation.now(),
    initialDefaults: { model: model ?? undefined, maxTokens: maxTokens ?? undefined, runs },
    agent: readRetainedAgent(conversation),
    betas: request.headers['anthropic-beta'],
    isRunEvenWithoutTools: isRunEvenWithoutTools(request),
  });
}

/**
 * @returns whether a turn must be a run, even if its request has no tools of the edge: the turn of a subagent, because a run
 *   keeps its limits, and a turn that may be sent again after a crash
 */
export function isRunEvenWithoutTools({ parent, edgeOptions }: Pick<TurnRequest, 'parent' | 'edgeOptions'>): boolean {
  return parent !== undefined || edgeOptions.retry === true;
}
