/** Takes up a turn: looks whether it may begin, waits for what it needs before it, and begins it. */
import { shouldHideToolContents } from '../../auth/identity/only.ts';
import { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { requireUnrevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { getRestrictedTokenGuard } from '../history/guard.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import { isSummaryMissing } from '../history/truncate.ts';
import { restoreEdgeCallsInText } from '../views/edge-blocks.ts';
import { redactAnswer } from '../views/redact-answer.ts';
import type { TurnAnswer } from '../views/turn-answer.ts';
import { waitForAnswerSendingPings } from './answer-with-pings.ts';
import { createTurnId, planTurn, storeTurnAndCreateRunner } from './begin-turn.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import type { TurnRequest } from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import type { BufferedTurnRequest, PendingTurn, TurnPrerequisite } from './hooks.ts';
import { applyDefaultAgent, hasInitialContext, resolveInitialContext } from './initial-context.ts';
import { createAccountRequest } from './object-context.ts';
import { answerRepeatedRequest, answerStartedTurn, findRepeatedTurn, requireIdleConversation } from './resume-turn.ts';
import { releaseUnusedPrefix } from './retained-prefix.ts';
import { createInterruptedCallError, readRpcText, toFailedTurnAnswer } from './rpc-response.ts';

/** Answers a turn's request: begins the turn, or attaches to the one that the same request began before. Never rejects. */
export async function handleTurn(state: ConversationState, turn: TurnRequest): Promise<TurnAnswer> {
  try {
    const request: BufferedTurnRequest = Object.assign(turn, { body: await readRpcText(turn.body) });
    state.recoverFromCrash();
    // Only a first turn brings what an edge has shown. This takes steps, so it comes before the lock, too.
    if (!state.getExistingProfile()?.turns) request.body = await restoreEdgeCallsInText(request.body);
    // What a new conversation begins with is taken before the lock: after the lock nothing may wait.
    const named = applyDefaultAgent(request.asked);
    const beginning =
      hasInitialContext(named) && !state.getExistingProfile()
        ? await resolveInitialContext(state, request.place, named, request.caller)
        : undefined;
    try {
      const { only } = request.caller;
      const answer = await startOrAttachToTurn(state, {
        request,
        initialContext: beginning,
        pluginContext: new PluginContextValues(),
      });
      const withHeaders = addPluginHeaders(state, answer, only !== undefined);
      return redactAnswer(withHeaders, shouldHideToolContents(only) && !request.parent, state.runner?.turn.log);
    } finally {
      releaseUnusedPrefix(state, beginning?.retained);
    }
  } catch (thrown) {
    return toFailedTurnAnswer(thrown);
  }
}

/**
 * Goes through the phases of a turn until it has begun. After each wait everything is looked at again, and between the last look
 * and the lock nothing waits.
 */
async function startOrAttachToTurn(state: ConversationState, turn: PendingTurn): Promise<TurnAnswer> {
  const { transcript } = state;
  const { request, initialContext: beginning } = turn;
  const findRepeatedRequest = () => findRepeatedTurn(transcript, request.call, state.now());
  const requireUnrevoked = () => requireUnrevokedCaller(createAccountRequest(state, request.caller));
  for (;;) {
    state.recoverFromCrash();
    // What a deletion has left is done now: who was told that it is gone may begin anew at once.
    if (transcript.profile?.deleted) await state.maintenance.deleteRowsIfReported();
    requireAllowedByRestriction(state, turn);
    if (findRepeatedRequest() || state.runner || state.isBeingCopiedOrDeleted || state.pendingApprovalError) {
      await requireUnrevoked();
      // While the account was asked, the other turn may have ended or failed, and a copy may be there: look again.
      requireAllowedByRestriction(state, turn);
      const repeated = findRepeatedRequest();
      if (repeated) {
        const answer = await answerRepeatedRequest(state, state.runner, repeated, request);
        return addTruncationHeader(state, answer, repeated.sentFrom);
      }
      requireIdleConversation(transcript, state.runner, state.isBeingCopiedOrDeleted);
      const { pendingApprovalError: awaited } = state;
      if (awaited) throw awaited;
      // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
      if (hasInitialContext(request.asked) && !beginning && !state.getExistingProfile())
        throw createInterruptedCallError();
    }
    let planned: NextRequestPlan;
    try {
      planned = planTurn(state, state.getExistingProfile(), turn);
    } catch (thrown) {
      await requireUnrevoked();
      throw thrown;
    }
    const wait = findFirstPrerequisite(state, turn, planned);
    if (!wait) {
      // This takes the lock: from here on no other turn begins.
      const runner = storeTurnAndCreateRunner(state, turn, planned);
      state.acquireLock(runner);
      // A long prompt must not stay in memory for as long as the answer takes.
      request.body = '';
      planned.messages = [];
      state.waitUntil(runner.runSteps(planned));
      return addTruncationHeader(state, await answerStartedTurn(transcript, runner, request), planned.sentFrom);
    }
    const work = state.waitBeforeTurn(request.call.key, wait.work);
    if (wait.pings && request.call.stream && !request.asked.background && !request.parent) {
      const coming = work.then(() => startOrAttachToTurn(state, turn)).catch(toFailedTurnAnswer);
      return await waitForAnswerSendingPings(createTurnId(request), work, coming, {
        requestId: request.call.id,
        waitUntil: state.waitUntil,
      });
    }
    await work;
  }
}

/** @returns the first thing that must be waited for before a turn begins */
function findFirstPrerequisite(
  state: ConversationState,
  turn: PendingTurn,
  planned: NextRequestPlan,
): TurnPrerequisite | undefined {
  for (const part of state.hooks) {
    const wait = part.before?.(turn, planned);
    if (wait) return wait;
  }
  return undefined;
}

/** @throws ApiError 403 for a restricted token that may not use this conversation */
function requireAllowedByRestriction(
  state: ConversationState,
  { request, initialContext: beginning }: PendingTurn,
): void {
  if (!request.caller.only || request.parent) return;
  const present = state.getExistingProfile();
  // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
  if (hasInitialContext(request.asked) && !beginning && !present) throw createInterruptedCallError();
  const refused = getRestrictedTokenGuard().findTurnRestrictionError(
    request.caller,
    state.transcript,
    present,
    beginning?.agent,
  );
  if (refused) throw refused;
}

/** @returns the answer with what plugins tell in its headers. @param hides whether the caller is not told how the agent works */
function addPluginHeaders(state: ConversationState, answer: TurnAnswer, hides: boolean): TurnAnswer {
  if (answer.kind === 'error') return answer;
  const headers = callHookOfEachPlugin(state, 'headers', (part) => part.headers?.(answer.turn, hides));
  return { ...answer, headers: Object.assign({}, answer.headers, ...headers) as Record<string, string> };
}

/** Says in its headers where a turn has gone up without its oldest turns, and without a summary of them. */
function addTruncationHeader({ transcript }: ConversationState, answer: TurnAnswer, sentFrom: number): TurnAnswer {
  if (answer.kind === 'error' || !isSummaryMissing(transcript.profile?.history, sentFrom)) return answer;
  return { ...answer, headers: { ...answer.headers, 'sluice-history': 'truncated' } };
}
