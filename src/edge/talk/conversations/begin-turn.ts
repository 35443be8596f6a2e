/** Begins a turn: plans it and stores it before anything goes up. */

import { joinedBetas, type PlainHeaders } from '../../claude/headers.ts';
import { edit } from '../../kit/json/edit.ts';
import { isRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { type About, OF_PREFIX, say } from '../../money/contracts/about.ts';
import { checkRetained } from '../../named/prefixes/retained-prefix.ts';
import { isRefused } from '../../rooms/background/turn-events.ts';
import type { CarriedLimits } from '../../rooms/runs/limits.ts';
import { Run } from '../../rooms/runs/run.ts';
import type { RunContext } from '../../rooms/runs/run-context.ts';
import { isRun, type RunRequest } from '../../rooms/runs/stored-run.ts';
import { accountRequestOf } from '../answers/object-context.ts';
import { viewOfTurn } from '../contracts/answer-view.ts';
import type { TurnRequest } from '../contracts/conversation.ts';
import type { AgentInUse } from '../history/agent-in-use.ts';
import { type NextRequest, nextRequest, type PlannedRun } from '../history/next-request.ts';
import { PIECE_CHARACTERS } from '../storage/message-text.ts';
import { BLANK_TURN, type Profile, refOf, type TurnRow, type TurnStatus } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { latestTurn } from '../storage/turn-queries.ts';
import type { Runner } from '../turn/running-turn.ts';
import { Turn, type TurnOptions } from '../turn/turn.ts';
import type { TurnContext } from '../turn/turn-context.ts';
import { listedParentOf } from '../turn/turn-ending.ts';
import { TurnRunner } from '../turn/turn-runner.ts';
import type { ConversationContext } from './maintenance.ts';
import { layerOf, ownerOfTool, type Taken } from './named-beginning.ts';
import type { AskedTurn, OpenPart, ReadRequest } from './parts.ts';
import { startConversation } from './profile-changes.ts';
import { retainedAgent } from './retained-agent.ts';

/** How often the alarm rings while a turn runs. It wakes an object that died. */
export const WATCH_MS = 30_000;

/** Turns whose prompt the upstream has read. */
const READ_BY_UPSTREAM: readonly TurnStatus[] = ['complete', 'interrupted', 'stopped', 'refused', 'empty'];

/**
 * Plans a turn. Writes nothing and waits for nothing.
 *
 * @param present the profile of the conversation, if it exists
 * @throws ApiError 400 for messages that do not continue the history, 413 for a request that is too large to go up
 */
export function planTurn(context: ConversationContext, present: Profile | undefined, turn: AskedTurn): NextRequest {
  const { request, taken } = turn;
  for (const part of context.parts) part.prepare?.();
  if (present) checkNamed(present, request);
  const agent = present ? retainedAgent(context) : taken?.agent && taken.stored;
  return planByParts(context, turn, agent, (model) =>
    nextRequest(request.body, context.transcript, context.settings(), {
      ...{ prefix: taken, agent, betas: request.headers['anthropic-beta'], isRun: isRun(request), model },
      // What a run asks its subagent is the edge's own.
      isBound: request.identity.only !== undefined && !request.parent,
    }),
  );
}

/** Plans a turn, or a prompt that is counted, as a room does that has a way of its own. */
export function planByParts(
  { parts }: ConversationContext,
  turn: Parameters<NonNullable<OpenPart['plan']>>[0],
  agent: AgentInUse | undefined,
  plan: (model?: string) => NextRequest,
): NextRequest {
  for (const part of parts) {
    const planned = part.plan?.(turn, agent, plan);
    if (planned) return planned;
  }
  return plan();
}

/** @throws ApiError 400 if a request names another prefix or agent than the conversation has */
export function checkNamed(retained: Profile, { prefix, agent }: Pick<TurnRequest, 'prefix' | 'agent'>): void {
  if (agent !== undefined) checkRetained('agent', retained.agent, agent);
  if (prefix !== undefined) checkRetained('prefix', retained.prefix, prefix);
}

/** `onEnd` is called once a turn has ended and is stored; `onBroken` where that failed, and the object must be aborted. */
export type TurnHooks = { onEnd(): void } & Pick<TurnContext, 'onBroken'>;

/**
 * Stores a turn and its messages, and makes its runner. Waits for nothing: the caller takes the lock with the result.
 *
 * @throws ApiError if the deployment has no upstream; nothing is stored then
 */
export function beginTurn(
  context: ConversationContext,
  turn: AskedTurn,
  planned: NextRequest,
  hooks: TurnHooks,
): Runner {
  const { transcript, maintenance } = context;
  const { taken } = turn;
  let { request } = turn;
  // This throws if the deployment has no upstream. So it comes before anything is stored.
  context.upstream();
  const now = context.now();
  maintenance.settlements.tell();
  const isNew = !transcript.profile?.exists;
  if (isNew) startWithDefaults(context, request, planned, taken);
  const agent = retainedAgent(context);
  if (agent) request = { ...request, fallbacks: agent.definition.fallback_models };
  context.alarm.watch(now + WATCH_MS);
  if (isNew) maintenance.noteRetention();
  const row = newTurnRow(transcript, request, planned, now);
  for (const part of context.parts) part.begin?.({ ...turn, request }, planned, row);
  planned.memory = turn.memory;
  if (planned.run) return beginRun(context, request, planned, planned.run, row, hooks);
  const kept = request.background ? requestToKeep(request) : null;
  return runnerOfTurn(context, request, storeTurn(context, { ...row, request: kept }, planned), planned, hooks);
}

/** @returns what a turn needs to begin again, as JSON text; null if that is too long for its row */
function requestToKeep({ body, again: _, retried: __, ...request }: ReadRequest): string | null {
  const text = JSON.stringify({ request, rest: edit(body, { messages: '[]' }) });
  return text.length > PIECE_CHARACTERS ? null : text;
}

/** Makes the runner of a turn that is not a run. */
export function runnerOfTurn(
  context: ConversationContext,
  request: RunRequest,
  turn: Turn,
  planned: NextRequest,
  hooks: TurnHooks,
): Runner {
  const { transcript, maintenance } = context;
  return runnerOf(context, request, turn, planned, {
    headers: request.headers,
    most: planned.most,
    onEnd: (settled) => {
      hooks.onEnd();
      maintenance.noteEnd(turn);
      if (!isRefused(transcript, turn)) maintenance.events.noteEnd(turn);
      maintenance.settlements.follow(turn.row, settled);
    },
    onBroken: hooks.onBroken,
  });
}

/** Starts a conversation with the defaults that its first turn sets for all later turns. */
function startWithDefaults(
  context: ConversationContext,
  { place, parent }: TurnRequest,
  { defaults: { model, maxTokens, system, tools } }: NextRequest,
  taken: Taken | undefined,
): void {
  const { transcript } = context;
  startConversation(context, place, {
    model,
    maxTokens,
    history: taken?.history ?? null,
    ...(parent && { parent, retentionSeconds: parent.retentionSeconds }),
  });
  const { profile } = transcript;
  if (!profile || (system === undefined && tools === undefined && !taken)) return;
  transcript.together(() => {
    if (system !== undefined) transcript.freeze('system', system);
    if (tools !== undefined) transcript.freeze('tools', tools);
    if (taken?.runs !== undefined) transcript.freeze('runs', taken.runs);
    if (taken?.agent) transcript.freeze('agent', taken.stored.text);
    if (taken) transcript.save({ ...profile, prefix: taken.retained ?? null, agent: taken.agent ?? null });
  });
}

/** Stores a run, and begins its first step. */
function beginRun(
  context: ConversationContext,
  request: TurnRequest,
  planned: NextRequest,
  common: PlannedRun,
  row: TurnRow,
  hooks: TurnHooks,
): Run {
  const { transcript } = context;
  const { body: _, again: __, retried: ___, ...kept } = request;
  const run = { ...row, run: row.seq };
  transcript.beginTurn(run, []);
  transcript.calls.saveRequest(run.seq, JSON.stringify({ request: kept, rest: common.rest }));
  return new Run(run, common, runContextOf(context, kept, run, hooks)).begin(planned);
}

/** Makes the context of a run. @param carried for a run that goes on after approvals: what the runs before it have used */
export function runContextOf(
  context: ConversationContext,
  request: RunRequest,
  run: TurnRow,
  { onEnd, onBroken }: TurnHooks,
  carried?: CarriedLimits,
): RunContext {
  const { transcript, maintenance, now } = context;
  const { place, requestId, headers } = request;
  const settings = context.settings();
  return {
    transcript,
    settings,
    env: context.env,
    account: place.account,
    conversation: place.id,
    requestId,
    caller: {
      ...{ identity: request.identity, headers, query: request.query, route: request.route },
      depth: request.parent?.depth ?? 1,
      retentionSeconds: transcript.profile?.retentionSeconds ?? null,
      ownerOf: (tool) => ownerOfTool(context, tool),
    },
    isStreaming: request.stream,
    approvers: retainedAgent(context)?.definition.approvers ?? 'owner',
    carried,
    now,
    isRevoked: () => isRevokedCaller(accountRequestOf(context, request.identity)),
    plan: (body) => planAgain(context, request, body, { isStep: true }),
    begin: (plan, step) => {
      const own = {
        requestId: step.requestId,
        key: null,
        id: `${run.id}_${step.number}`,
        run: run.seq,
        chosenBy: run.chosenBy,
        events: step.logged,
        background: null,
        deliverUrl: null,
      };
      const row = { ...newTurnRow(transcript, request, plan, now()), ...own };
      const turn = storeTurn(context, row, plan, {
        logOf: step.logOf,
        callsIn: step.callsIn,
        isLater: step.isLater,
        isOfEdge: step.isOfEdge,
        shownAs: step.run,
      });
      // Another model may step in only before the first step. All steps of a run have the same model.
      const fallbacks = step.isLater ? [] : request.fallbacks;
      return runnerOf(context, { ...request, requestId: step.requestId, fallbacks }, turn, plan, {
        headers: headersOfStep(headers, step.number),
        most: step.most,
        onEnd: step.onEnd,
        onBroken,
      });
    },
    settle: (step, settled) => maintenance.settlements.follow(step, settled),
    tell: (event, members) => maintenance.events.tell(run, event, members),
    onEnd: (ended) => {
      onEnd();
      maintenance.noteEnd(ended);
      if (!isRefused(transcript, ended)) maintenance.events.noteEnd(ended);
      maintenance.settlements.endRun(run);
      maintenance.notePaused();
      maintenance.reportSoon();
    },
    onBroken,
  };
}

/**
 * Plans a step of a run, or a turn that begins again. If it is the first turn of its conversation and died, the conversation
 * does not exist yet, but its profile already has the defaults.
 */
export function planAgain(
  context: ConversationContext,
  request: RunRequest,
  body: string,
  options: { isStep?: boolean; isAgain?: boolean },
): NextRequest {
  const { transcript } = context;
  const { model = null, maxTokens = null } = transcript.profile ?? {};
  const { runs } = transcript.frozen;
  return nextRequest(body, transcript, context.settings(), {
    ...options,
    prefix: { model: model ?? undefined, maxTokens: maxTokens ?? undefined, runs },
    agent: retainedAgent(context),
    betas: request.headers['anthropic-beta'],
    isRun: isRun(request),
  });
}

/** @returns the headers of a step. Each step gets an idempotency key of its own: one key must not mean two requests. */
function headersOfStep(headers: PlainHeaders, number: number): PlainHeaders {
  const { 'idempotency-key': key, ...others } = headers;
  if (key === undefined) return others;
  return { ...others, 'idempotency-key': number === 1 ? key : `${key}-${number}` };
}

/** Stores the row of a turn, or of a step, and its messages. */
function storeTurn(
  { transcript }: ConversationContext,
  row: TurnRow,
  planned: NextRequest,
  options: Omit<TurnOptions, 'newMessages' | 'recovered'> = {},
): Turn {
  const { profile } = transcript;
  if (!profile) throw new TypeError('A conversation without a profile.');
  if (planned.sentFrom !== profile.sentFrom && !planned.follows)
    transcript.save({ ...profile, sentFrom: planned.sentFrom });
  const messages = planned.messages.map(({ role, text }, index) => {
    const id = `msg_${row.id}_${index + 1}`;
    const origin = options.isOfEdge && role === 'user' ? 'edge' : null;
    return { seq: profile.nextMessage + index, turn: row.seq, id, role, createdAt: row.beganAt, text, origin } as const;
  });
  transcript.beginTurn(row, messages);
  // A long request must not stay in memory for as long as the answer takes.
  row = { ...row, request: null };
  const cached = transcript.cachedHistory;
  if (cached)
    transcript.cacheHistory({
      ...cached,
      fresh: { turn: row.seq, messages: planned.messages, history: planned.longer },
    });
  return new Turn(transcript, row, planned.maxTokens, { ...options, newMessages: planned.messages.length });
}

/** Makes the runner of a stored turn or step. */
function runnerOf(
  context: ConversationContext,
  { place, requestId, identity, query, fallbacks, background }: RunRequest,
  turn: Turn,
  planned: NextRequest,
  own: Pick<TurnContext, 'headers' | 'most' | 'onEnd' | 'onBroken'>,
): TurnRunner {
  const { transcript, env, waitUntil } = context;
  const upstream = context.upstream();
  const stays = upstream.pool && latestTurn(transcript, READ_BY_UPSTREAM)?.outcome?.upstream;
  const { prefix } = transcript.profile ?? {};
  const { betas } = retainedAgent(context)?.definition ?? {};
  return new TurnRunner(turn, {
    requestId,
    identity,
    query,
    accounts: env,
    store: env.STORE,
    waitUntil,
    conversation: place.id,
    parent: transcript.profile?.parent && listedParentOf(transcript.profile.parent),
    adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    lay: layerOf(context, transcript.profile),
    about: Object.assign(
      say(OF_PREFIX, prefix ? refOf(prefix) : undefined),
      ...context.parts.map((part) => part.about?.(planned.memory)),
    ) as About,
    settings: context.settings(),
    upstream,
    stays,
    fallbacks,
    background,
    transcript,
    now: context.now,
    ...own,
    headers: betas
      ? { ...own.headers, 'anthropic-beta': joinedBetas(own.headers['anthropic-beta'], betas) }
      : own.headers,
  });
}

export function turnIdOf({ show, requestId }: Pick<TurnRequest, 'show' | 'requestId'>): string {
  return (viewOfTurn('', show)?.turns ?? 'turn_') + requestId.slice(-12);
}

export function newTurnRow(
  transcript: Transcript,
  request: RunRequest,
  planned: Pick<NextRequest, 'model' | 'frame' | 'sentFrom' | 'follows'>,
  now: number,
): TurnRow {
  const { requestId, hash, route } = request;
  const { model, frame, sentFrom, follows } = planned;
  return {
    ...BLANK_TURN,
    seq: Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1),
    id: turnIdOf(request),
    requestId,
    key: request.key ?? null,
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
    background: request.background ? 1 : null,
    deliverUrl: request.deliverUrl ?? null,
  };
}
