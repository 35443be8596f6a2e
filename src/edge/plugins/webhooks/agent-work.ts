/**
 * Lets an agent work on an event, in a separate conversation. The turn has the event's id as its idempotency key, so a later
 * attempt, after any crash, finds the turn that was begun, and continues a run that has paused because of a busy upstream or a
 * used-up budget.
 */

import { toUpstreamHeaders } from '../../claude/headers.ts';
import type { Settings } from '../../config/settings.ts';
import type { TurnOutcome, TurnRequest } from '../../conversations/object/contract.ts';
import type { Conversation } from '../../conversations/object/conversation.ts';
import { HOOK_ID } from '../../conversations/object/conversations.schema.ts';
import { parseErrorEvent } from '../../conversations/turn/turn-ending.ts';
import type { PackedTurnAnswer } from '../../conversations/views/turn-answer.ts';
import { callObjectWithRetry } from '../../durable/call-object.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { encodeUtf8, sha256Hex } from '../../kit/http/bytes.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AgentTurnRef } from './contracts/inbox.ts';
import type { EventAgentAnswer } from './webhooks-answers.schema.ts';

/** An event on which an agent must work. */
export interface AgentTask {
  /** The agent, as the source names it. */
  agent: string;
  event: string;
  account: string;
  text: string;
  /** The id of its turn, if it was begun before. */
  turn: string | null;
}

export interface AgentWorkContext {
  env: Bindings;
  settings: Settings;
  requestId: string;
  /** How many milliseconds a job waits for the end. Afterwards the agent continues without the job. */
  waitMs: number;
  /** Called with where the agent works, as soon as that is known. */
  onTurnStarted(turn: AgentTurnRef): Promise<void>;
}

/** How far an agent has come. */
export type AgentWorkProgress =
  | { kind: 'ended'; answer: EventAgentAnswer }
  | { kind: 'running' }
  | { kind: 'failed'; error: AgentWorkError };

/** Why an agent has not worked on an event. Its conversation contains nothing about the event, so the work can be retried. */
export interface AgentWorkError {
  type: string;
  message: string;
  status: number;
  headers: Record<string, string>;
}

const MOST_TEXT = 100_000;

/**
 * Begins an agent's turn, unless it was begun before, and waits for its end.
 *
 * @throws ApiError 503 while its conversation cannot be reached
 */
export async function runAgentOnEvent(task: AgentTask, context: AgentWorkContext): Promise<AgentWorkProgress> {
  const { env, settings, waitMs, onTurnStarted: onBegun } = context;
  const until = Date.now() + waitMs;
  // Derive the conversation's id from the event's id, so that a repeated job finds the same conversation.
  const id = HOOK_ID + (await sha256Hex(encodeUtf8(task.event))).slice(0, 32);
  const conversationKey = { account: task.account, id };
  const callEventConversation = <T>(method: (object: DurableObjectStub<Conversation>) => PromiseLike<unknown>) =>
    callObjectWithRetry(
      'conversation',
      async () => (await method(getConversationStub(env, settings, conversationKey))) as T,
    );
  const readTurnOutcome = (key: string, isAwaited = false) =>
    callEventConversation<TurnOutcome | undefined>((object) => object.readTurnOutcome(key, isAwaited));
  const latest = await findLatestTurnOfEvent(task.event, readTurnOutcome);
  const { key, earlierUsd } = latest;
  const readLatestOutcome = (isAwaited: boolean) => readTurnOutcome(key, isAwaited);
  let { outcome } = latest;
  const isFirst = key === task.event;
  // A turn was started before, but its conversation has been deleted. Fail the job, because the agent must not work on the
  // event twice.
  if (!outcome && isFirst && task.turn !== null) return { kind: 'failed', error: DELETED };
  if (!outcome || outcome.status === 'failed') {
    // Send an empty list of messages to continue a paused run.
    const body = JSON.stringify({ messages: isFirst ? [{ role: 'user', content: task.text }] : [] });
    const request = await createAgentTurnRequest(
      { key, edgeOptions: isFirst ? { agent: task.agent } : {} },
      body,
      conversationKey,
      context,
    );
    const error = await callEventConversation<PackedTurnAnswer>((object) =>
      object.handleTurn(JSON.stringify(request), body),
    ).then(readTurnStartError);
    if (error) return { kind: 'failed', error };
    outcome = await readLatestOutcome(false);
  }
  if (outcome && outcome.status !== 'failed') await onBegun({ conversation: id, turn: outcome.turn });
  // Wait only as long as this job may. If the turn takes longer or its object dies, a later job checks again.
  if (outcome?.status === 'running') {
    outcome = await waitWithTimeout(readLatestOutcome(true), Math.max(0, until - Date.now())).catch(() => outcome);
  }
  const { status = 'failed' } = outcome ?? {};
  // A turn that waits for approval, which may take days, counts as running for the webhook.
  if (status === 'running' || outcome?.paused === 'approval') return { kind: 'running' };
  if (!outcome || status === 'failed') {
    return { kind: 'failed', error: { ...(outcome?.error ?? UNSAID), status: 500, headers: OF_A_TURN } };
  }
  const pause = outcome.paused === null ? undefined : PASSING_PAUSES[outcome.paused];
  if (pause) return { kind: 'failed', error: pause };
  const { text, ...rest } = { ...outcome, cost_usd: earlierUsd + outcome.cost_usd };
  const answered_at = new Date().toISOString();
  const answer = text.slice(0, MOST_TEXT).toWellFormed();
  return { kind: 'ended', answer: { agent: task.agent, conversation: id, ...rest, status, text: answer, answered_at } };
}

const DELETED: AgentWorkError = {
  type: 'not_found_error',
  message: 'The conversation of this event was deleted. Replay the event to start a new one.',
  status: 410,
  headers: {},
};
/** A turn does not keep whose limit has ended it. As that of an upstream it counts as a failure, so that it is not tried for ever. */
const OF_A_TURN = { 'sluice-limited-by': 'upstream' };
const UNSAID = { type: 'api_error', message: 'The agent’s turn failed before its response began.' };

/** Temporary reasons for which a run has paused. Such a run is continued later. */
const PASSING_PAUSES: Readonly<Record<string, AgentWorkError>> = {
  upstream: {
    type: 'overloaded_error',
    message: 'The upstream was overloaded at the next step of the agent’s run. The run continues later.',
    status: 529,
    headers: { 'sluice-limited-by': 'upstream' },
  },
  budget: {
    type: 'rate_limit_error',
    message: 'The budget cannot pay for the next step of the agent’s run. The run continues when it can.',
    status: 429,
    // Use a placeholder here: the account reports the actual time once the run continues.
    headers: { 'sluice-limited-by': 'account', 'retry-after': '60' },
  },
};

/** How often a paused run is continued at most. */
const MOST_CONTINUED = 100;

/**
 * Finds the last turn of an event: the first has the event's id as its key, and for each turn that continues a paused run, a
 * number is appended.
 *
 * @returns its key and its outcome, which is undefined if it has not begun; and the cost of the turns before it
 */
async function findLatestTurnOfEvent(
  event: string,
  lookAt: (key: string) => Promise<TurnOutcome | undefined>,
): Promise<{ key: string; outcome: TurnOutcome | undefined; earlierUsd: number }> {
  let key = event;
  let earlierUsd = 0;
  for (let number = 2; ; number += 1) {
    const outcome = await lookAt(key);
    const isPaused = outcome?.status !== 'running' && Object.hasOwn(PASSING_PAUSES, outcome?.paused ?? '');
    if (!outcome || !isPaused || number > MOST_CONTINUED) return { key, outcome, earlierUsd };
    earlierUsd += outcome.cost_usd;
    key = `${event}#${number}`;
  }
}

async function createAgentTurnRequest(
  { key, edgeOptions }: { key: string; edgeOptions: TurnRequest['edgeOptions'] },
  body: string,
  conversationKey: TurnRequest['conversationKey'],
  { settings, requestId }: AgentWorkContext,
): Promise<Omit<TurnRequest, 'body'>> {
  const headers = toUpstreamHeaders(new Headers({ 'content-type': 'application/json' }), '', settings.FORWARD_HEADERS);
  delete headers['x-api-key'];
  return {
    conversationKey,
    call: {
      id: requestId,
      route: 'webhook',
      hash: await sha256Hex(encodeUtf8(body)),
      key,
      isClientRetry: false,
      isResent: false,
      stream: true,
    },
    caller: { account: conversationKey.account, scopes: [], token: undefined },
    edgeOptions,
    headers,
    query: '',
  };
}

/** @returns why a turn has not begun, or has failed at once; undefined if it has begun */
async function readTurnStartError(answer: PackedTurnAnswer): Promise<AgentWorkError | undefined> {
  if (typeof answer === 'string') return undefined;
  if (answer.kind === 'error') return answer.error;
  if (answer.kind === 'stream') await answer.body.cancel();
  if (answer.kind !== 'response' || answer.status < 400) return undefined;
  const { status, headers } = answer;
  return { ...parseErrorEvent(answer.body), status, headers };
}
