/** Makes the summaries of a conversation: behind an answer, or before a turn that would be too long without one. */

import { type RequestOutcome, unanswered } from '../../claude/outcome.ts';
import { withinMoment } from '../../claude/stream.ts';
import type { Identity } from '../../gate/identity/caller.ts';
import { within } from '../../kit/async/timeout.ts';
import { ApiError, finalError } from '../../kit/http/errors.ts';
import { anotherRequestId } from '../../kit/http/headers/request-id.ts';
import { logFailure } from '../../kit/http/log.ts';
import { edit } from '../../kit/json/edit.ts';
import { slot } from '../../kit/rooms/slots.ts';
import { tokensByKind } from '../../money/admission/book-outcome.ts';
import { MeteredExchange } from '../../money/admission/metered-exchange.ts';
import type { RequestMeter } from '../../money/admission/metered-request.ts';
import { whatLimited } from '../../money/admission/what-limited.ts';
import { OF_PREFIX, say } from '../../money/contracts/about.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import type { ObjectContext } from '../../talk/answers/object-context.ts';
import { layerOf } from '../../talk/conversations/named-beginning.ts';
import type { AskedTurn, OpenPart, Wait } from '../../talk/conversations/parts.ts';
import { retainedAgent } from '../../talk/conversations/retained-agent.ts';
import { CONFIRM_MS, type TurnSettlements } from '../../talk/conversations/turn-settlements.ts';
import { OF_AGENT } from '../../talk/history/agent-in-use.ts';
import { ANSWERED } from '../../talk/history/new-messages.ts';
import type { NextRequest } from '../../talk/history/next-request.ts';
import { BEGINS, KEEPS } from '../../talk/history/shares.ts';
import { PIECE_CHARACTERS } from '../../talk/storage/message-text.ts';
import { type Profile, refOf } from '../../talk/storage/rows.ts';
import { NEW_SUMMARY, type SummaryRow } from '../../talk/storage/summary-rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { lastCommitted, latestTurn } from '../../talk/storage/turn-queries.ts';
import { stopped, TurnAbort } from '../../talk/turn/turn-abort.ts';
import { conversationReportOf } from '../../talk/turn/turn-ending.ts';
import { ADMIT_MS } from '../../talk/turn/turn-runner.ts';
import { newShare, takeRoom } from '../runs/run-room.ts';
import { isRun } from '../runs/stored-run.ts';
import {
  askForSummary,
  grantOfNextTry,
  headersOfSummary,
  placeOf,
  type SummaryCause,
  tokensOfSummary,
  withoutBlocks,
} from './ask-for-summary.ts';
import { mayBegin, nextSummary, type PlannedSummary, sayInWords } from './summarize.ts';
import { mayWrite, summaryRequest } from './summary-request.ts';

/** Whether a summary was tried before this turn. */
const TRIED = slot<boolean>('summary');
/** The name of summaries in the ledger and the usage. */
const ROUTE = 'summary';
/** How often the alarm looks after one, and repeats a settlement; milliseconds. */
const SUMMARY_WATCH_MS = 15_000;
/** How long a turn waits for one; milliseconds. */
const SUMMARY_WAIT_MS = 20_000;
/** How much later than its wake an object that died may have lost its connection; milliseconds. */
const LATE_CUT_MS = 1_000;

/** The most characters of a request that stay in memory for a summary behind its answer. A longer one waits for the next turn. */
const LONGEST_REST = 262_144;

/** What making summaries needs from its object. */
interface SummarizingObject extends ObjectContext {
  maintenance: { settlements: Pick<TurnSettlements, 'meterOf'>; rest(): void };
}

/** Makes summaries. It holds no lock: turns go on meanwhile, and a summary that comes late serves the next one. */
export class Summarizer implements OpenPart {
  readonly #context: SummarizingObject;
  /** The request of the newest turn, whose prompt is in the cache. */
  #cause: SummaryCause | undefined;
  #running: { by: Identity; abort: TurnAbort; done: Promise<void> } | undefined;

  constructor(context: SummarizingObject) {
    this.#context = context;
  }

  /** Whether one is being made, or is not settled. Until then nothing may be deleted. */
  isBusy(): boolean {
    return this.#running !== undefined || this.#context.transcript.summaries.hasUnsettled;
  }

  /** Who has asked for the turn to which a summary belongs that is being made. */
  by(): Identity | undefined {
    return this.#running?.by;
  }

  /**
   * Notes the request of a turn that begins. A summary has the same prompt, and its account pays.
   */
  begin({ request: { body, ...request } }: AskedTurn, { run }: NextRequest): void {
    const text = this.#wants() ? (run?.rest ?? edit(body, { messages: '[]' })) : undefined;
    this.#cause = text !== undefined && text.length <= LONGEST_REST ? { request, rest: text } : undefined;
  }

  /** Begins a summary behind an answer whose prompt was in the cache, where it costs a tenth. */
  ended(): void {
    const cause = this.#cause;
    if (!cause) return;
    try {
      const last = latestTurn(this.#context.transcript);
      if (last?.status !== 'complete' || !last.outcome?.usage?.cache_read_input_tokens) return;
      const planned = this.#plan(BEGINS);
      if (planned) this.#context.waitUntil(this.#make(cause, planned));
    } catch (thrown) {
      // The turn has ended well. What is damaged fails the next one, and says so.
      logFailure({ conversation: cause.request.place.id }, thrown);
    }
  }

  /** Has a turn that is too long without a summary wait for one. One that was tried already is not tried again. */
  before({ request: { body, ...request }, memory }: AskedTurn, planned: NextRequest): Wait | undefined {
    if (!planned.isTruncated || planned.follows || memory.get(TRIED)) return undefined;
    memory.set(TRIED, true);
    return { work: this.#makeBefore({ request, rest: edit(body, { messages: '[]' }) }), pings: true };
  }

  /** Makes a summary before a turn, and waits for it, or the one that is being made, for a while. */
  async #makeBefore(cause: SummaryCause): Promise<void> {
    // With its new messages the turn is longer than what is stored.
    const planned = this.#plan(KEEPS);
    if (planned) this.#context.waitUntil(this.#make(cause, planned));
    if (this.#running) await withinMoment(this.#running.done, SUMMARY_WAIT_MS);
  }

  /** Has the words of a block go up where another upstream answers now than the one that made it. */
  prepare(): void {
    const { transcript, upstream } = this.#context;
    if (transcript.summaries.given > 0) sayOthersInWords(transcript, placeOf(upstream()));
  }

  /** Ends what is being made. What it has cost is settled. */
  async stop(): Promise<void> {
    this.#running?.abort.stop();
    await this.#running?.done;
  }

  /** Settles what a crash has interrupted, and what was not confirmed. */
  settle(): void {
    if (this.#running) return;
    const { transcript, now, waitUntil } = this.#context;
    for (const row of transcript.summaries.unsettled()) {
      const outcome = row.outcome ?? unanswered({ sentAt: row.sentAt ?? undefined }, now() + LATE_CUT_MS);
      const meter = this.#context.maintenance.settlements.meterOf(row);
      if (row.status === 'running') waitUntil(this.#end(row, outcome, { status: 'failed' }, meter));
      else waitUntil(this.#settle(row, outcome, meter, row.cost));
    }
  }

  #wants(): boolean {
    return this.#context.transcript.profile?.history?.strategy === 'summarize';
  }

  #plan(filled: number): PlannedSummary | undefined {
    const { transcript } = this.#context;
    if (!this.#wants() || this.#running || !mayBegin(transcript, lastCommitted(transcript))) return undefined;
    return nextSummary(transcript, filled);
  }

  /** Makes one. Never rejects: without a summary the turn is sent without its oldest messages. */
  async #make(cause: SummaryCause, planned: PlannedSummary): Promise<void> {
    const { transcript, now, alarm, maintenance } = this.#context;
    const { profile, summaries } = transcript;
    if (!profile) return;
    const done = Promise.withResolvers<void>();
    const abort = new TurnAbort();
    this.#running = { by: cause.request.identity, abort, done: done.promise };
    const row: SummaryRow = {
      ...NEW_SUMMARY,
      id: summaries.given + 1,
      until: planned.until,
      turn: lastCommitted(transcript),
      requestId: anotherRequestId(cause.request.requestId),
      beganAt: now(),
    };
    // Whatever fails from here on: who waits for it must go on.
    try {
      transcript.together(() => {
        summaries.add(row);
        transcript.save({ ...profile, summaries: row.id });
      });
      alarm.watch(now() + SUMMARY_WATCH_MS);
      await this.#ask(cause, planned, row, abort);
    } catch (thrown) {
      logFailure({ conversation: profile.id, summary: String(row.id) }, thrown);
      // What could not be stored is settled by the alarm.
      alarm.wakeFor(now() + SUMMARY_WATCH_MS);
    } finally {
      this.#running = undefined;
      done.resolve();
      maintenance.rest();
    }
  }

  async #ask(
    { request, rest }: SummaryCause,
    planned: PlannedSummary,
    row: SummaryRow,
    abort: TurnAbort,
  ): Promise<void> {
    const { transcript, env, waitUntil, now } = this.#context;
    const { profile, summaries } = transcript;
    const settings = this.#context.settings();
    const upstream = this.#context.upstream();
    // The messages of a prefix come first, where only a block could stand.
    let place = profile?.prefix ? undefined : placeOf(upstream);
    const agent = retainedAgent(this.#context);
    const needed = agent?.definition.betas ?? [];
    const headers = headersOfSummary(request.headers, upstream, needed, place !== undefined);
    const options = { transcript, settings, agent, betas: headers['anthropic-beta'], isRun: isRun(request) };
    let meter: Pick<RequestMeter, 'settle'> | undefined;
    let paid: MeteredExchange | undefined;
    let isAskedAgain = false;
    const share = newShare();
    const { signal } = abort.controller;
    /** Waits for the account, which may not answer, and for what else may take too long before it goes up. */
    const soon = <T>(work: Promise<T>): Promise<T> => within(abort.race(work), ADMIT_MS + settings.HOLD_WAIT_MS);
    let change: Partial<SummaryRow> = { status: 'failed' };
    let outcome: RequestOutcome = unanswered({ sentAt: undefined }, now());
    try {
      const lay = layerOf(this.#context, profile);
      const build = async () => {
        // Meanwhile the history may have been rewound to before its end.
        if (summaries.get(row.id)?.status !== 'running') throw stopped();
        const { body, model } = summaryRequest(rest, planned, place !== undefined, options);
        return { body: lay ? (await soon(lay(body))).body : body, model };
      };
      const bytes = transcript.cachedHistory?.history.bytes.length ?? transcript.bytes;
      const { account, id: conversation } = request.place;
      await takeRoom(share, bytes, ADMIT_MS, { account, conversation, signal });
      const { body, model } = await build();
      const most = place === undefined ? undefined : mayWrite(body, planned.most);
      row.model = model;
      paid = new MeteredExchange(
        {
          ...{ requestId: row.requestId, identity: request.identity, accounts: env, store: env.STORE, settings },
          ...{ upstream, waitUntil, model, route: ROUTE, conversation, adds: 0, body, headers, streams: true },
          about: {
            ...say(OF_PREFIX, profile?.prefix ? refOf(profile.prefix) : undefined),
            ...say(OF_AGENT, profile?.agent ? refOf(profile.agent) : undefined),
          },
          mayWrite: most,
          signal,
        },
        {
          modelInBody: model,
          onAsking: () => {
            isAskedAgain = true;
            const next = { grant: grantOfNextTry(row, now()), sentAt: null };
            summaries.change(row.id, next);
            Object.assign(row, next);
          },
        },
      );
      const exchange = paid;
      await soon(exchange.open());
      const ask = async () => {
        isAskedAgain = false;
        meter = exchange.meter;
        const { granted } = exchange;
        // A shorter one might not come to its end, and would be paid for nothing.
        if (granted.maxTokens !== undefined) {
          throw finalError('billing_error', 'What is left of the budget does not cover a summary.', { status: 429 });
        }
        const grant = { ...granted.grant, requestId: granted.requestId };
        Object.assign(row, { grant, sentAt: now() });
        // Before it goes up, its row says that it does: a crash would cost something now.
        summaries.change(row.id, { grant, sentAt: row.sentAt, model });
        const asking = { headers, upstream, settings, signal, place, mayWrite: place === undefined ? undefined : most };
        return await askForSummary(exchange, { query: request.query, ...asking });
      };
      let asked = await ask();
      if (asked.lacksBlocks) {
        place = undefined;
        const again = { body: (await build()).body, mayWrite: undefined };
        await soon(exchange.restart(again, asked.outcome));
        asked = await ask();
        // Only now is it known that nothing else was wrong.
        if (asked.outcome.completed) withoutBlocks.add(upstream);
      }
      const { text, tokens } = asked;
      outcome = asked.outcome;
      // One that leaves no room for what stays would be paid again and again, and never be sent.
      if (text !== undefined && text.length <= PIECE_CHARACTERS && tokens <= planned.room)
        change = { status: 'complete', text, tokens, place: place ?? null };
    } catch (thrown) {
      // Where the account cannot hold it, or it is too large, the turn goes on without a summary.
      if (!(thrown instanceof ApiError))
        logFailure({ conversation: profile?.id ?? '', summary: String(row.id) }, thrown);
      // What others hold costs nothing, and says nothing of the next one: it is begun with the next answer.
      const { isOwn, passes } = thrown instanceof ApiError ? whatLimited(thrown) : {};
      if (isOwn && passes === 'soon') change = { status: 'void' };
      // The account may have placed a hold although its answer was lost.
      const isRefused = thrown instanceof ApiError && thrown.status < 500 && !abort.isStopped;
      if (!isAskedAgain) meter = paid?.meter;
      else meter = isRefused ? undefined : this.#context.maintenance.settlements.meterOf(row);
    } finally {
      share.leave();
    }
    await this.#end(row, outcome, change, meter);
  }

  /** Stores how it has ended, and settles it. */
  async #end(
    row: SummaryRow,
    outcome: RequestOutcome,
    change: Partial<SummaryRow>,
    meter: Pick<RequestMeter, 'settle'> | undefined,
  ): Promise<void> {
    const { transcript } = this.#context;
    const { profile, summaries } = transcript;
    if (!profile) return;
    // Meanwhile the history may have been rewound to before its end.
    const status = summaries.get(row.id)?.status === 'running' ? change : { status: 'void' as const };
    const ended = { ...row, ...status, outcome, settled: meter === undefined };
    summaries.change(row.id, { ...status, outcome, settled: ended.settled });
    if (meter) await this.#settle(ended, outcome, meter, 0);
  }

  /** @param known the part of its cost that the profile has already */
  async #settle(
    row: SummaryRow,
    outcome: RequestOutcome,
    meter: Pick<RequestMeter, 'settle'>,
    known: number,
  ): Promise<void> {
    const { transcript, alarm, now } = this.#context;
    const { profile, summaries } = transcript;
    if (!profile) return;
    const own = outcome.completed ? tokensOfSummary(outcome) : undefined;
    const opening = { route: ROUTE, model: row.model, conversation: profile.id };
    const { nanodollars, done } = meter.settle(outcome, {
      ...{ opening, startedAt: row.beganAt, ms: now() - row.beganAt },
      ...(own && { tokens: tokensByKind(own, row.grant?.terms?.cache === '1h' ? '1h' : '5m') }),
      // A report of a turn that is on its way must not replace this one.
      conversation: conversationReportOf({ ...profile, version: this.#nextVersion(profile) }, known),
    });
    this.#noteCost(row.id, known, nanodollars);
    try {
      const settled: Settled = await within(done, CONFIRM_MS);
      if (!transcript.profile) return;
      if (settled.outcome !== 'erased') this.#noteCost(row.id, summaries.get(row.id)?.cost ?? 0, settled.cost);
      summaries.change(row.id, { settled: true });
    } catch {
      alarm.wakeFor(now() + SUMMARY_WATCH_MS);
    }
  }

  /** Adds its cost to the conversation's. */
  #noteCost(id: number, before: number, cost: number): void {
    const { transcript } = this.#context;
    const { profile } = transcript;
    if (!profile || !Number.isFinite(cost) || cost === before) return;
    transcript.summaries.change(id, { cost });
    const version = this.#nextVersion(profile);
    transcript.save({ ...profile, version, cost: profile.cost + cost - before } satisfies Profile);
  }

  #nextVersion({ version }: Profile): number {
    return Math.max(version + 1, this.#context.now());
  }
}

/**
 * Has the words of each block go up that could go up next and that another upstream has made.
 *
 * @param place the upstream that answers now, if it makes blocks
 */
function sayOthersInWords(transcript: Transcript, place: string | undefined): void {
  const { summaries, profile } = transcript;
  // A tool loop goes on behind what it has begun behind, which may be another one than the latest.
  const looped = latestTurn(transcript, [...ANSWERED, 'empty'])?.sentFrom ?? 0;
  for (const id of new Set([summaries.latest()?.id ?? 0, -looped, -(profile?.sentFrom ?? 0)])) {
    const own = id > 0 ? summaries.get(id)?.place : null;
    if (own && own !== place) sayInWords(transcript, id);
  }
}
