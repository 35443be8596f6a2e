/**
 * Gives a task to a subagent. A subagent is an ordinary turn of another conversation, begun by the object of the run that
 * called it. Its idempotency key is made from the call, so after a crash the run attaches to the same subagent again.
 */

import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import type {
  ConversationKey,
  RpcResult,
  TurnRequest,
  TurnRequestMetadata,
} from '../../../conversations/object/contract.ts';
import type { Conversation } from '../../../conversations/object/conversation.ts';
import { SUBAGENT_ID } from '../../../conversations/object/conversations.schema.ts';
import { parseErrorEvent } from '../../../conversations/turn/turn-ending.ts';
import type { PackedTurnAnswer } from '../../../conversations/views/turn-answer.ts';
import { callObjectWithRetry } from '../../../durable/call-object.ts';
import { addJitter, pause } from '../../../kit/async/pause.ts';
import { raceAbort } from '../../../kit/async/race-abort.ts';
import { encoder, sha256Hex } from '../../../kit/http/bytes.ts';
import { createRequestId } from '../../../kit/http/headers/request-id.ts';
import { isObject } from '../../../kit/json/object.ts';
import { isBusyErrorType, parseLimitingCause } from '../../../money/admission/limitation.ts';
import type { RequestInheritedBySubagents, SubagentCallState, ToolCallKey } from '../tool-kind.ts';
import { createFailedResult, MOST_TEXT_BYTES, NO_CONTENT, type ToolCall, type ToolResult } from '../tool-result.ts';
import type { SubagentOutcome } from './subagent-outcome.ts';
import type { SubagentToolRun } from './subagents.schema.ts';

interface SubagentCallOptions extends SubagentCallState {
  /** The members that the subagent inherits from the run's request. */
  request: RequestInheritedBySubagents;
  /** Makes a new stub of a conversation of the account for each call: a stub that has thrown stays broken. */
  createConversationStub(id: string): ConversationStub;
  /** Milliseconds that are left of the run. */
  leftMs: number;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
}

/** How deep subagents may be. The subagents of a client's run are at 2, theirs at 3. */
const MOST_DEPTH = 3;
/** How often one is begun that its account was too busy for. */
const MOST_ATTEMPTS = 8;
/** How often an object is called again after a lost call. */
const MOST_LOST = 20;
const FIRST_PAUSE_LOST_MS = 100;
const LONGEST_PAUSE_LOST_MS = 10_000;
const NO_MONEY = 'This task was not started, because the run has used up its max_usd.';

/**
 * Has a subagent do a task, and waits for its end. Stops the subagent when the run is stopped or the time is over. If the
 * subagent's object cannot be reached, its cost is not known: then all that it might have spent is counted.
 *
 * @returns its last text; an error if it has failed, was refused, or did not end
 */
export async function callSubagent(
  call: ToolCall,
  run: SubagentToolRun,
  options: SubagentCallOptions,
): Promise<ToolResult> {
  const { leftMs, signal, share, isAgain, isLate } = options;
  const { task } = isObject(call.input) ? call.input : {};
  if (typeof task !== 'string' || task.trim() === '')
    return createFailedResult('The input must be {"task": "…"}, with a text.');
  if (options.request.depth >= MOST_DEPTH) {
    return createFailedResult('This is a subagent of a subagent, which has no subagents itself. Do the task without.');
  }
  if (signal.aborted && !isAgain) return createFailedResult('stopped');
  const ms = Math.min((run.timeout_seconds ?? Number.POSITIVE_INFINITY) * 1_000, leftMs);
  const late = Number.isFinite(ms) ? AbortSignal.timeout(ms) : undefined;
  const ended = late ? AbortSignal.any([signal, late]) : signal;
  const conversationKey = { account: call.account, id: await computeSubagentConversationId(call) };
  const createStub = () => options.createConversationStub(conversationKey.id);
  let outcome: FollowedSubagentOutcome | undefined;
  const before = isLate ? 'late' : isAgain;
  for (let mayHaveBegun: boolean | 'late' = before; ; mayHaveBegun = false) {
    const left = share.most === null ? undefined : share.most - share.cost;
    if (left !== undefined && left <= 0) return { ...createFailedResult(NO_MONEY), cost: share.cost };
    const key = `${call.turn}_${call.tool_use_id}_${share.attempt}`;
    const request = {
      ...createSubagentRequest(call, run, options.request, { conversationKey, key }),
      body: createSubagentTaskBody(task, left, ms),
    };
    const working = runSubagentToEnd(createStub, request, mayHaveBegun, ended);
    outcome = await raceAbort(working, ended).catch(() => stopSubagentAndReadOutcome(createStub, key));
    // After an abort, the promise may still reject. Ignore that, so that it does not become an unhandled rejection.
    working.catch(() => {});
    // Count the subagent's whole share if it waits for approval: it continues by itself after the decision, so its final cost
    // is not known yet.
    const isKnown = outcome !== undefined && outcome.cost !== null && outcome.paused !== 'approval';
    share.cost += (isKnown ? outcome?.cost : (left ?? outcome?.cost)) ?? 0;
    if (!outcome?.isTooBusy || ended.aborted || share.attempt >= MOST_ATTEMPTS) break;
    share.attempt += 1;
    options.noteShare();
    await waitBeforeSubagentRetry(share.attempt, ended);
    if (ended.aborted) break;
  }
  const whyStopped = signal.aborted
    ? 'It was stopped.'
    : late?.aborted
      ? `It took longer than ${Math.ceil(ms / 1_000)} s.`
      : '';
  return { ...toSubagentResult(outcome, whyStopped), cost: share.cost };
}

type ConversationStub = DurableObjectStub<Conversation>;
type CreateConversationStub = () => ConversationStub;

/** The request to a subagent, except for its task. Each try is a separate request. */
interface SubagentTurnRequest extends Omit<TurnRequest, 'call' | 'body'> {
  call: Omit<TurnRequestMetadata, 'id'> & { key: string };
}

interface FollowedSubagentOutcome extends SubagentOutcome {
  /** Whether its account was too busy to admit it. (An upstream that was too busy has been retried already.) */
  isTooBusy?: boolean;
}

/**
 * Begins a subagent, or attaches to it, and follows it to its end, even if its object dies in the meantime.
 *
 * @returns undefined if its conversation was deleted in the meantime
 * @throws the error of the last call, if its object cannot be reached
 */
async function runSubagentToEnd(
  reach: CreateConversationStub,
  { body, call, ...request }: SubagentTurnRequest & Pick<TurnRequest, 'body'>,
  mayHaveBegun: boolean | 'late',
  ended: AbortSignal,
): Promise<FollowedSubagentOutcome | undefined> {
  let isKnown = !mayHaveBegun;
  for (let lost = 0; ; ) {
    try {
      const before = isKnown ? undefined : await callSubagentForOutcome(reach, call.key);
      if (before) return before;
      // Do not start the subagent again: it may have run and been deleted, and a second start could spend its share twice.
      if (mayHaveBegun === 'late') return FORGOTTEN;
      isKnown = false;
      ended.throwIfAborted();
      const answer = await reach().handleTurn(
        JSON.stringify({ ...request, call: { ...call, id: createRequestId() } }),
        body,
      );
      const error = typeof answer === 'string' ? null : getRejectionReason(answer);
      // Cancel the stream, which nothing reads: the outcome is read below, and clients follow the subagent's own conversation.
      if (typeof answer !== 'string' && answer.kind === 'stream') await answer.body.cancel();
      (answer as Partial<Disposable>)[Symbol.dispose]?.();
      const outcome = await callSubagentForOutcome(reach, call.key);
      // Without an error the subagent has begun. If its outcome is missing, its conversation was deleted, and its cost with it.
      if (!error) return outcome;
      if (outcome && outcome.status !== 'failed') return outcome;
      return { ...(outcome ?? UNBEGUN), error, isTooBusy: isAccountTooBusy(answer) };
    } catch (thrown) {
      lost += 1;
      if (lost > MOST_LOST || ended.aborted) throw thrown;
      await waitBeforeSubagentRetry(lost, ended);
    }
  }
}

const UNBEGUN: SubagentOutcome = {
  turn: '',
  status: 'failed',
  paused: null,
  stop_reason: null,
  text: '',
  error: null,
  cost_usd: 0,
  cost: 0,
};

const FORGOTTEN: SubagentOutcome = {
  ...UNBEGUN,
  cost: null,
  error: { type: 'api_error', message: 'The deployment was interrupted for a long time, and the result is not known.' },
};

/** @returns whether a turn was refused since its account was too busy */
function isAccountTooBusy(answer: PackedTurnAnswer): boolean {
  if (typeof answer === 'string' || answer.kind !== 'error') return false;
  return isBusyErrorType(answer.error.type) && parseLimitingCause(answer.error).isOwn;
}

/** @returns why a turn was refused, by this edge or by the upstream; null if it was not refused */
function getRejectionReason(answer: Exclude<PackedTurnAnswer, string>): SubagentOutcome['error'] {
  if (answer.kind === 'error') return { type: answer.error.type, message: answer.error.message };
  return answer.kind === 'response' && answer.status >= 400 ? parseErrorEvent(answer.body) : null;
}

/** Stops a subagent, or prevents it from beginning. @returns its outcome; undefined if it cannot be reached */
async function stopSubagentAndReadOutcome(
  reach: CreateConversationStub,
  key: string,
): Promise<SubagentOutcome | undefined> {
  try {
    const callStopSubagent = () => callSubagentForOutcome(reach, key, 'stopSubagent');
    return await callObjectWithRetry('conversation', async () => (await callStopSubagent()) ?? UNBEGUN, 'persistent');
  } catch {
    return undefined;
  }
}

/** Reads the outcome of a subagent from its object. @returns undefined if no turn was begun with this key */
async function callSubagentForOutcome(
  reach: CreateConversationStub,
  key: string,
  method: 'subagentOutcome' | 'stopSubagent' = 'subagentOutcome',
): Promise<SubagentOutcome | undefined> {
  const outcome = (await reach().callPlugin('runs', method, key)) as RpcResult<SubagentOutcome | undefined>;
  return outcome.ok ? outcome.value : undefined;
}

async function waitBeforeSubagentRetry(tries: number, signal: AbortSignal): Promise<void> {
  const longest = Math.min(LONGEST_PAUSE_LOST_MS, FIRST_PAUSE_LOST_MS * 2 ** tries);
  // Ignore an abort, which only ends the pause early. The caller checks the signal afterwards.
  await pause(addJitter(longest), signal).catch(() => {});
}

function createSubagentRequest(
  { conversation, tool_use_id: toolUseId, name }: ToolCall,
  { agent }: SubagentToolRun,
  { depth, retentionSeconds, headers, route, caller, query, findToolOwner: ownerOf }: RequestInheritedBySubagents,
  { conversationKey, key }: { conversationKey: ConversationKey; key: string },
): SubagentTurnRequest {
  // Drop the idempotency key: it identifies the caller's own request, and must not be reused for the subagent's.
  const { 'idempotency-key': _, ...others } = headers;
  return {
    conversationKey,
    call: { route, hash: key, key, isClientRetry: false, isResent: false, stream: true },
    caller,
    query,
    headers: others,
    edgeOptions: { agent, agent_owner: ownerOf(name) },
    parent: { conversation, toolUseId, depth: depth + 1, retentionSeconds },
  };
}

/** @param ms how many milliseconds the task may take; infinite if that is not limited */
function createSubagentTaskBody(task: string, most: Nanodollars | undefined, ms: number): string {
  return JSON.stringify({
    messages: [{ role: 'user', content: task }],
    ...(most === undefined ? {} : { max_usd: most / 1e9 }),
    ...(Number.isFinite(ms) ? { max_seconds: Math.max(1, Math.ceil(ms / 1_000)) } : {}),
  });
}

/** @returns the id of a subagent's conversation, made from the name of its call. */
export async function computeSubagentConversationId({ conversation, turn, tool_use_id }: ToolCallKey): Promise<string> {
  const digest = await sha256Hex(encoder.encode(JSON.stringify([conversation, turn, tool_use_id])));
  return SUBAGENT_ID + digest.slice(0, 32);
}

/**
 * Makes the result of a call from the outcome of its subagent.
 *
 * @param outcome undefined if the subagent could not be reached
 * @param whyStopped a sentence if its run has stopped it; empty otherwise
 */
function toSubagentResult(outcome: SubagentOutcome | undefined, whyStopped: string): ToolResult {
  const fault = outcome
    ? explainIncompleteSubagent(outcome, whyStopped)
    : `The subagent could not be reached. ${whyStopped}`.trim();
  const { text = '' } = outcome ?? {};
  const answer = text.trim() === '' ? '' : text;
  const content = fault === undefined ? answer || NO_CONTENT : fault + (answer && ` What it said:\n\n${answer}`);
  const bytes = encoder.encode(content).length;
  if (bytes > MOST_TEXT_BYTES)
    return createFailedResult(`The subagent’s response has more than ${MOST_TEXT_BYTES} bytes.`);
  return { content, isError: fault !== undefined, bytes };
}

/** @returns why a subagent has not done its task; undefined if it has */
function explainIncompleteSubagent(
  { status, paused, stop_reason: reason, error }: SubagentOutcome,
  whyStopped: string,
): string | undefined {
  if (status === 'running' || status === 'stopped') return `The subagent was stopped. ${whyStopped}`.trim();
  if (status === 'refused') return 'The subagent refused the task.';
  if (status !== 'complete') return `The subagent has failed. ${error?.message ?? whyStopped}`.trim();
  if (paused === 'approval') {
    return 'The subagent waits for the approval of one of its calls. It then continues, and its response is stored in its own conversation.';
  }
  if (paused !== null) return `The subagent paused (${paused}) before its end.`;
  if (reason === 'tool_use') return 'The subagent called a tool that only a client can run.';
  if (reason === 'end_turn' || reason === 'stop_sequence') return undefined;
  return `The subagent’s response was cut off (${reason}).`;
}
