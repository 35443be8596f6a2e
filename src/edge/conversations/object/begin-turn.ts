/** Begins a turn: plans it and stores it before anything goes up. */

import { addCachingResponse, type CachesByUpstream, unexpiredNamesOf } from '../../claude/upstreams/pool.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { ContextValues } from '../../kit/plugins/context-values.ts';
import { refuseRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { type DimensionValues, dimensionValue, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import type { AgentInUse } from '../history/agent-in-use.ts';
import { removeLostCode } from '../history/container.ts';
import { guard } from '../history/guard.ts';
import { betasForMessages, withNeededBetas } from '../history/needed-betas.ts';
import { type NextRequest, planNextRequest } from '../history/next-request.ts';
import { BLANK_TURN, type Profile, refOf, type TurnRow, type TurnStatus } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { addNotes, type TurnNotes } from '../history/storage/turn-notes.ts';
import { latestTurn } from '../history/storage/turn-queries.ts';
import type { TurnContext, TurnOptions } from '../turn/turn-context.ts';
import { listedParentOf } from '../turn/turn-ending.ts';
import { TurnExecutor } from '../turn/turn-executor.ts';
import { isRefused, type Runner } from '../turn/turn-handle.ts';
import { TurnRecorder } from '../turn/turn-recorder.ts';
import { withoutEdgeBlocks } from '../views/edge-blocks.ts';
import { turnPrefix } from '../views/redact-for.ts';
import { callHooks } from './call-hooks.ts';
import type { CountedPrompt, InitialContextOptions, PromptRequest, StartedRequest, TurnRequest } from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import type { ConversationContext, ConversationHooks, PendingTurn } from './hooks.ts';
import {
  createPrefixApplier,
  findWithdrawalOf,
  type InitialContext,
  resolveInitialContext,
  retainedAgent,
} from './initial-context.ts';
import { accountRequestOf } from './object-context.ts';
import { startConversation } from './profile-changes.ts';
import { applyRetainedPrefix, checkRetained } from './retained-prefix.ts';
import { failedRpcResult, readRpcText } from './rpc-response.ts';

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
  present: Profile | undefined,
  turn: PendingTurn,
): NextRequest {
  const { request, initialContext: beginning } = turn;
  removeLostCode(conversation.transcript, request.body, conversation.now());
  if (present) checkInitialContext(present, request.asked);
  const agent = present ? retainedAgent(conversation) : beginning?.agent && beginning.stored;
  return planByPlugins(conversation, turn, agent, (model) =>
    planNextRequest(request.body, conversation.transcript, conversation.settings(), {
      prefix: beginning,
      agent,
      betas: request.headers['anthropic-beta'],
      isRun: isRun(request),
      model,
      defaults: agent ? undefined : request.asked.defaults,
      now: conversation.now(),
      // What a run asks its subagent is the edge's own.
      isBound: request.caller.only !== undefined && !request.parent,
    }),
  );
}

/** Plans a turn, or a prompt that is counted, as a plugin does that has a way of its own. */
function planByPlugins(
  { hooks: parts }: ConversationContext,
  turn: Parameters<NonNullable<ConversationHooks['plan']>>[0],
  agent: AgentInUse | undefined,
  plan: (model?: string) => NextRequest,
): NextRequest {
  let planned: NextRequest | undefined;
  for (const part of parts) planned ??= part.plan?.(turn, agent, plan);
  return planned ?? plan();
}

/** @throws ApiError 400 if a request names another prefix or agent than the conversation has */
function checkInitialContext(retained: Profile, { prefix, agent }: InitialContextOptions): void {
  if (agent !== undefined) checkRetained('agent', retained.agent, agent);
  if (prefix !== undefined) checkRetained('prefix', retained.prefix, prefix);
}

/**
 * Stores a turn and its messages, and makes its runner. Waits for nothing: the caller takes the lock with the result.
 *
 * @throws ApiError if the deployment has no upstream; nothing is stored then
 */
export function beginTurn(conversation: ConversationContext, turn: PendingTurn, planned: NextRequest): Runner {
  const { transcript, maintenance } = conversation;
  const { initialContext: beginning } = turn;
  let { request } = turn;
  // This throws if the deployment has no upstream. So it comes before anything is stored.
  conversation.upstream();
  const now = conversation.now();
  const isNew = !transcript.profile?.exists;
  if (isNew) startWithDefaults(conversation, request, planned, beginning);
  const agent = retainedAgent(conversation);
  if (agent) request = { ...request, asked: { ...request.asked, fallback_models: agent.definition.fallback_models } };
  conversation.alarm.watch(now + WATCH_MS);
  if (isNew) maintenance.noteRetention();
  const begins = { ...turn, request };
  const row = newTurnRow(transcript, request, planned, now);
  try {
    const long: TurnNotes = Object.assign({}, ...conversation.hooks.map((part) => part.begin?.(begins, planned, row)));
    planned.memory = turn.pluginContext;
    for (const part of conversation.hooks) {
      const runner = part.run?.(begins, planned, row);
      if (runner) return runner;
    }
    return createTurnRunner(conversation, request, storeTurn(conversation, row, planned, { long: long }), planned);
  } catch (thrown) {
    // Nothing runs it, so nothing would end it.
    transcript.deleteMessages('turn >= ?', row.seq);
    transcript.deleteTurns('seq >= ?', row.seq);
    throw thrown;
  }
}

/** Makes the runner of a turn that is not a run. */
export function createTurnRunner(
  conversation: ConversationContext,
  request: StartedRequest,
  turn: TurnRecorder,
  planned: NextRequest,
): Runner {
  const { transcript, maintenance } = conversation;
  return createRunner(conversation, request, turn, planned, {
    headers: request.headers,
    most: planned.maxCost,
    onEnd: (settled) => {
      conversation.releaseLock();
      maintenance.noteEnd(turn);
      if (!isRefused(transcript, turn)) callHooks(conversation, 'tell', (part) => part.tell?.(turn));
      maintenance.settlements.track(turn.row, settled);
      maintenance.reportSoon();
    },
    onBroken: conversation.abortObject,
  });
}

/** Starts a conversation with the defaults that its first turn sets for all later turns. */
function startWithDefaults(
  conversation: ConversationContext,
  { place, parent }: TurnRequest,
  { defaults: { model, maxTokens, system, tools } }: NextRequest,
  beginning: InitialContext | undefined,
): void {
  const { transcript } = conversation;
  startConversation(conversation, place, WATCH_MS, {
    model,
    maxTokens,
    history: beginning?.history ?? null,
    ...(parent && { parent, retentionSeconds: parent.retentionSeconds }),
  });
  const { profile } = transcript;
  if (!profile || (system === undefined && tools === undefined && !beginning)) return;
  transcript.transact(() => {
    if (system !== undefined) transcript.freeze('system', system);
    if (tools !== undefined) transcript.freeze('tools', tools);
    if (beginning?.runs !== undefined) transcript.freeze('runs', beginning.runs);
    if (beginning?.agent) transcript.freeze('agent', beginning.stored.text);
    if (beginning) transcript.save({ ...profile, prefix: beginning.retained ?? null, agent: beginning.agent ?? null });
  });
}

/**
 * Plans a step of a run, or a turn that begins again. If it is the first turn of its conversation and died, the conversation
 * does not exist yet, but its profile already has the defaults.
 */
export function replan(
  conversation: ConversationContext,
  request: StartedRequest,
  body: string,
  options: { isStep?: boolean; isAgain?: boolean },
): NextRequest {
  const { transcript } = conversation;
  const { model = null, maxTokens = null } = transcript.profile ?? {};
  const { runs } = transcript.frozen;
  removeLostCode(transcript, body, conversation.now());
  return planNextRequest(body, transcript, conversation.settings(), {
    ...options,
    now: conversation.now(),
    prefix: { model: model ?? undefined, maxTokens: maxTokens ?? undefined, runs },
    agent: retainedAgent(conversation),
    betas: request.headers['anthropic-beta'],
    isRun: isRun(request),
  });
}

/** Stores the row of a turn, or of a step, and its messages. @param long notes that only its stored row has */
export function storeTurn(
  { transcript }: ConversationContext,
  row: TurnRow,
  planned: NextRequest,
  { long: longNotes = {}, ...options }: Omit<TurnOptions, 'newMessages' | 'recovered'> & { long?: TurnNotes } = {},
): TurnRecorder {
  const { profile } = transcript;
  if (!profile) throw new TypeError('A conversation without a profile.');
  const sentFrom = planned.follows ? profile.sentFrom : planned.sentFrom;
  const betas = betasForMessages(planned.messages);
  if (sentFrom !== profile.sentFrom || betas.length > 0) {
    const needed = betas.length > 0 ? { betas: [...new Set([...(profile.betas ?? []), ...betas])] } : {};
    transcript.save({ ...profile, sentFrom, ...needed });
  }
  const messages = planned.messages.map((message, index) => {
    const id = `msg_${row.id}_${index + 1}`;
    const origin = options.isOfEdge && message.role === 'user' ? ('edge' as const) : null;
    return { ...message, seq: profile.nextMessage + index, turn: row.seq, id, createdAt: row.beganAt, origin };
  });
  const stored = { ...row };
  addNotes(stored, longNotes);
  transcript.beginTurn(stored, messages);
  const cached = transcript.cachedHistory;
  if (cached)
    transcript.cacheHistory({
      ...cached,
      fresh: { turn: row.seq, messages: planned.messages, history: planned.longer },
    });
  const { isPauseAbandoned: leavesPaused } = planned;
  return new TurnRecorder(transcript, row, planned.maxTokens, {
    ...options,
    leavesPaused,
    newMessages: planned.messages.length,
  });
}

/** Makes the runner of a stored turn or step. */
export function createRunner(
  conversation: ConversationContext,
  { place, call, caller: identity, query, asked }: StartedRequest,
  turn: TurnRecorder,
  planned: NextRequest,
  options: Pick<TurnContext, 'headers' | 'most' | 'isLater' | 'onEnd' | 'onBroken'>,
): TurnExecutor {
  const { transcript, env, waitUntil } = conversation;
  const upstream = conversation.upstream();
  const stays = upstream.pool && latestTurn(transcript, READ_STATUSES)?.outcome?.upstream;
  const { prefix } = transcript.profile ?? {};
  const { betas } = retainedAgent(conversation)?.definition ?? {};
  return new TurnExecutor(turn, {
    requestId: call.id,
    identity,
    query,
    accounts: env,
    store: env.STORE,
    waitUntil,
    conversation: place.id,
    parent: transcript.profile?.parent && listedParentOf(transcript.profile.parent),
    adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    applyPrefix: createPrefixApplier(conversation, transcript.profile),
    about: Object.assign(
      dimensionValue(OF_PREFIX, prefix ? refOf(prefix) : undefined),
      ...callHooks(conversation, 'about', (part) => part.about?.(planned.memory)),
    ) as DimensionValues,
    settings: conversation.settings(),
    upstream,
    stays,
    cachedAt: stays === undefined ? undefined : cachingUpstreamsOf(transcript, conversation.now()),
    fallbacks: asked.fallback_models,
    background: asked.background,
    isStreaming: call.stream && !transcript.profile?.parent,
    transcript,
    now: conversation.now,
    ...options,
    headers: withNeededBetas(withNeededBetas(options.headers, betas), transcript.profile?.betas),
  });
}

/** @returns the upstreams that have prompts of the conversation in their caches, as the usage of its last turns says */
function cachingUpstreamsOf(transcript: Transcript, now: number): string[] {
  let caches: CachesByUpstream = {};
  for (const { outcome, endedAt } of transcript.turns(RECENTLY_ENDED, now - HOUR_MS)) {
    const { upstream: name, usage } = outcome ?? {};
    if (name !== undefined && usage && endedAt !== null)
      caches = addCachingResponse(caches, { name, usage, at: endedAt });
  }
  return unexpiredNamesOf(caches, now);
}

/** Of the turns that have ended since a time, the last ones: no other can say more about caches. */
const RECENTLY_ENDED = 'seq in (select seq from turns where ended_at > ? order by seq desc limit 20)';

/**
 * @returns whether a turn is a run even without tools of the edge. A subagent always is: a run keeps the limits that it got.
 *   So is a turn that may go up again after a crash.
 */
export function isRun({ parent, asked }: Pick<TurnRequest, 'parent' | 'asked'>): boolean {
  return parent !== undefined || asked.retry === true;
}

export function turnIdOf({ asked, call }: Pick<StartedRequest, 'asked' | 'call'>): string {
  return turnPrefix(asked.show) + call.id.slice(-12);
}

export function newTurnRow(
  transcript: Transcript,
  request: StartedRequest,
  planned: Pick<NextRequest, 'model' | 'frame' | 'sentFrom' | 'follows'>,
  now: number,
): TurnRow {
  const { id: requestId, hash, route, key = null } = request.call;
  const { model, frame, sentFrom, follows } = planned;
  return {
    ...BLANK_TURN,
    seq: Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1),
    id: turnIdOf(request),
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
export async function preparePrompt(
  state: ConversationState,
  request: PromptRequest,
): Promise<CountedPrompt | undefined> {
  const present = () => state.existingProfile();
  try {
    const sent = await readRpcText(request.body);
    const { only } = request.caller;
    if (!present()?.exists && !only) return undefined;
    const body = present()?.turns ? sent : await withoutEdgeBlocks(sent);
    const profile = present();
    // A restricted token is told only what a turn of its own would come to: the object looks at it all.
    const beginning =
      only && !profile ? await resolveInitialContext(state, request.place, request.asked, request.caller) : undefined;
    return await buildPrompt(state, { ...request, body }, beginning);
  } catch (thrown) {
    // A revoked caller must not learn whether the conversation exists.
    const refused = await refuseRevokedCaller(accountRequestOf(state, request.caller)).catch(toApiError);
    return failedRpcResult(refused ?? thrown);
  }
}

/** @throws ApiError as planning a turn does */
async function buildPrompt(
  state: ConversationState,
  request: PromptRequest & { body: string },
  beginning: InitialContext | undefined,
): Promise<CountedPrompt> {
  const present = () => state.existingProfile();
  const { caller: identity, body, asked } = request;
  const allowed = () => {
    const refused = identity.only && guard().refusalOfTurn(identity, state.transcript, present(), beginning?.agent);
    if (refused) throw refused;
    return present();
  };
  const before = allowed();
  if (before) checkInitialContext(before, asked);
  const withdrawn = await findWithdrawalOf(state, before);
  if (withdrawn) throw withdrawn;
  // Meanwhile there may be another conversation of this id.
  const profile = allowed();
  const agent = profile ? retainedAgent(state) : beginning?.agent && beginning.stored;
  const isBound = identity.only !== undefined;
  const planned = planByPlugins(state, { pluginContext: new ContextValues() }, agent, (model) =>
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
