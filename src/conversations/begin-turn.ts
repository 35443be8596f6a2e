/** The beginning of a turn: what is stored before anything goes up. */

import type { PromptRequest, TurnRequest } from '../durable/contracts/conversation.ts';
import { checkHeld, layHeld, type TakenPrefix } from './held-prefix.ts';
import { type NextRequest, nextRequest } from './history/next-request.ts';
import type { ConversationContext } from './maintenance.ts';
import { startConversation } from './profile-changes.ts';
import { type Profile, refOf, type TurnRow, type TurnStatus } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn } from './storage/turn-queries.ts';
import { Turn } from './turn/turn.ts';
import { type TurnContext, TurnRunner } from './turn/turn-runner.ts';

/** How often the alarm comes while a turn runs: it wakes an object that died. */
export const WATCH_MS = 30_000;

/** Turns whose prompt the upstream has read. */
const READ_BY_UPSTREAM: readonly TurnStatus[] = ['complete', 'interrupted', 'stopped', 'refused', 'empty'];

/**
 * Plans a turn; nothing is written or waited for.
 *
 * @param present the conversation's profile, where it exists
 * @param prefix the one that a new conversation has taken
 * @throws ApiError 400 for what does not continue the history, 413 for what has become too large
 */
export function planTurn(
  { transcript, settings }: ConversationContext,
  present: Profile | undefined,
  request: TurnRequest & { body: string },
  prefix: TakenPrefix | undefined,
): NextRequest {
  if (present && request.prefix !== undefined) checkHeld(present.prefix, request.prefix);
  const betas = request.headers['anthropic-beta'];
  return nextRequest(request.body, transcript, settings(), { prefix, betas });
}

/** Builds the prompt of a conversation's next turn as it would go up, to be counted. @throws ApiError as `planTurn` */
export async function buildPrompt(
  context: ConversationContext,
  { account, prefix: held }: Profile,
  { prefix, body }: PromptRequest & { body: string },
): Promise<ReadableStream<Uint8Array>> {
  if (prefix !== undefined) checkHeld(held, prefix);
  const request = nextRequest(body, context.transcript, context.settings(), { counts: true });
  const { bytes } = held ? (await layHeld(context, account, held, request.body)).body : request.body;
  return new Blob([bytes]).stream();
}

/**
 * Stores a turn and its messages, and makes its runner. Nothing is waited for: the caller takes the lock with the result.
 *
 * @param onEnd is called when the turn has ended and is stored
 * @param onBroken is called when the end could not be stored: the object must be aborted
 * @throws ApiError where the deployment has no upstream; nothing is stored then
 */
export function beginTurn(
  context: ConversationContext,
  request: TurnRequest,
  planned: NextRequest,
  taken: TakenPrefix | undefined,
  { onEnd, onBroken }: { onEnd(): void } & Pick<TurnContext, 'onBroken'>,
): TurnRunner {
  const { transcript, maintenance, env, waitUntil } = context;
  const { place, requestId, identity, headers, query } = request;
  // Before anything is stored: this throws where the deployment has no upstream.
  const upstream = context.upstream();
  const stays = upstream.pool && latestTurn(transcript, READ_BY_UPSTREAM)?.outcome?.upstream;
  const now = context.now();
  const isNew = !transcript.profile?.exists;
  const prefix = (isNew ? taken?.held : transcript.profile?.prefix) ?? null;
  if (isNew) startConversation(context, place);
  const profile = transcript.profile;
  if (!profile) throw new TypeError('A conversation without a profile.');
  const row = newTurnRow(transcript, request, planned, now);
  if (isNew) {
    transcript.together(() => {
      const { model, maxTokens, system, tools } = planned.defaults;
      if (system !== undefined) transcript.freeze('system', system);
      if (tools !== undefined) transcript.freeze('tools', tools);
      transcript.save({ ...profile, model, maxTokens, prefix });
    });
  } else if (planned.sentFrom !== profile.sentFrom) transcript.save({ ...profile, sentFrom: planned.sentFrom });
  const messages = planned.messages.map(({ role, text }, index) => {
    const id = `msg_${row.id}_${index + 1}`;
    return { seq: profile.nextMessage + index, turn: row.seq, id, role, createdAt: now, text };
  });
  transcript.beginTurn(row, messages);
  const cached = transcript.cachedHistory;
  if (cached) transcript.cacheHistory({ ...cached, fresh: { turn: row.seq, messages: planned.messages } });
  maintenance.alarm.wakeFor(now + WATCH_MS);
  const turn = new Turn(transcript, row, planned.maxTokens, { newMessages: planned.messages.length });
  return new TurnRunner(turn, {
    requestId,
    identity,
    headers,
    query,
    accounts: env,
    store: env.STORE,
    waitUntil,
    conversation: place.id,
    adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    prefix: prefix ? { ref: refOf(prefix), lay: (body) => layHeld(context, place.account, prefix, body) } : undefined,
    settings: context.settings(),
    upstream,
    stays,
    fallbacks: request.fallbacks,
    transcript,
    now: context.now,
    onEnd: (settled) => {
      onEnd();
      if (settled !== undefined) waitUntil(maintenance.settlements.confirm(row, settled));
      else maintenance.settlements.forgetFailed(row);
    },
    onBroken,
  });
}

function newTurnRow(transcript: Transcript, request: TurnRequest, planned: NextRequest, now: number): TurnRow {
  const { requestId, hash, route } = request;
  const { model, frame, sentFrom, follows } = planned;
  return {
    seq: Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1),
    id: `turn_${requestId.slice(-12)}`,
    requestId,
    key: request.key ?? null,
    hash,
    status: 'running',
    route,
    model,
    beganAt: now,
    endedAt: null,
    grant: null,
    sentAt: null,
    coversUntil: null,
    outcome: null,
    settled: false,
    cost: 0,
    tokens: null,
    frame,
    sentFrom,
    follows,
    events: 0,
  };
}
