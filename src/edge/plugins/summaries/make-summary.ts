/** Makes one summary: builds its request, has it admitted, and asks for it. */
import { type RequestOutcome, unanswered } from '../../claude/outcome.ts';
import { OF_AGENT } from '../../conversations/history/agent-in-use.ts';
import { PIECE_CHARACTERS } from '../../conversations/history/storage/message-text.ts';
import { refOf } from '../../conversations/history/storage/rows.ts';
import { isRun } from '../../conversations/object/begin-turn.ts';
import type { BegunRequest } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { layerOf, retainedAgent } from '../../conversations/object/initial-context.ts';
import { newShare, reserveMemory } from '../../conversations/turn/reserve-memory.ts';
import { stopped, type TurnAbort } from '../../conversations/turn/turn-abort.ts';
import { ADMIT_MS } from '../../conversations/turn/turn-executor.ts';
import { within } from '../../kit/async/timeout.ts';
import { ApiError, finalError } from '../../kit/http/errors.ts';
import { logFailure } from '../../kit/http/log.ts';
import { MeteredExchange } from '../../money/admission/metered-exchange.ts';
import { whatLimited } from '../../money/admission/what-limited.ts';
import { dimensionValue, OF_PREFIX } from '../../money/contracts/dimensions.ts';
import { askForSummary, headersOfSummary } from './ask-for-summary.ts';
import { OF_SUMMARIES, type PaidSummaries, type SummaryMeter } from './paid-summaries.ts';
import type { PlannedSummary } from './summarize.ts';
import { summaryRequest } from './summary-request.ts';
import { type SummaryRow, summariesIn } from './summary-rows.ts';

/** The request of a turn, and its body without messages. */
export interface SummaryCause {
  request: BegunRequest;
  rest: string;
}

/** A summary that is made: its plan, and its row, which is stored. */
interface MakingSummary {
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
  { planned, row, paid: summaries, abort }: MakingSummary,
): Promise<void> {
  const { transcript, env, waitUntil, now, maintenance } = conversation;
  const { profile } = transcript;
  const settings = conversation.settings();
  const upstream = conversation.upstream();
  const agent = retainedAgent(conversation);
  const headers = headersOfSummary(request.headers, upstream, agent?.definition.betas ?? []);
  const { signal } = abort.controller;
  const { account, id } = request.place;
  const share = newShare();
  let paid: MeteredExchange | undefined;
  /** While the account is asked for another try: settles that. */
  let expected: SummaryMeter;
  let isRefused = false;
  let change: Partial<SummaryRow> = { status: 'failed' };
  let outcome: RequestOutcome = unanswered({ sentAt: undefined }, now());
  /** Waits for the account, which may not answer, and for what else may take too long before it goes up. */
  const soon = <T>(work: Promise<T>): Promise<T> => within(abort.race(work), ADMIT_MS + settings.HOLD_WAIT_MS);
  try {
    const lay = layerOf(conversation, profile);
    const build = async () => {
      // Meanwhile the history may have been rewound to before its end.
      if (summariesIn(transcript).get(row.id)?.status !== 'running') throw stopped();
      const options = { transcript, settings, agent, betas: headers['anthropic-beta'], isRun: isRun(request) };
      const { body, model } = summaryRequest(rest, planned, options);
      return { body: lay ? (await soon(lay(body))).body : body, model };
    };
    const bytes = transcript.cachedHistory?.history.bytes.length ?? transcript.bytes;
    await reserveMemory(share, bytes, ADMIT_MS, { account, conversation: id, signal });
    const { body, model } = await build();
    row.model = model;
    const exchange = new MeteredExchange(
      {
        ...{ requestId: row.requestId, identity: request.caller, accounts: env, store: env.STORE, settings },
        ...{ upstream, waitUntil, model, route: OF_SUMMARIES, conversation: id, adds: 0, body, headers, streams: true },
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
    await soon(exchange.open());
    expected = undefined;
    // A shorter one might not come to its end, and would be paid for nothing.
    if (exchange.granted.maxTokens !== undefined)
      throw finalError('billing_error', 'What is left of the budget does not cover a summary.', { status: 429 });
    summaries.send(row, exchange.granted);
    const asking = { query: request.query, headers, upstream, settings, signal };
    const { text, tokens, ...asked } = await askForSummary(exchange, asking);
    outcome = asked.outcome;
    // One that leaves no room for what stays would be paid again and again, and never be sent.
    if (text !== undefined && text.length <= PIECE_CHARACTERS && tokens <= planned.room)
      change = { status: 'complete', text, tokens };
  } catch (thrown) {
    // Where the account cannot hold it, or it is too large, the turn goes on without a summary.
    const error = thrown instanceof ApiError ? thrown : undefined;
    if (!error) logFailure({ conversation: profile?.id ?? '', summary: String(row.id) }, thrown);
    // What others hold costs nothing, and says nothing of the next one: it is begun with the next answer.
    const { isOwn, passes } = error ? whatLimited(error) : {};
    if (isOwn && passes === 'soon') change = { status: 'void' };
    isRefused = error !== undefined && error.status < 500 && !abort.isStopped;
  } finally {
    share.leave();
  }
  // The account may have placed a hold although its answer was lost.
  const meter = expected ? (isRefused ? undefined : expected) : paid?.meter;
  await summaries.end(row, outcome, change, meter);
}
