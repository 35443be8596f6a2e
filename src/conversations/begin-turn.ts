/** The beginning of a turn: what is stored before anything goes up. */

import type { TurnRequest } from '../durable/contracts/conversation.ts';
import type { ConversationContext } from './conversation-context.ts';
import { checkHeld, layHeld, refOf, type TakenPrefix } from './history/held-prefix.ts';
import { type NextRequest, nextRequest } from './history/next-request.ts';
import { heldOf, prefixReaderOf } from './prefix-holds.ts';
import { firstProfile, startConversation } from './profile-changes.ts';
import type { Profile, TurnRow, TurnStatus } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurnOf } from './storage/turn-queries.ts';
import { Turn } from './turn/turn.ts';
import { TurnRunner } from './turn/turn-runner.ts';

/** How often the alarm looks after a running turn: an object that died wakes by it. */
export const WATCH_MS = 30_000;

/** Turns whose prompt the upstream has read. */
const READ_BY_UPSTREAM: readonly TurnStatus[] = ['complete', 'interrupted', 'stopped', 'refused', 'empty'];

/** What the object does when a turn ends. */
interface TurnEvents {
  /** The turn has ended and is stored: the lock is free. */
  onEnd(): void;
  /** The end could not be stored: the object must be aborted. */
  onBroken(thrown: unknown): void;
}

/**
 * Plans a turn; nothing is written or waited for.
 *
 * @param present the conversation's profile, where it exists
 * @param prefix what a conversation that begins has taken
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

/**
 * Stores a turn and its messages, and makes its runner. Nothing is waited for: the caller takes the lock with the result.
 *
 * @throws ApiError where the deployment has no upstream; nothing is stored then
 */
export function beginTurn(
  context: ConversationContext,
  request: TurnRequest,
  planned: NextRequest,
  taken: TakenPrefix | undefined,
  { onEnd, onBroken }: TurnEvents,
): TurnRunner {
  const { transcript, maintenance, env } = context;
  const { place, requestId } = request;
  // Before anything is stored: this throws where the deployment has no upstream.
  const upstream = context.upstream();
  const stays = upstream.pool && latestTurnOf(transcript, READ_BY_UPSTREAM)?.outcome?.upstream;
  const now = context.now();
  const isNew = !transcript.profile?.exists;
  const prefix = isNew ? heldOf(taken) : (transcript.profile?.prefix ?? null);
  if (isNew) startConversation(context, firstProfile(context, place, now));
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
  const known = transcript.recollection;
  if (known) transcript.recollect({ ...known, fresh: { turn: row.seq, messages: planned.messages } });
  maintenance.wakeFor(now + WATCH_MS);
  const turn = new Turn(transcript, row, planned.maxTokens, { asked: planned.messages.length });
  return new TurnRunner(turn, {
    requestId,
    identity: request.identity,
    accounts: env,
    store: env.STORE,
    waitUntil: context.waitUntil,
    conversation: place.id,
    adds: planned.messages.reduce((sum, { text }) => sum + text.length, 0),
    prefix: prefix
      ? { ref: refOf(prefix), lay: (body) => layHeld(prefixReaderOf(context, place.account), prefix, body) }
      : undefined,
    settings: context.settings(),
    upstream,
    stays,
    fallbacks: request.fallbacks,
    transcript,
    headers: request.headers,
    query: request.query,
    now: context.now,
    onEnd: (settled) => {
      onEnd();
      if (settled !== undefined) context.waitUntil(maintenance.confirm(row, settled));
      else maintenance.forgetFailed(row);
    },
    onBroken,
  });
}

function newTurnRow(transcript: Transcript, request: TurnRequest, planned: NextRequest, now: number): TurnRow {
  return {
    seq: Math.max(transcript.profile?.nextTurn ?? 1, transcript.newestTurn + 1),
    id: `turn_${request.requestId.slice(-12)}`,
    requestId: request.requestId,
    key: request.key ?? null,
    hash: request.hash,
    status: 'running',
    route: request.route,
    model: planned.model,
    beganAt: now,
    endedAt: null,
    grant: null,
    sentAt: null,
    coversUntil: null,
    outcome: null,
    settled: false,
    cost: 0,
    tokens: null,
    frame: planned.frame,
    sentFrom: planned.sentFrom,
    follows: planned.follows,
    events: 0,
  };
}
