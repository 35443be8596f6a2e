/** Handles the request for a turn: checks whether it may begin, waits for its prerequisites, and begins it. */
import { shouldHideToolContents } from '../../auth/identity/only.ts';
import { runInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { requireUnrevokedCaller } from '../../money/admission/refuse-revoked.ts';
import { getRestrictedTokenGuard } from '../history/guard.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import { isSummaryMissing } from '../history/truncate.ts';
import { restoreEdgeCallsInText } from '../views/edge-blocks.ts';
import { redactAnswer } from '../views/redact-answer.ts';
import type { TurnAnswer } from '../views/turn-answer.ts';
import { answerRepeatedRequest, answerStartedTurn, findRepeatedTurn, requireIdleConversation } from './answer-turn.ts';
import { waitForAnswerSendingPings } from './answer-with-pings.ts';
import { createTurnId, planTurn, planTurnInSteps, storeTurnAndCreateRunner } from './begin-turn.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import type { TurnRequest } from './contract.ts';
import type { ConversationState } from './conversation-state.ts';
import type { BufferedTurnRequest, PendingTurn, TurnPrerequisite } from './hooks.ts';
import { applyDefaultAgent, hasInitialContext, resolveInitialContext } from './initial-context.ts';
import { createAccountRequest } from './object-context.ts';
import { releaseUnusedPrefix } from './retained-prefix.ts';
import { createInterruptedCallError, readRpcText, toFailedTurnAnswer } from './rpc-response.ts';

/** Handles a turn's request: begins the turn, or attaches to the turn that the same request has begun before. Never rejects. */
export async function handleTurn(state: ConversationState, rpcRequest: TurnRequest): Promise<TurnAnswer> {
  try {
    const request: BufferedTurnRequest = Object.assign(rpcRequest, { body: await readRpcText(rpcRequest.body) });
    state.recoverFromCrash();
    // Only the first turn can contain an external history, in which the calls of Sluice's tools have the form for clients
    // (`mcp_tool_use`). Restoring them is asynchronous, so do it before the lock is taken.
    if (!state.visibleProfile?.turns) request.body = await restoreEdgeCallsInText(request.body);
    // Resolve the prefix or agent of a new conversation before the checks: between the last check and the lock there must be no
    // await.
    const prefixAndAgent = applyDefaultAgent(request.edgeOptions);
    const initialContext =
      hasInitialContext(prefixAndAgent) && !state.visibleProfile
        ? await resolveInitialContext(state, request.conversationKey, prefixAndAgent, request.caller)
        : undefined;
    try {
      const { only } = request.caller;
      const answer = await startOrAttachToTurn(state, {
        request,
        initialContext,
        pluginContext: new PluginContextValues(),
      });
      const withHeaders = addPluginHeaders(state, answer, only !== undefined);
      // The lock's holder may be another turn by now. `redactAnswer` uses its log only if the answer is of that turn.
      return redactAnswer(withHeaders, shouldHideToolContents(only) && !request.parent, state.lock.holder?.turn.log);
    } finally {
      releaseUnusedPrefix(state, initialContext?.retained);
    }
  } catch (thrown) {
    return toFailedTurnAnswer(thrown);
  }
}

/**
 * Begins a turn, or attaches to the turn that the same request has begun before. All checks are repeated after each await, and
 * there is no await between the last check and the lock.
 */
async function startOrAttachToTurn(state: ConversationState, turn: PendingTurn): Promise<TurnAnswer> {
  const { request } = turn;
  const { transcript } = state;
  let shouldPlanInSteps =
    transcript.exceedsRow(request.body.length) || (transcript.isLarge && !transcript.cachedHistory);
  for (;;) {
    state.recoverFromCrash();
    // Finish an interrupted deletion first: its caller got the response that the conversation is deleted, and may begin a new
    // one with the same id.
    if (transcript.storedProfile?.deleted) await state.maintenance.deleteRowsIfReported();
    requireAllowedByRestriction(state, turn);
    if (isRepeatedOrBlocked(state, turn)) {
      const answer = await attachOrReject(state, turn);
      if (answer) return answer;
      continue;
    }
    requireInitialContext(state, turn);
    let planned: NextRequestPlan;
    try {
      if (shouldPlanInSteps) {
        // Once only: a conversation that changes again and again must not keep the turn from beginning.
        shouldPlanInSteps = false;
        const getPlan = await planTurnInterruptibly(state, turn);
        const valid = getPlan();
        if (!valid) continue;
        planned = valid;
      } else planned = planTurn(state, state.visibleProfile, turn);
    } catch (thrown) {
      // If the caller's token is revoked, report that instead of this error: a revoked caller must not learn anything about the
      // conversation.
      await requireUnrevokedCaller(createAccountRequest(state, request.caller));
      throw thrown;
    }
    const prerequisite = findFirstPrerequisite(state, turn, planned);
    if (!prerequisite) return await beginTurn(state, turn, planned);
    const work = state.waitBeforeTurn(request.call.key, prerequisite.work);
    if (prerequisite.pings && request.call.stream && !request.edgeOptions.background && !request.parent) {
      const coming = work.then(() => startOrAttachToTurn(state, turn)).catch(toFailedTurnAnswer);
      return await waitForAnswerSendingPings(createTurnId(request), work, coming, {
        requestId: request.call.id,
        waitUntil: state.waitUntil,
      });
    }
    await work;
  }
}

/**
 * Plans a turn in steps, between which other requests run.
 *
 * @returns a function that returns the plan, or undefined if the conversation has changed since. If it has not, all checks have
 *   the same result as before
 */
async function planTurnInterruptibly(
  state: ConversationState,
  turn: PendingTurn,
): Promise<() => NextRequestPlan | undefined> {
  const { transcript, lock } = state;
  const planning = planTurnInSteps(state, state.visibleProfile, turn);
  // The first step may change the conversation itself: it removes code that is lost.
  const first = planning.next();
  const hasTranscriptChanged = transcript.trackChanges();
  const hasChanged = () => hasTranscriptChanged() || !lock.isFree;
  // An error may come from the change: a plan that is made again says so.
  const throwUnlessChanged = (thrown: unknown) => {
    if (!hasChanged()) throw thrown;
    return undefined;
  };
  const planned = first.done
    ? first.value
    : await state.waitBeforeTurn(
        turn.request.call.key,
        runInSteps(continueWork(first.value, planning)).catch(throwUnlessChanged),
      );
  return () => (hasChanged() ? undefined : planned);
}

/** Continues work whose generator has already yielded its first size: yields that size again, so that the pacer counts it. */
function* continueWork<T>(first: number, work: SteppedWork<T>): SteppedWork<T> {
  yield first;
  return yield* work;
}

/** Stores the turn, acquires the lock, and runs the turn. Up to the lock nothing waits. */
async function beginTurn(state: ConversationState, turn: PendingTurn, planned: NextRequestPlan): Promise<TurnAnswer> {
  const { request } = turn;
  const runner = storeTurnAndCreateRunner(state, turn, planned);
  state.lock.acquire(runner);
  // Release the prompt: otherwise, a long one would stay in memory until the answer has ended. The request is sent from
  // `planned.body`, and its messages are stored.
  request.body = '';
  planned.messages = [];
  state.waitUntil(runner.runToEnd(planned));
  return addTruncationHeader(state, await answerStartedTurn(state.transcript, runner, request), planned.sentFrom);
}

function findTurnOfSameRequest(state: ConversationState, { request }: PendingTurn): TurnRow | undefined {
  return findRepeatedTurn(state.transcript, request.call, state.now());
}

/** @returns whether the turn cannot begin now: its request began a turn before, or the conversation is not free */
function isRepeatedOrBlocked(state: ConversationState, turn: PendingTurn): boolean {
  return Boolean(
    findTurnOfSameRequest(state, turn) ||
      state.lock.holder ||
      state.isBeingCopiedOrDeleted ||
      state.pendingApprovalError,
  );
}

/**
 * Attaches a request to the turn that it has begun before, or rejects it because the conversation is not free.
 *
 * @returns undefined if neither applies any more after the await in which the caller's credential was checked
 */
async function attachOrReject(state: ConversationState, turn: PendingTurn): Promise<TurnAnswer | undefined> {
  const { request } = turn;
  await requireUnrevokedCaller(createAccountRequest(state, request.caller));
  // Re-check after the await: the other turn may have ended or failed, or a copied history may have been stored.
  requireAllowedByRestriction(state, turn);
  const repeated = findTurnOfSameRequest(state, turn);
  if (repeated) {
    const answer = await answerRepeatedRequest(state, state.lock.holder, repeated, request);
    return addTruncationHeader(state, answer, repeated.sentFrom);
  }
  requireIdleConversation(state.transcript, state.lock.holder, state.isBeingCopiedOrDeleted);
  const { pendingApprovalError } = state;
  if (pendingApprovalError) throw pendingApprovalError;
  return undefined;
}

/**
 * Requires the prefix or agent of a new conversation: from the request, or the default agent.
 *
 * @throws ApiError 503 if it was not resolved because a conversation existed at that time, which was deleted or whose first
 *   turn has failed in the meantime
 */
function requireInitialContext(state: ConversationState, { request, initialContext }: PendingTurn): void {
  if (initialContext || state.visibleProfile || !hasInitialContext(applyDefaultAgent(request.edgeOptions))) return;
  throw createInterruptedCallError();
}

/** @returns the first thing that must be waited for before a turn begins */
function findFirstPrerequisite(
  state: ConversationState,
  turn: PendingTurn,
  planned: NextRequestPlan,
): TurnPrerequisite | undefined {
  for (const part of state.hooks) {
    const wait = part.findPrerequisite?.(turn, planned);
    if (wait) return wait;
  }
  return undefined;
}

/** @throws ApiError 403 for a restricted token that may not use this conversation */
function requireAllowedByRestriction(state: ConversationState, turn: PendingTurn): void {
  const { request, initialContext } = turn;
  if (!request.caller.only || request.parent) return;
  requireInitialContext(state, turn);
  const refused = getRestrictedTokenGuard().findTurnRestrictionError(
    request.caller,
    state.transcript,
    state.visibleProfile,
    initialContext?.agent,
  );
  if (refused) throw refused;
}

/**
 * @returns the answer with the headers of the plugins. @param hides whether to leave out headers that show how the agent works
 */
function addPluginHeaders(state: ConversationState, answer: TurnAnswer, hides: boolean): TurnAnswer {
  if (answer.kind === 'error') return answer;
  const headers = callHookOfEachPlugin(state, 'headers', (part) => part.headers?.(answer.turn, hides));
  return { ...answer, headers: Object.assign({}, answer.headers, ...headers) as Record<string, string> };
}

/** Adds the header `sluice-history` if the prompt was truncated and no summary replaces the missing turns. */
function addTruncationHeader({ transcript }: ConversationState, answer: TurnAnswer, sentFrom: number): TurnAnswer {
  if (answer.kind === 'error' || !isSummaryMissing(transcript.storedProfile?.history, sentFrom)) return answer;
  return { ...answer, headers: { ...answer.headers, 'sluice-history': 'truncated' } };
}
