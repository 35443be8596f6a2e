/** Begins a turn: plans it and stores it before anything goes up. */

import {
  addCachingResponse,
  type CachesByUpstream,
  listUpstreamsWithUnexpiredCache,
} from '../../claude/upstreams/pool.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { requireUnrevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { createDimensionValue, type DimensionValues, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import type { ResolvedAgent } from '../history/agent-in-use.ts';
import { removeLostCode } from '../history/container.ts';
import { getRestrictedTokenGuard } from '../history/guard.ts';
import { addNeededBetasToHeaders, findBetasNeededByMessages } from '../history/needed-betas.ts';
import { type NextRequestPlan, planNextRequest } from '../history/next-request.ts';
import {
  BLANK_TURN,
  type ConversationProfile,
  formatVersionReference,
  type TurnRow,
  type TurnStatus,
} from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { addNotes, type TurnNotes } from '../history/storage/turn-notes.ts';
import { findNewestTurn } from '../history/storage/turn-queries.ts';
import type { StepOrRecoveryOptions, TurnExecutionContext } from '../turn/turn-context.ts';
import { toListedParent } from '../turn/turn-ending.ts';
import { TurnExecutor } from '../turn/turn-executor.ts';
import { isUnreportedRefusal, type TurnRunner } from '../turn/turn-handle.ts';
import { TurnRecorder } from '../turn/turn-recorder.ts';
import { restoreEdgeCallsInText } from '../views/edge-blocks.ts';
import { getTurnIdPrefix } from '../views/redact-for.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import type {
  InitialContextOptions,
  NextPromptRequest,
  PromptToCount,
  StartedTurnRequest,
  TurnRequest,
} from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import type { ConversationContext, ConversationHooks, PendingTurn } from './hooks.ts';
import {
  createPrefixApplier,
  findWithdrawalError,
  type InitialContext,
  readRetainedAgent,
  resolveInitialContext,
} from './initial-context.ts';
import { createAccountRequest } from './object-context.ts';
import { startConversation } from './profile-changes.ts';
import { applyRetainedPrefix, requireSameRetainedVersion } from './retained-prefix.ts';
import { readRpcText, toFailedResult } from './rpc-response.ts';

/** How often the alarm rings while a turn runs. It wakes an object that died. */
export const WATCH_MS = 30_000;

/** Turns whose prompt the upstream has read. */
const READ_STATUSES: readonly TurnStatus[] = ['complete', 'interrupted', 'stopped', 'refused', 'empty'];

/**
 * Plans a turn. Writes nothing and waits for nothing.
 *
 * @param present the profile of the conversation, if it exists
 * @throws ApiError 400 for messages that do not continue the history, and for a run where nothing runs; 413 for a request that is
 *   too large to go up
 */
export function planTurn(
  conversation: ConversationContext,
  present: ConversationProfile | undefined,
  turn: PendingTurn,
): NextRequestPlan {
  const { request, initialContext: beginning } = turn;
  removeLostCode(conversation.transcript, request.body, conversation.now());
  if (present) requireSameInitialContext(present, request.asked);
  const agent = present ? readRetainedAgent(conversation) : beginning?.agent && beginning.stored;
  return planTurnByPluginsOrDefault(conversation, turn, agent, (model) =>
    planNextRequest(request.body, conversation.transcript, conversation.settings(), {
      prefix: beginning,
      agent,
      betas: request.headers['anthropic-beta'],
      isRun: isRunRequest(request),
      model,
      defaults: agent ? undefined : request.asked.defaults,
      now: conversation.now(),
      // The edge itself writes the request of a subagent, not the restricted caller.
      isBound: request.caller.only !== undefined && !request.parent,
    }),
  );
}

/** Plans a turn, or a prompt that is counted, as a plugin does that has a way of its own. */
function planTurnByPluginsOrDefault(
  { hooks: parts }: ConversationContext,
  turn: Parameters<NonNullable<ConversationHooks['plan']>>[0],
  agent: ResolvedAgent | undefined,
  plan: (model?: string) => NextRequestPlan,
): NextRequestPlan {
  let planned: NextRequestPlan | undefined;
  for (const part of parts) planned ??= part.plan?.(turn, agent, plan);
  return planned ?? plan();
}

/** @throws ApiError 400 if a request names another prefix or agent than the conversation has */
function requireSameInitialContext(retained: ConversationProfile, { prefix, agent }: InitialContextOptions): void {
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
  const { transcript, maintenance } = conversation;
  const { initialContext: beginning } = turn;
  let { request } = turn;
  // Throws if the deployment has no upstream, so call it before anything is stored.
  conversation.getUpstream();
  const now = conversation.now();
  const isNew = !transcript.storedProfile?.exists;
  if (isNew) startConversationWithTurnDefaults(conversation, request, planned, beginning);
  const agent = readRetainedAgent(conversation);
  if (agent) request = { ...request, asked: { ...request.asked, fallback_models: agent.definition.fallback_models } };
  conversation.alarm.scheduleWatchAt(now + WATCH_MS);
  if (isNew) maintenance.scheduleRetentionEnd();
  const begins = { ...turn, request };
  const row = createTurnRow(transcript, request, planned, now);
  try {
    const long: TurnNotes = Object.assign({}, ...conversation.hooks.map((part) => part.begin?.(begins, planned, row)));
    planned.memory = turn.pluginContext;
    for (const part of conversation.hooks) {
      const runner = part.run?.(begins, planned, row);
      if (runner) return runner;
    }
    return createSingleRequestRunner(
      conversation,
      request,
      storeTurnAndMessages(conversation, row, planned, { long: long }),
      planned,
    );
  } catch (thrown) {
    // Delete the stored turn: without a runner, nothing would ever end it.
    transcript.deleteMessages('turn >= ?', row.seq);
    transcript.deleteTurns('seq >= ?', row.seq);
    throw thrown;
  }
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
    most: planned.maxCost,
    onEnd: (settled) => {
      conversation.lock.release();
      maintenance.scheduleFailedTurnDeletion(turn);
      if (!isUnreportedRefusal(transcript, turn))
        callHookOfEachPlugin(conversation, 'tell', (part) => part.tell?.(turn));
      maintenance.settlements.storeConfirmationLater(turn.row, settled);
      maintenance.reportChangesInBackground();
    },
    onEndNotStored: conversation.abortObject,
  });
}

/** Starts a conversation with the defaults that its first turn sets for all later turns. */
function startConversationWithTurnDefaults(
  conversation: ConversationContext,
  { place, parent }: TurnRequest,
  { defaults: { model, maxTokens, system, tools } }: NextRequestPlan,
  beginning: InitialContext | undefined,
): void {
  const { transcript } = conversation;
  startConversation(conversation, place, WATCH_MS, {
    model,
    maxTokens,
    history: beginning?.history ?? null,
    ...(parent && { parent, retentionSeconds: parent.retentionSeconds }),
  });
  const { storedProfile: profile } = transcript;
  if (!profile || (system === undefined && tools === undefined && !beginning)) return;
  transcript.runInTransaction(() => {
    if (system !== undefined) transcript.storeFrozenText('system', system);
    if (tools !== undefined) transcript.storeFrozenText('tools', tools);
    if (beginning?.runs !== undefined) transcript.storeFrozenText('runs', beginning.runs);
    if (beginning?.agent) transcript.storeFrozenText('agent', beginning.stored.text);
    if (beginning)
      transcript.saveProfile({ ...profile, prefix: beginning.retained ?? null, agent: beginning.agent ?? null });
  });
}

/**
 * Plans a step of a run, or a turn that begins again. If it is the first turn of its conversation and died, the conversation
 * does not exist yet, but its profile already has the defaults.
 */
export function replanStoredRequest(
  conversation: ConversationContext,
  request: StartedTurnRequest,
  body: string,
  options: { isStep?: boolean; isAgain?: boolean },
): NextRequestPlan {
  const { transcript } = conversation;
  const { model = null, maxTokens = null } = transcript.storedProfile ?? {};
  const { runs } = transcript.frozenTexts;
  removeLostCode(transcript, body, conversation.now());
  return planNextRequest(body, transcript, conversation.settings(), {
    ...options,
    now: conversation.now(),
    prefix: { model: model ?? undefined, maxTokens: maxTokens ?? undefined, runs },
    agent: readRetainedAgent(conversation),
    betas: request.headers['anthropic-beta'],
    isRun: isRunRequest(request),
  });
}

/** Stores the row of a turn, or of a step, and its messages. @param long notes that only its stored row has */
export function storeTurnAndMessages(
  { transcript }: ConversationContext,
  row: TurnRow,
  planned: NextRequestPlan,
  {
    long: longNotes = {},
    ...options
  }: Omit<StepOrRecoveryOptions, 'newMessages' | 'recovered'> & { long?: TurnNotes } = {},
): TurnRecorder {
  const { storedProfile: profile } = transcript;
  if (!profile) throw new TypeError('The profile of this conversation is not stored.');
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
  transcript.storeNewTurn(stored, messages);
  const cached = transcript.cachedHistory;
  if (cached)
    transcript.storeCachedHistory({
      ...cached,
      running: { turn: row.seq, messages: planned.messages, history: planned.extendedHistory },
    });
  const { isPauseAbandoned: leavesPaused } = planned;
  return new TurnRecorder(transcript, row, planned.maxTokens, {
    ...options,
    leavesPaused,
    newMessages: planned.messages.length,
  });
}

/** Makes the runner of a stored turn or step. */
export function createTurnExecutor(
  conversation: ConversationContext,
  { place, call, caller: identity, query, asked }: StartedTurnRequest,
  turn: TurnRecorder,
  planned: NextRequestPlan,
  options: Pick<TurnExecutionContext, 'headers' | 'most' | 'isLater' | 'onEnd' | 'onEndNotStored'>,
): TurnExecutor {
  const { transcript, env, waitUntil } = conversation;
  const upstream = conversation.getUpstream();
  const stays = upstream.pool && findNewestTurn(transcript, READ_STATUSES)?.outcome?.upstream;
  const { prefix } = transcript.storedProfile ?? {};
  const { betas } = readRetainedAgent(conversation)?.definition ?? {};
  return new TurnExecutor(turn, {
    requestId: call.id,
    identity,
    query,
    accounts: env,
    store: env.STORE,
    waitUntil,
    conversation: place.id,
    parent: transcript.storedProfile?.parent && toListedParent(transcript.storedProfile.parent),
    adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    applyPrefix: createPrefixApplier(conversation, transcript.storedProfile),
    about: Object.assign(
      createDimensionValue(OF_PREFIX, prefix ? formatVersionReference(prefix) : undefined),
      ...callHookOfEachPlugin(conversation, 'about', (part) => part.about?.(planned.memory)),
    ) as DimensionValues,
    settings: conversation.settings(),
    upstream,
    stays,
    cachedAt: stays === undefined ? undefined : findUpstreamsWithCachedPrompt(transcript, conversation.now()),
    fallbacks: asked.fallback_models,
    background: asked.background,
    isStreaming: call.stream && !transcript.storedProfile?.parent,
    transcript,
    now: conversation.now,
    ...options,
    headers: addNeededBetasToHeaders(addNeededBetasToHeaders(options.headers, betas), transcript.storedProfile?.betas),
  });
}

/** @returns the upstreams that have prompts of the conversation in their caches, as the usage of its last turns says */
function findUpstreamsWithCachedPrompt(transcript: Transcript, now: number): string[] {
  let caches: CachesByUpstream = {};
  for (const { outcome, endedAt } of transcript.listTurns(RECENTLY_ENDED, now - HOUR_MS)) {
    const { upstream: name, usage } = outcome ?? {};
    if (name !== undefined && usage && endedAt !== null)
      caches = addCachingResponse(caches, { name, usage, at: endedAt });
  }
  return listUpstreamsWithUnexpiredCache(caches, now);
}

/** Of the turns that have ended since a time, the last ones: no other can say more about caches. */
const RECENTLY_ENDED = 'seq in (select seq from turns where ended_at > ? order by seq desc limit 20)';

/**
 * @returns whether a turn is a run even without tools of the edge. A subagent always is: a run keeps the limits that it got.
 *   So is a turn that may go up again after a crash.
 */
export function isRunRequest({ parent, asked }: Pick<TurnRequest, 'parent' | 'asked'>): boolean {
  return parent !== undefined || asked.retry === true;
}

export function createTurnId({ asked, call }: Pick<StartedTurnRequest, 'asked' | 'call'>): string {
  return getTurnIdPrefix(asked.show) + call.id.slice(-12);
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
    background: request.asked.background ? 1 : null,
  };
}

/** @returns the prompt of the next turn as it would go up; undefined if the conversation does not exist yet */
export async function prepareNextPrompt(
  state: ConversationState,
  request: NextPromptRequest,
): Promise<PromptToCount | undefined> {
  try {
    const sent = await readRpcText(request.body);
    const { only } = request.caller;
    if (!state.visibleProfile?.exists && !only) return undefined;
    const body = state.visibleProfile?.turns ? sent : await restoreEdgeCallsInText(sent);
    const profile = state.visibleProfile;
    // A restricted token is told only what a turn of its own would come to: the object looks at it all.
    const beginning =
      only && !profile ? await resolveInitialContext(state, request.place, request.asked, request.caller) : undefined;
    return await buildNextPrompt(state, { ...request, body }, beginning);
  } catch (thrown) {
    // A revoked caller must not learn whether the conversation exists.
    const refused = await requireUnrevokedCaller(createAccountRequest(state, request.caller)).catch(toApiError);
    return toFailedResult(refused ?? thrown);
  }
}

/** @throws ApiError as planning a turn does */
async function buildNextPrompt(
  state: ConversationState,
  request: NextPromptRequest & { body: string },
  beginning: InitialContext | undefined,
): Promise<PromptToCount> {
  const { caller: identity, body, asked } = request;
  const requireAllowedProfile = () => {
    const refused =
      identity.only &&
      getRestrictedTokenGuard().findTurnRestrictionError(
        identity,
        state.transcript,
        state.visibleProfile,
        beginning?.agent,
      );
    if (refused) throw refused;
    return state.visibleProfile;
  };
  const before = requireAllowedProfile();
  if (before) requireSameInitialContext(before, asked);
  const withdrawn = await findWithdrawalError(state, before);
  if (withdrawn) throw withdrawn;
  // Re-check after the await: the conversation may have been deleted, and another one created with this id.
  const profile = requireAllowedProfile();
  const agent = profile ? readRetainedAgent(state) : beginning?.agent && beginning.stored;
  const isBound = identity.only !== undefined;
  const planned = planTurnByPluginsOrDefault(state, { pluginContext: new PluginContextValues() }, agent, (model) =>
    planNextRequest(body, state.transcript, state.settings(), {
      agent,
      counts: true,
      isBound,
      model,
      defaults: agent ? undefined : asked.defaults,
    }),
  );
  const { account = '', prefix: retained } = profile ?? {};
  const { bytes } = retained ? (await applyRetainedPrefix(state, account, retained, planned.body)).body : planned.body;
  const { betas = [] } = agent?.definition ?? {};
  return { ok: true, value: new Blob([bytes]).stream(), betas: betas.length > 0 ? betas : undefined };
}
