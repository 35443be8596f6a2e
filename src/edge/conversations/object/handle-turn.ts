/** Takes up a turn: looks whether it may begin, waits for what it needs before it, and begins it. */
import { shouldHideTools } from '../../auth/identity/only.ts';
import { ContextValues } from '../../kit/plugins/context-values.ts';
import { refuseRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { guard } from '../history/guard.ts';
import type { NextRequest } from '../history/next-request.ts';
import { lacksSummary } from '../history/truncate.ts';
import { withoutEdgeBlocks } from '../views/edge-blocks.ts';
import { redactAnswer } from '../views/redact-answer.ts';
import type { TurnAnswer } from '../views/turn-answer.ts';
import { answerWithPings } from './answer-with-pings.ts';
import { beginTurn, planTurn, turnIdOf } from './begin-turn.ts';
import { callHooks } from './call-hooks.ts';
import type { TurnRequest } from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import type { BufferedTurnRequest, PendingTurn, Prerequisite } from './hooks.ts';
import { hasInitialContext, resolveInitialContext, withDefaultAgent } from './initial-context.ts';
import { accountRequestOf } from './object-context.ts';
import { answerBegun, answerRepeated, findRepeatedTurn, refuseBusy } from './resume-turn.ts';
import { releaseUnused } from './retained-prefix.ts';
import { failedAnswer, interruptedCall, readRpcText } from './rpc-response.ts';

/** Answers a turn's request: begins the turn, or attaches to the one that the same request began before. Never rejects. */
export async function handleTurn(state: ConversationState, turn: TurnRequest): Promise<TurnAnswer> {
  try {
    const request: BufferedTurnRequest = Object.assign(turn, { body: await readRpcText(turn.body) });
    state.recover();
    // Only a first turn brings what an edge has shown. This takes steps, so it comes before the lock, too.
    if (!state.existingProfile()?.turns) request.body = await withoutEdgeBlocks(request.body);
    // What a new conversation begins with is taken before the lock: after the lock nothing may wait.
    const named = withDefaultAgent(request.asked);
    const beginning =
      hasInitialContext(named) && !state.existingProfile()
        ? await resolveInitialContext(state, request.place, named, request.caller)
        : undefined;
    try {
      const { only } = request.caller;
      const answer = await startOrAttach(state, {
        request,
        initialContext: beginning,
        pluginContext: new ContextValues(),
      });
      const withHeaders = withPluginHeaders(state, answer, only !== undefined);
      return redactAnswer(withHeaders, shouldHideTools(only) && !request.parent, state.runner?.turn.log);
    } finally {
      releaseUnused(state, beginning?.retained);
    }
  } catch (thrown) {
    return failedAnswer(thrown);
  }
}

/**
 * Goes through the phases of a turn until it has begun. After each wait everything is looked at again, and between the last look
 * and the lock nothing waits.
 */
async function startOrAttach(state: ConversationState, turn: PendingTurn): Promise<TurnAnswer> {
  const { transcript } = state;
  const { request, initialContext: beginning } = turn;
  const findRepeated = () => findRepeatedTurn(transcript, request.call, state.now());
  const refuseRevoked = () => refuseRevokedCaller(accountRequestOf(state, request.caller));
  for (;;) {
    state.recover();
    // What a deletion has left is done now: who was told that it is gone may begin anew at once.
    if (transcript.profile?.deleted) await state.maintenance.clear();
    checkRestriction(state, turn);
    if (findRepeated() || state.runner || state.isInTransit || state.approvalError) {
      await refuseRevoked();
      // While the account was asked, the other turn may have ended or failed, and a copy may be there: look again.
      checkRestriction(state, turn);
      const repeated = findRepeated();
      if (repeated) {
        const answer = await answerRepeated(state, state.runner, repeated, request);
        return withTruncationHeader(state, answer, repeated.sentFrom);
      }
      refuseBusy(transcript, state.runner, state.isInTransit);
      const { approvalError: awaited } = state;
      if (awaited) throw awaited;
      // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
      if (hasInitialContext(request.asked) && !beginning && !state.existingProfile()) throw interruptedCall();
    }
    let planned: NextRequest;
    try {
      planned = planTurn(state, state.existingProfile(), turn);
    } catch (thrown) {
      await refuseRevoked();
      throw thrown;
    }
    const wait = firstPrerequisite(state, turn, planned);
    if (!wait) {
      // This takes the lock: from here on no other turn begins.
      const runner = beginTurn(state, turn, planned);
      state.acquireLock(runner);
      // A long prompt must not stay in memory for as long as the answer takes.
      request.body = '';
      planned.messages = [];
      state.waitUntil(runner.runSteps(planned));
      return withTruncationHeader(state, await answerBegun(transcript, runner, request), planned.sentFrom);
    }
    const work = state.waitFor(request.call.key, wait.work);
    if (wait.pings && request.call.stream && !request.asked.background && !request.parent) {
      const coming = work.then(() => startOrAttach(state, turn)).catch(failedAnswer);
      return await answerWithPings(turnIdOf(request), work, coming, {
        requestId: request.call.id,
        waitUntil: state.waitUntil,
      });
    }
    await work;
  }
}

/** @returns the first thing that must be waited for before a turn begins */
function firstPrerequisite(
  state: ConversationState,
  turn: PendingTurn,
  planned: NextRequest,
): Prerequisite | undefined {
  for (const part of state.hooks) {
    const wait = part.before?.(turn, planned);
    if (wait) return wait;
  }
  return undefined;
}

/** @throws ApiError 403 for a restricted token that may not use this conversation */
function checkRestriction(state: ConversationState, { request, initialContext: beginning }: PendingTurn): void {
  if (!request.caller.only || request.parent) return;
  const present = state.existingProfile();
  // Nothing was taken because a first turn was running, but that turn has failed meanwhile.
  if (hasInitialContext(request.asked) && !beginning && !present) throw interruptedCall();
  const refused = guard().refusalOfTurn(request.caller, state.transcript, present, beginning?.agent);
  if (refused) throw refused;
}

/** @returns the answer with what plugins tell in its headers. @param hides whether the caller is not told how the agent works */
function withPluginHeaders(state: ConversationState, answer: TurnAnswer, hides: boolean): TurnAnswer {
  if (answer.kind === 'error') return answer;
  const headers = callHooks(state, 'headers', (part) => part.headers?.(answer.turn, hides));
  return { ...answer, headers: Object.assign({}, answer.headers, ...headers) as Record<string, string> };
}

/** Says in its headers where a turn has gone up without its oldest turns, and without a summary of them. */
function withTruncationHeader({ transcript }: ConversationState, answer: TurnAnswer, sentFrom: number): TurnAnswer {
  if (answer.kind === 'error' || !lacksSummary(transcript.profile?.history, sentFrom)) return answer;
  return { ...answer, headers: { ...answer.headers, 'sluice-history': 'truncated' } };
}
