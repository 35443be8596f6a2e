/** Makes one summary: builds its request, has it admitted, and sends it. */
import { createUnansweredOutcome, type RequestOutcome } from '../../claude/outcome.ts';
import { OF_AGENT } from '../../conversations/history/agent-in-use.ts';
import { PIECE_CHARACTERS } from '../../conversations/history/storage/message-text.ts';
import { formatVersionReference } from '../../conversations/history/storage/rows.ts';
import { isRunEvenWithoutTools } from '../../conversations/object/begin-turn.ts';
import type { StartedTurnRequest } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { createPrefixApplier, readRetainedAgent } from '../../conversations/object/initial-context.ts';
import { createMemoryShare, waitForMemory } from '../../conversations/turn/reserve-memory.ts';
import { createTurnStoppedError, type TurnAborter } from '../../conversations/turn/turn-abort.ts';
import { ADMIT_MS } from '../../conversations/turn/turn-executor.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import { ApiError, createNonRetryableError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { BilledRequest } from '../../money/admission/billed-request.ts';
import { parseLimitingCause } from '../../money/admission/limitation.ts';
import { createDimensionValue, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import { OF_SUMMARIES, type SettleableSummary, type SummarySettler } from './paid-summaries.ts';
import { createSummaryHeaders, requestSummary } from './request-summary.ts';
import type { SummaryPlan } from './summarize.ts';
import { createSummaryRequest } from './summary-request.ts';
import { getSummaryRows, type SummaryRow } from './summary-rows.ts';

/** The request of a turn, and its body without messages. */
export interface TurnRequestToSummarize {
  request: StartedTurnRequest;
  rest: string;
}

/** A summary that is made: its plan, and its row, which is stored. */
interface PendingSummary {
  planned: SummaryPlan;
  row: SummaryRow;
  paid: SummarySettler;
  /** Ends it. */
  abort: TurnAborter;
}

/** Makes a summary, and stores how it has ended. */
export async function makeSummary(
  conversation: ConversationContext,
  { request, rest }: TurnRequestToSummarize,
  { planned, row, paid: summaries, abort }: PendingSummary,
): Promise<void> {
  const { transcript, env, waitUntil, now, maintenance } = conversation;
  const { storedProfile: profile } = transcript;
  const settings = conversation.settings();
  const upstream = conversation.getUpstream();
  const agent = readRetainedAgent(conversation);
  const headers = createSummaryHeaders(request.headers, upstream, agent?.definition.betas ?? []);
  const { signal } = abort.controller;
  const { account, id } = request.conversationKey;
  const share = createMemoryShare();
  let billed: BilledRequest | undefined;
  /** The attempt to settle while the account is called for it. */
  let expected: SettleableSummary;
  let isRefused = false;
  let change: Partial<SummaryRow> = { status: 'failed' };
  let outcome: RequestOutcome = createUnansweredOutcome({ sentAt: undefined }, now());
  /** Waits for the account, which may not answer, and for what else may take too long before it is sent. */
  const waitWithinTime = <T>(work: Promise<T>): Promise<T> =>
    waitWithTimeout(abort.raceWithAbort(work), ADMIT_MS + settings.HOLD_WAIT_MS);
  try {
    const lay = createPrefixApplier(conversation, profile);
    const buildSummaryRequest = async () => {
      // Re-check after the await: a rewind to before the end of the summarized messages makes the summary unusable.
      if (getSummaryRows(transcript).get(row.id)?.status !== 'running') throw createTurnStoppedError();
      const options = {
        transcript,
        settings,
        agent,
        betas: headers['anthropic-beta'],
        isRunEvenWithoutTools: isRunEvenWithoutTools(request),
      };
      const { body, model } = createSummaryRequest(rest, planned, options);
      return { body: lay ? (await waitWithinTime(lay(body))).body : body, model };
    };
    const bytes = transcript.cachedHistory?.history.joinedBytes.length ?? transcript.bytes;
    await waitForMemory(share, bytes, ADMIT_MS, { account, conversation: id, signal });
    const { body, model } = await buildSummaryRequest();
    row.model = model;
    billed = new BilledRequest(
      {
        requestId: row.requestId,
        identity: request.caller,
        accounts: env,
        store: env.STORE,
        settings,
        upstream,
        waitUntil,
        model,
        route: OF_SUMMARIES,
        conversation: id,
        newCharacters: 0,
        body,
        headers,
        streams: true,
        dimensions: {
          ...createDimensionValue(OF_PREFIX, profile?.prefix ? formatVersionReference(profile.prefix) : undefined),
          ...createDimensionValue(OF_AGENT, profile?.agent ? formatVersionReference(profile.agent) : undefined),
        },
        signal,
      },
      {
        modelInBody: model,
        onReserving: () => {
          summaries.recordAdmissionAttempt(row);
          expected = maintenance.settlements.restoreAttempt(row);
        },
      },
    );
    await waitWithinTime(billed.reserve());
    expected = undefined;
    // Do not send the request if the budget only allows fewer output tokens: the summary might be cut off, and would be paid
    // for without being used.
    if (billed.latestAttempt.admission?.maxTokens !== undefined)
      throw createNonRetryableError(
        'billing_error',
        'The remaining budget cannot pay for a summary. Ask an admin to raise the limit, or change `history.strategy`.',
        {
          status: 429,
        },
      );
    summaries.recordSent(row, billed.latestAttempt);
    const asking = { query: request.query, headers, upstream, settings, signal };
    const { text, tokens, ...asked } = await requestSummary(billed, asking);
    outcome = asked.outcome;
    // Reject a summary that is too long to be sent together with the remaining turns. If it were stored, each turn would make
    // and pay for another one.
    if (text !== undefined && text.length <= PIECE_CHARACTERS && tokens <= planned.room)
      change = { status: 'complete', text, tokens };
  } catch (thrown) {
    // Log only unexpected errors. If the budget is too low or the request too large, the turn continues without a summary.
    const error = thrown instanceof ApiError ? thrown : undefined;
    if (!error) logBackgroundFailure({ conversation: profile?.id ?? '', summary: String(row.id) }, thrown);
    // Do not count this as a failure if only the holds of other requests are in the way: the next answer starts another
    // attempt.
    const { isOwn, passes } = error ? parseLimitingCause(error) : {};
    if (isOwn && passes === 'soon') change = { status: 'void' };
    isRefused = error !== undefined && error.status < 500 && !abort.isStopped;
  } finally {
    share.releaseMemory();
  }
  // If the account's response was lost, it may have placed a hold anyway, so settle the expected attempt.
  const attempt = expected ? (isRefused ? undefined : expected) : billed?.attempts.at(-1);
  await summaries.storeAndSettleSummary(row, outcome, change, attempt);
}
