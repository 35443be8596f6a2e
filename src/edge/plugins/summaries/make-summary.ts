/** Makes one summary: builds its request, has it admitted, and asks for it. */
import { createUnansweredOutcome, type RequestOutcome } from '../../claude/outcome.ts';
import { OF_AGENT } from '../../conversations/history/agent-in-use.ts';
import { PIECE_CHARACTERS } from '../../conversations/history/storage/message-text.ts';
import { refOf } from '../../conversations/history/storage/rows.ts';
import { isRun } from '../../conversations/object/begin-turn.ts';
import type { StartedRequest } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { createPrefixApplier, retainedAgent } from '../../conversations/object/initial-context.ts';
import { newShare, reserveMemory } from '../../conversations/turn/reserve-memory.ts';
import { stoppedError, type TurnAbort } from '../../conversations/turn/turn-abort.ts';
import { ADMIT_MS } from '../../conversations/turn/turn-executor.ts';
import { withTimeout } from '../../kit/async/timeout.ts';
import { ApiError, finalError } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { limitationOf } from '../../money/admission/limitation.ts';
import { MeteredExchange } from '../../money/admission/metered-exchange.ts';
import { dimensionValue, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import { OF_SUMMARIES, type PaidSummaries, type SummaryMeter } from './paid-summaries.ts';
import { requestSummary, summaryHeaders } from './request-summary.ts';
import type { PlannedSummary } from './summarize.ts';
import { createSummaryRequest } from './summary-request.ts';
import { type SummaryRow, summaryRowsOf } from './summary-rows.ts';

/** The request of a turn, and its body without messages. */
export interface SummaryCause {
  request: StartedRequest;
  rest: string;
}

/** A summary that is made: its plan, and its row, which is stored. */
interface PendingSummary {
  planned: PlannedSummary;
  row: SummaryRow;
  paid: PaidSummaries;
  /** Ends it. */
  abort: TurnAbort;
}

/** Makes a summary, and stores how it has ended. */
export async function makeSummary(
  conversation: ConversationContext,
  { request, rest }: SummaryCause,
  { planned, row, paid: summaries, abort }: PendingSummary,
): Promise<void> {
  const { transcript, env, waitUntil, now, maintenance } = conversation;
  const { profile } = transcript;
  const settings = conversation.settings();
  const upstream = conversation.upstream();
  const agent = retainedAgent(conversation);
  const headers = summaryHeaders(request.headers, upstream, agent?.definition.betas ?? []);
  const { signal } = abort.controller;
  const { account, id } = request.place;
  const share = newShare();
  let paid: MeteredExchange | undefined;
  /** While the account is asked for another try: settles that. */
  let expected: SummaryMeter;
  let isRefused = false;
  let change: Partial<SummaryRow> = { status: 'failed' };
  let outcome: RequestOutcome = createUnansweredOutcome({ sentAt: undefined }, now());
  /** Waits for the account, which may not answer, and for what else may take too long before it goes up. */
  const withinTime = <T>(work: Promise<T>): Promise<T> =>
    withTimeout(abort.race(work), ADMIT_MS + settings.HOLD_WAIT_MS);
  try {
    const lay = createPrefixApplier(conversation, profile);
    const build = async () => {
      // Meanwhile the history may have been rewound to before its end.
      if (summaryRowsOf(transcript).get(row.id)?.status !== 'running') throw stoppedError();
      const options = { transcript, settings, agent, betas: headers['anthropic-beta'], isRun: isRun(request) };
      const { body, model } = createSummaryRequest(rest, planned, options);
      return { body: lay ? (await withinTime(lay(body))).body : body, model };
    };
    const bytes = transcript.cachedHistory?.history.bytes.length ?? transcript.bytes;
    await reserveMemory(share, bytes, ADMIT_MS, { account, conversation: id, signal });
    const { body, model } = await build();
    row.model = model;
    const exchange = new MeteredExchange(
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
        adds: 0,
        body,
        headers,
        streams: true,
        about: {
          ...dimensionValue(OF_PREFIX, profile?.prefix ? refOf(profile.prefix) : undefined),
          ...dimensionValue(OF_AGENT, profile?.agent ? refOf(profile.agent) : undefined),
        },
        signal,
      },
      {
        modelInBody: model,
        onAsking: () => {
          summaries.expect(row);
          expected = maintenance.settlements.meterOf(row);
        },
      },
    );
    paid = exchange;
    await withinTime(exchange.open());
    expected = undefined;
    // A shorter one might not come to its end, and would be paid for nothing.
    if (exchange.admission.maxTokens !== undefined)
      throw finalError('billing_error', 'What is left of the budget does not cover a summary.', { status: 429 });
    summaries.send(row, exchange.admission);
    const asking = { query: request.query, headers, upstream, settings, signal };
    const { text, tokens, ...asked } = await requestSummary(exchange, asking);
    outcome = asked.outcome;
    // A summary that leaves too few tokens for the turns that stay would be paid again and again, and never be sent.
    if (text !== undefined && text.length <= PIECE_CHARACTERS && tokens <= planned.room)
      change = { status: 'complete', text, tokens };
  } catch (thrown) {
    // Where the account cannot hold it, or it is too large, the turn goes on without a summary.
    const error = thrown instanceof ApiError ? thrown : undefined;
    if (!error) logFailure({ conversation: profile?.id ?? '', summary: String(row.id) }, thrown);
    // What others hold costs nothing, and says nothing of the next one: it is begun with the next answer.
    const { isOwn, passes } = error ? limitationOf(error) : {};
    if (isOwn && passes === 'soon') change = { status: 'void' };
    isRefused = error !== undefined && error.status < 500 && !abort.isStopped;
  } finally {
    share.release();
  }
  // The account may have placed a hold although its answer was lost.
  const meter = expected ? (isRefused ? undefined : expected) : paid?.meter;
  await summaries.end(row, outcome, change, meter);
}
