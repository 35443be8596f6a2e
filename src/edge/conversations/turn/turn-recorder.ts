/** One turn while it runs, and its end. The end is the same code for a turn that completes, is stopped, or is interrupted. */
import { createUnreadableError } from '../../claude/failure.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { SendProgress } from '../../claude/send-progress.ts';
import { ADVISOR_BLOCK, HiddenOutputClock } from '../../claude/usage/hidden-output.ts';
import { parseEventTypeFromData } from '../../claude/usage/usage-reader.ts';
import { measureVisibleOutput } from '../../claude/usage/writing-speeds.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { parseEventRememberingInput } from '../../kit/json/input-texts.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { parseSseEvents, type SseEvent, SseEventReader } from '../../kit/sse/frames.ts';
import type { BilledAttempt, SettledCost } from '../../money/admission/billed-attempt.ts';
import type { RemainingBudget } from '../../money/admission/budget-left.ts';
import { createDimensionValue } from '../../money/contracts/dimensions.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import { OF_AGENT } from '../history/agent-in-use.ts';
import { forgetLostContainerOnError, getContainerOfMessage } from '../history/container.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import { hideResultsAfterRefusal } from '../history/refused-results.ts';
import { addTurnToCachedHistory } from '../history/storage/history-cache.ts';
import { formatVersionReference, type StoredOutcome, type TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { listMessageNumbersOfTurn, listToolsWithConsumedResults } from '../history/storage/turn-queries.ts';
import { buildTurnOutcome, countInputTokens, type UnseenOutputTimings } from './answer-report.ts';
import { type EventWriter, TurnEventLog } from './event-log.ts';
import { MessageBuilder } from './message-builder.ts';
import { planTurnEnd } from './plan-turn-end.ts';
import { EventRepairer } from './repair-events.ts';
import { type PlannedTurnEnd, storeTurnEnd } from './store-end.ts';
import type { StepOrRecoveryOptions } from './turn-context.ts';
import {
  addEndEvents,
  buildFinalMessage,
  createConversationReport,
  type StreamPieceContents,
  type TurnEnd,
  type TurnResult,
} from './turn-ending.ts';
import { TurnGrantStore } from './turn-grants.ts';

/** Types of blocks without any effect. */
const EFFECTLESS_TYPES = new Set(['text', 'thinking', 'redacted_thinking']);

type SettleableAttempt = Pick<BilledAttempt, 'settle'>;

/** An answer that is still read after the end of its turn. */
interface AnswerReadAfterEnd {
  /** The final outcome, by which the turn is settled. Never rejects. */
  outcome: Promise<StoredOutcome>;
  /** When it ends at the latest; milliseconds since 1970. */
  until: number;
}

/** The cost and usage of a turn. */
interface TurnSpending {
  /** With the cost of its earlier attempts; without that of the last one if only its account knows it. */
  cost: Nanodollars;
  /** Output tokens as in the ledger; an estimate if the upstream did not report them. */
  outputTokens: number;
  /** The cost and the remaining budget that are reported to the caller. */
  reported: { cost: Nanodollars | undefined; budget?: RemainingBudget | undefined };
}

export class TurnRecorder {
  readonly row: TurnRow;
  readonly grants: TurnGrantStore;
  readonly maxTokens: number;
  /** The log that stores and shows the events: for a step, that of its run. */
  readonly log: TurnEventLog;
  readonly builder: MessageBuilder;
  /** The status of the upstream's response. */
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** The container that the request names. */
  container: string | undefined;
  /** How far the request has gone. */
  readonly progress: SendProgress = { sentAt: undefined };
  firstByteAt: number | undefined;
  /** When its answer last had content other than pings. Milliseconds since 1970; undefined before its beginning. */
  lastContentAt: number | undefined;
  /** Whether a caller may know that the turn has begun. From then on its question stays in the history. Compare `isReported`. */
  isAcknowledged = false;
  /** Set once the turn has ended. */
  result: TurnResult | undefined;
  /** Whether a caller may have got the response that the turn continues in the background, as in `TurnHandle`. */
  isReported = false;
  readonly #transcript: Transcript;
  readonly #events: EventWriter;
  readonly #frames: SseEventReader;
  readonly #repairer: EventRepairer;
  /** Bytes of the upstream's stream. */
  #bytes: number;
  #clock: HiddenOutputClock | undefined;
  /** When the current piece came. */
  #now = 0;
  readonly #options: Omit<StepOrRecoveryOptions, 'messageSteps'>;
  /** Set by `ReadAfterStop` before the end of a turn whose answer is still read after it. */
  lateReading: AnswerReadAfterEnd | undefined;
  /** The tokens of its prompt, where nothing of its answer had come and they were counted. */
  #promptTokens: number | undefined;
  /** The shown events at the end, and the events that arrived after it. */
  #shown: string | undefined;
  #lateText = '';
  /** Stores its messages; undefined once all of them are stored. */
  #messageSteps: SteppedWork<void> | undefined;

  constructor(transcript: Transcript, row: TurnRow, maxTokens: number, options: StepOrRecoveryOptions = {}) {
    // Do not keep the steps in the options: they hold the messages.
    const { messageSteps, ...rest } = options;
    const { recovered } = options;
    this.#transcript = transcript;
    this.row = row;
    this.grants = new TurnGrantStore(transcript, row);
    this.maxTokens = maxTokens;
    this.#options = rest;
    this.builder = recovered?.builder ?? new MessageBuilder();
    this.#repairer = new EventRepairer(transcript, row, this.builder);
    this.log = options.log ?? new TurnEventLog(transcript, row);
    this.#events = options.createStepWriter?.(this.builder) ?? this.log;
    this.#frames = recovered?.frames ?? new SseEventReader();
    this.#bytes = recovered?.bytes ?? 0;
    this.#messageSteps = messageSteps;
  }

  /** Whether its messages are not all stored yet. */
  get isStoringMessages(): boolean {
    return this.#messageSteps !== undefined;
  }

  /** Stores its messages in steps. If that throws, or is not finished, the end of the turn deletes them. */
  *storeMessages(): SteppedWork<void> {
    if (this.#messageSteps) yield* this.#messageSteps;
    this.#messageSteps = undefined;
  }

  /**
   * Takes a piece of the upstream's stream.
   *
   * @param now when it came, or was read; milliseconds since 1970
   * @param lateMs how much earlier it may have come
   */
  takePiece(piece: Uint8Array, now: number, lateMs = 0): StreamPieceContents {
    this.#bytes += piece.length;
    this.#now = now;
    const all: StreamPieceContents = { hasFraming: false, hasEffect: false, hasDelta: false };
    this.#frames.scanCompletedEvents(piece, (text, start, end) => {
      for (const frame of parseSseEvents(text, start, end)) {
        const { hasFraming, hasEffect, hasDelta, how } = this.#takeEvent(frame);
        all.hasFraming ||= hasFraming;
        all.hasEffect ||= hasEffect;
        all.hasDelta ||= hasDelta;
        if (!how) continue;
        all.how = how;
        return undefined;
      }
      return end + 2;
    });
    if (all.hasDelta) this.#clock?.recordVisibleOutput(now, now - lateMs);
    if (this.builder.message && (all.hasDelta || all.hasFraming)) this.lastContentAt = now;
    return all;
  }

  /** Takes a piece that arrives after the end of the turn. Only its usage matters. */
  takePieceAfterEnd(piece: Uint8Array, now: number, lateMs = 0): void {
    this.#bytes += piece.length;
    this.#frames.scanCompletedEvents(piece, (text, start, end) => {
      this.#lateText += text.slice(start, end + 2);
      for (const { event: name, data } of parseSseEvents(text, start, end)) {
        const event = name || parseEventTypeFromData(data);
        if (event === 'content_block_start')
          this.#clock?.recordBlockStart(getContentBlockType(parseEventRememberingInput(data) ?? {}), now);
        else if (event === 'content_block_stop') this.#clock?.recordBlockEnd(now);
        else if (event === 'content_block_delta') this.#clock?.recordVisibleOutput(now, now - lateMs);
        else if (event === 'ping') this.#clock?.recordPing(now);
      }
      return end + 2;
    });
  }

  /** Whether its stream has had any content of an answer. Some gateways omit the beginning of a message. */
  get hasAnswerContent(): boolean {
    return this.builder.message !== undefined || this.builder.blocks.length > 0;
  }

  /** Whether its answer has begun, before or after the end of the turn. */
  get hasAnswerBegun(): boolean {
    return this.builder.message !== undefined || this.#lateText.includes('message_start');
  }

  /** Records the number of its prompt's tokens. At the end this is stored, and settles the turn even if the object dies. */
  recordPromptTokens(tokens: number): void {
    this.#promptTokens = tokens;
    const { outcome } = this.row;
    if (!this.result || !outcome || this.row.settled) return;
    const counted = { ...outcome, prompt_tokens: tokens };
    this.#transcript.updateTurn(this.row, { outcome: counted });
    this.row.outcome = counted;
  }

  /** @returns the outcome of its answer, including events that arrived after its end */
  buildOutcomeAfterEnd(now: number): StoredOutcome {
    const { unfinishedEventText: rest } = this.#frames;
    const log = { text: (this.#shown ?? '') + this.#lateText };
    const turn = { ...this.#outcomeSource, log };
    const outcome = buildTurnOutcome({ kind: 'stopped' }, now, turn, {
      rest,
      bytes: this.#bytes,
      times: () => this.#measureUnseenOutputTimings(now),
    });
    const counted = this.#promptTokens === undefined ? outcome : { ...outcome, prompt_tokens: this.#promptTokens };
    // If the API sent an `error` event before any message, report the end `error`, which costs nothing.
    return outcome.error_type !== undefined && !outcome.usage ? { ...counted, end: 'error' } : counted;
  }

  /** Whether it is a step, whose run stores and shows the end. */
  get #isStep(): boolean {
    return this.#options.createStepWriter !== undefined;
  }

  get #outcomeSource() {
    const { builder, row, status, upstreamRequestId, progress, firstByteAt } = this;
    return { builder, row, status, upstreamRequestId, progress, firstByteAt };
  }

  /**
   * Takes the last events of a stream that has ended, if only their empty lines are missing.
   *
   * @returns how they end the turn
   */
  takeUnfinishedEvents(): TurnEnd | undefined {
    for (const last of this.#frames.unterminatedLastEvents) {
      const how = parseJsonObject(last.data) && this.#takeEvent(last).how;
      if (how) return how;
    }
    return undefined;
  }

  #takeEvent(original: SseEvent): StreamPieceContents {
    const framing = { hasFraming: true, hasEffect: true, hasDelta: false };
    // Some gateways omit the `event:` line. Restore it from the data, because clients ignore events without a name.
    const event = original.event || parseEventTypeFromData(original.data);
    const isError = event === 'error';
    if (event === '') return { hasFraming: false, hasEffect: false, hasDelta: false };
    let frame = original.event === '' && !isError ? { ...original, event } : original;
    const data = parseEventRememberingInput(frame.data);
    if (isError) {
      return { ...framing, how: { kind: 'error', frame: { ...frame, data: maskSecrets(frame.data) } } };
    }
    // An event whose data is not JSON ends the turn. The event is not shown, because no client could parse it.
    if (data === undefined) return { ...framing, how: { kind: 'cut', error: createUnreadableError(), end: 'cut' } };
    if (getContentBlockType(data) === 'mcp_tool_result') {
      // Mask secrets in the result: an MCP server may repeat the secret that was sent to it.
      const shown = maskSecrets(frame.data);
      if (shown !== frame.data) return this.#takeEvent({ event: frame.event, data: shown });
    }
    frame = this.#repairer.repairEvent(data, frame);
    this.builder.addEventData(data);
    if (data.type === 'content_block_start') this.#clock?.recordBlockStart(getContentBlockType(data), this.#now);
    else if (data.type === 'content_block_stop') this.#clock?.recordBlockEnd(this.#now);
    else if (data.type === 'ping') this.#clock?.recordPing(this.#now);
    if (this.builder.hasStopped) return { ...framing, how: { kind: 'complete' } };
    this.#events.add(frame);
    const hasDelta = frame.event === 'content_block_delta';
    const hasFraming = !hasDelta && frame.event !== 'ping';
    return { hasFraming, hasEffect: hasFraming && !this.#framesOnlyText(data), hasDelta };
  }

  /**
   * Whether an event only begins or ends a block of text or thinking, so that a crash may lose it together with the block. A run
   * resumes after a crash, and would begin or end such a block again.
   */
  #framesOnlyText({ type, index }: JsonObject): boolean {
    if (this.row.run !== null) return false;
    if (type !== 'content_block_start' && type !== 'content_block_stop') return false;
    return EFFECTLESS_TYPES.has(String(this.builder.getBlockAt(index)?.value.type));
  }

  /**
   * Ends the turn: settles it, and stores its end, its answer and the conversation's totals. Nothing here waits, so all of that
   * is stored together. If it throws, none of it may be stored.
   *
   * The settlement is sent first, because its cost is part of what is stored and shown. If the end is not stored after all, the
   * object restarts and settles the turn again by its log. To a repeated settlement the account replies with the cost that it
   * has booked, which the conversation then stores.
   *
   * @param attempt undefined if no hold was placed, so that nothing has to be settled
   * @param now milliseconds since 1970
   * @returns the settlement's confirmation
   */
  end(
    turnEnd: TurnEnd,
    attempt: SettleableAttempt | undefined,
    now: number,
    requestId = this.row.requestId,
  ): Promise<SettlementResult> | undefined {
    // If the latest attempt was not admitted, it has no hold. Settle the attempt before it instead.
    this.grants.restoreLastAdmittedGrant();
    const plan = this.#planTurnEnd(turnEnd, now);
    const settlement = this.#settleTurn(plan, attempt, now);
    const spent = this.#computeSpending(plan, settlement);
    addSpendingToProfile(plan, spent);
    const { error, summary } = this.#logEnd(turnEnd, plan, spent, requestId);
    const row = this.#createEndedRow(plan, spent, { now, hasNothingToSettle: attempt === undefined });
    const { container, status: answered } = this;
    if (container !== undefined && error)
      forgetLostContainerOnError(this.#transcript, container, { error, status: answered });
    const hidesResults = this.#storeAndShowEnd(plan, row, now) && this.#options.isOfEdge === true;
    if (this.lateReading && settlement?.late !== undefined)
      void this.#storeOutcomeAfterEnd(this.lateReading.outcome, settlement.late);
    const { outcome, content, status, isUnanswered } = plan;
    const usage = { ...outcome.usage, output_tokens: spent.outputTokens };
    this.result = {
      status,
      summary,
      message: buildFinalMessage(turnEnd, { status, usage, content }, this.builder),
      error,
      isUnanswered,
      isStopped: turnEnd.kind === 'stopped',
      hidesResults,
    };
    if (!this.#isStep) this.log.end();
    return settlement?.done;
  }

  /** @returns the cost of the turn, as far as it is known now */
  #computeSpending({ outcome }: PlannedTurnEnd, settled: SettledCost | undefined): TurnSpending {
    // The cost is NaN if only the account has the grant. Then only the cost of the earlier attempts is known until it confirms.
    const isPriced = settled !== undefined && Number.isFinite(settled.nanodollars);
    const cost = isPriced ? settled.nanodollars : (this.row.grant?.earlier ?? 0);
    return {
      cost,
      outputTokens: settled?.outputTokens ?? outcome.seen?.said ?? 0,
      // Report no cost yet if the answer of a stopped turn is still being read, because the final cost will differ.
      reported: this.lateReading ? { cost: undefined } : { cost, budget: settled?.budget },
    };
  }

  /** Adds the last events to the log. `#storeAndShowEnd` stores and shows them. */
  #logEnd(
    turnEnd: TurnEnd,
    { outcome, status }: PlannedTurnEnd,
    { outputTokens: output, reported }: TurnSpending,
    requestId: string,
  ): Pick<TurnResult, 'error' | 'summary'> {
    const { cost, budget } = reported;
    const error = addEndEvents(this.#events, turnEnd, this.builder.openBlockIndices, {
      status,
      output,
      cost,
      budget,
      requestId,
    });
    const summary = { outcome, ...(cost !== undefined && { nanodollars: cost, ...(budget && { budget }) }) };
    if (!this.#isStep) this.log.setSummary(JSON.stringify(summary));
    return { error, summary };
  }

  /** Replaces the outcome by which the turn is settled. Its row is stored when the cost is confirmed. */
  async #storeOutcomeAfterEnd(coming: Promise<StoredOutcome>, written: Promise<number | undefined>): Promise<void> {
    const late = await coming;
    const { outcome, endedAt } = this.row;
    const estimated_output = await written;
    this.row.outcome = { ...outcome, ...late, estimated_output, read_until: endedAt ?? 0 };
  }

  /** Whether a caller may know of the turn, by its answer or because it continues in the background. Of a step: of its run. */
  get #mayCallerKnowOfTurn(): boolean {
    const { runHandle = this } = this.#options;
    return this.isAcknowledged || runHandle.isReported === true;
  }

  /** Plans the end of the turn, with the outcome that settles it. */
  #planTurnEnd(turnEnd: TurnEnd, now: number): PlannedTurnEnd {
    const { row, builder, maxTokens } = this;
    // A turn without its question is not kept. No caller knows of it, because its request was not sent.
    const newMessages = this.#messageSteps ? 0 : this.#options.newMessages;
    const plan = planTurnEnd(
      {
        transcript: this.#transcript,
        row,
        builder,
        maxTokens,
        answerId: this.#answerId,
        newMessages: newMessages ?? listMessageNumbersOfTurn(this.#transcript, row.seq).length,
        isAcknowledged: this.#mayCallerKnowOfTurn,
        repairedCallIds: this.#repairer.repairedCallIds,
        options: this.#options,
      },
      turnEnd,
      now,
    );
    const { unfinishedEventText: rest } = this.#frames;
    if (this.lateReading) this.#shown = this.#events.text;
    const source = { ...this.#outcomeSource, log: this.#events };
    const times = () => this.#measureUnseenOutputTimings(now);
    return { ...plan, outcome: buildTurnOutcome(turnEnd, now, source, { rest, bytes: this.#bytes, times }) };
  }

  /** Sends the settlement, and with it the report of the conversation. The totals of its profile do not contain this turn's yet. */
  #settleTurn(
    { outcome, status, isCommitted: committed, next, bytes, storeCalls }: PlannedTurnEnd,
    attempt: SettleableAttempt | undefined,
    now: number,
  ): SettledCost | undefined {
    const { agent, id } = next;
    // The settlement waits until the rest of the answer is read, so report the conversation to the account separately.
    if (this.lateReading) next.unreported = true;
    // These times measure how fast the model writes: reading the upstream never waits for a slow listener.
    const written = outcome.completed && this.#clock ? measureVisibleOutput(outcome.usage, this.#clock) : undefined;
    const extra = {
      ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
      ms: now - this.row.beganAt,
      admittedFields: {
        route: this.row.route,
        model: this.row.model,
        conversation: id,
        dimensions: createDimensionValue(OF_AGENT, agent ? formatVersionReference(agent) : undefined),
      },
      startedAt: this.row.beganAt,
      tools: committed ? listToolsWithConsumedResults(this.#transcript, this.row) : undefined,
      // Report the conversation only at the end of a run: after a step that calls tools, the run continues, and its last step
      // or the run itself reports.
      ...(!storeCalls && !this.lateReading
        ? { conversation: createConversationReport({ ...next, bytes }, next.cost + (this.row.grant?.earlier ?? 0)) }
        : {}),
    };
    return attempt?.settle(written ? { ...outcome, written } : outcome, extra, this.lateReading?.outcome);
  }

  #createEndedRow(
    { isComplete: complete, outcome, content, status }: PlannedTurnEnd,
    { cost, outputTokens: output }: TurnSpending,
    { now, hasNothingToSettle }: { now: number; hasNothingToSettle: boolean },
  ): TurnRow {
    const { usage } = outcome;
    const container = getContainerOfMessage(this.builder.message);
    const { until } = this.lateReading ?? {};
    const stored = { ...outcome, ...(container && { container }), ...(until !== undefined && { read_until: until }) };
    return {
      ...this.row,
      status,
      endedAt: now,
      outcome: complete ? stored : { ...stored, estimated_output: output },
      cost,
      tokens: complete && usage ? countInputTokens(usage) + (usage.output_tokens ?? 0) : null,
      frame: complete && content.length === this.builder.blocks.length ? this.row.frame : null,
      events: this.log.events,
      // A completed step counts as settled in its own row, because the row of its run stores whether all steps are settled.
      settled: hasNothingToSettle || (this.row.run !== null && status === 'complete'),
      model: outcome.model ?? this.row.model,
    };
  }

  /** Stores the end, and shows it. @returns whether the model has refused after results of the edge's calls, so that later requests send these as text */
  #storeAndShowEnd(plan: PlannedTurnEnd, row: TurnRow, now: number): boolean {
    const cached = this.#transcript.cachedHistory;
    if (this.#messageSteps) this.#transcript.deleteIncompleteMessages(row.seq);
    this.#messageSteps = undefined;
    const text = storeTurnEnd(this.#transcript, plan, row, {
      id: this.#answerId,
      isLaterStep: this.#options.isLaterStep,
      now,
    });
    const hidesResults = row.status === 'refused' && hideResultsAfterRefusal(this.#transcript, row);
    // Store the log last: storing it shows the end to listeners, so everything before it must already have succeeded.
    if (!this.#isStep) this.log.store();
    Object.assign(this.row, row);
    const { isCommitted: committed, status, repaired } = plan;
    if (cached?.running?.turn === row.seq && committed && status !== 'refused' && repaired.length === 0) {
      this.#transcript.storeCachedHistory(addTurnToCachedHistory(cached, this.row, text));
    }
    return hidesResults;
  }

  /** Replaces the turn's messages, which the API has rejected, by others. */
  replaceMessages(messages: NextRequestPlan['messages']): void {
    const { seq, id, beganAt } = this.row;
    const numbers = listMessageNumbersOfTurn(this.#transcript, seq);
    const isOfEdge = this.#options.isOfEdge === true;
    const rows = messages.map((message, at) => ({
      ...message,
      seq: numbers[at] ?? 0,
      turn: seq,
      id: `msg_${id}_${at + 1}`,
      createdAt: beganAt,
      origin: isOfEdge && message.role === 'user' ? ('edge' as const) : null,
    }));
    if (rows.length !== numbers.length)
      throw new TypeError(`The turn has ${numbers.length} messages, but ${rows.length} were passed.`);
    this.#transcript.runInTransaction(() => {
      this.#transcript.deleteMessages('turn = ?', seq);
      this.#transcript.addMessages(rows);
    });
  }

  /** Starts to measure how long output may be unseen, because the upstream has answered the attempt that was sent last. */
  startAnswerClock(now: number): void {
    this.#clock = new HiddenOutputClock(this.progress.sentAt ?? now);
    this.#now = now;
  }

  /** Whether a tool of the API runs. */
  get isServerToolRunning(): boolean {
    return this.#clock?.isRunningTool === true;
  }

  /** @returns for how many milliseconds, up to a time, unseen output may have been written. */
  measureUnseenMs(at: number): number {
    return (
      this.#options.recovered?.unseenMs ?? this.#clock?.computeHiddenMsUntil(at) ?? at - (this.progress.sentAt ?? at)
    );
  }

  #measureUnseenOutputTimings(at: number): UnseenOutputTimings {
    const { lostMs } = this.#options.recovered ?? {};
    const unseen_ms = this.measureUnseenMs(at);
    const lost_ms = lostMs ?? this.#clock?.computeMsSinceLastEventOrPing(at) ?? unseen_ms;
    const quiet_ms = lostMs ?? this.#clock?.computeMsSinceLastEvent(at) ?? unseen_ms;
    return { unseen_ms, silent_ms: this.#clock?.computeSilentOutputMs(at) ?? 0, lost_ms, quiet_ms };
  }

  /** The id of the answer, as `message_start` has told it. */
  get #answerId(): string {
    const id = this.builder.message?.id;
    return typeof id === 'string' ? id : this.#repairer.fallbackAnswerId;
  }
}

/** Adds the cost and tokens of a turn to the totals of its conversation. */
function addSpendingToProfile({ next, outcome: { usage } }: PlannedTurnEnd, { cost }: TurnSpending): void {
  next.cost += cost;
  next.inputTokens += countInputTokens(usage);
  next.outputTokens += usage?.output_tokens ?? 0;
}

function getContentBlockType({ content_block }: JsonObject): unknown {
  if (!isObject(content_block)) return undefined;
  const { type, name } = content_block;
  return type === 'server_tool_use' && name === 'advisor' ? ADVISOR_BLOCK : type;
}
