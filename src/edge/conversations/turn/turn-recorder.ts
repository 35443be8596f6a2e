/** One turn while it runs, and its end. The end is the same code for a turn that completes, is stopped, or is interrupted. */
import { interruptedError } from '../../claude/failure.ts';
import type { SendProgress } from '../../claude/send-request.ts';
import { ADVISOR_BLOCK, HiddenOutputClock, isThinkingType } from '../../claude/usage/hidden-output.ts';
import { typeOfData } from '../../claude/usage/usage-reader.ts';
import { visibleOutputOf } from '../../claude/usage/writing-speeds.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { parseEventText } from '../../kit/json/input-texts.ts';
import { isObject, type Json, parseObject, toText } from '../../kit/json/object.ts';
import { type Frame, FrameReader, parseFrame } from '../../kit/sse/frames.ts';
import type { RequestMeter } from '../../money/admission/metered-request.ts';
import { dimensionValue } from '../../money/contracts/dimensions.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { OF_AGENT } from '../history/agent-in-use.ts';
import { containerOf, findLostCode, forgetLostContainer } from '../history/container.ts';
import { betasForBlocks } from '../history/needed-betas.ts';
import type { NextRequest } from '../history/next-request.ts';
import { hideRefusedResults } from '../history/refused-results.ts';
import { repairPaused } from '../history/repair-paused.ts';
import { isFreeCallId, repairedName, withObjectInput } from '../history/repaired-calls.ts';
import {
  type Block,
  blocksWithout,
  hasPendingResults,
  replayableBlocks,
  toolCallIdsOf,
} from '../history/replayable-blocks.ts';
import { withTurn } from '../history/storage/history-cache.ts';
import { isFreeId, withAnswerId } from '../history/storage/message-rows.ts';
import { refOf, type StoredOutcome, type TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { messagesOf, resolvedToolsOf } from '../history/storage/turn-queries.ts';
import { type AnswerTimings, buildOutcome, inputTokens } from './answer-report.ts';
import { EventLog, type TurnLog } from './event-log.ts';
import { MessageBuilder } from './message-builder.ts';
import { type PlannedEnd, storeEnd } from './store-end.ts';
import type { TurnOptions } from './turn-context.ts';
import {
  addEnd,
  conversationReportOf,
  nextProfile,
  type PieceContents,
  type TurnEnd,
  type TurnResult,
  turnStatusOf,
  wholeMessage,
} from './turn-ending.ts';
import { TurnGrants } from './turn-grants.ts';

/** Types of blocks without any effect. */
const EFFECTLESS_TYPES = new Set(['text', 'thinking', 'redacted_thinking']);

type EndMeter = Pick<RequestMeter, 'settle'>;

/** An answer that is read on behind the end of its turn. */
interface LateReading {
  /** What the turn has been settled by in the end. Never rejects. */
  outcome: Promise<StoredOutcome>;
  /** When it ends at the latest; milliseconds since 1970. */
  until: number;
}

export class TurnRecorder {
  readonly row: TurnRow;
  readonly grants: TurnGrants;
  readonly maxTokens: number;
  readonly log: TurnLog;
  readonly builder: MessageBuilder;
  /** The status of the upstream's response. */
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** The container that the request names. */
  container: string | undefined;
  /** How far the request has gone. */
  readonly progress: SendProgress = { sentAt: undefined };
  firstByteAt: number | undefined;
  /** When its answer has said something last: pings do not. Milliseconds since 1970; undefined before its beginning. */
  lastContentAt: number | undefined;
  /** Whether a caller may know that the turn has begun. From then on its question stays. */
  isAcknowledged = false;
  /** Set once the turn has ended. */
  result: TurnResult | undefined;
  isReported = false;
  readonly #transcript: Transcript;
  readonly #frames: FrameReader;
  /** Bytes of the upstream's stream. */
  #bytes: number;
  #clock: HiddenOutputClock | undefined;
  /** When the current piece came. */
  #now = 0;
  readonly #options: TurnOptions;
  /** Set where the answer is read on when the turn has ended. */
  lateReading: LateReading | undefined;
  /** The tokens of its prompt, where nothing of its answer had come and they were counted. */
  #promptTokens: number | undefined;
  /** The events as they were shown at the end, and those that came behind it. */
  #shown: string | undefined;
  #lateText = '';
  /** The ids of calls whose name or id the API would not take back. */
  readonly #repairedIds = new Set<string>();

  constructor(transcript: Transcript, row: TurnRow, maxTokens: number, options: TurnOptions = {}) {
    const { recovered } = options;
    this.#transcript = transcript;
    this.row = row;
    this.grants = new TurnGrants(transcript, row);
    this.maxTokens = maxTokens;
    this.#options = options;
    this.builder = recovered?.builder ?? new MessageBuilder();
    this.log = recovered?.log ?? options.logOf?.(this.builder) ?? new EventLog(transcript, row);
    this.#frames = recovered?.frames ?? new FrameReader();
    this.#bytes = recovered?.bytes ?? 0;
  }

  /**
   * Takes a piece of the upstream's stream.
   *
   * @param now when it came, or was read; milliseconds since 1970
   * @param lateMs how much earlier it may have come
   */
  take(piece: Uint8Array, now: number, lateMs = 0): PieceContents {
    this.#bytes += piece.length;
    this.#now = now;
    const all: PieceContents = { hasFraming: false, hasEffect: false, hasDelta: false };
    this.#frames.scan(piece, (text, start, end) => {
      const frame = parseFrame(text, start, end);
      if (!frame) return end + 2;
      const { hasFraming, hasEffect, hasDelta, how } = this.#takeFrame(frame);
      all.hasFraming ||= hasFraming;
      all.hasEffect ||= hasEffect;
      all.hasDelta ||= hasDelta;
      if (how) all.how = how;
      return how === undefined ? end + 2 : undefined;
    });
    if (all.hasDelta) this.#clock?.touch(now, now - lateMs);
    if (this.builder.message && (all.hasDelta || all.hasFraming)) this.lastContentAt = now;
    return all;
  }

  /** Takes a piece that comes behind the end of the turn. Only what it costs is of interest. */
  takeLate(piece: Uint8Array, now: number, lateMs = 0): void {
    this.#bytes += piece.length;
    this.#frames.scan(piece, (text, start, end) => {
      this.#lateText += text.slice(start, end + 2);
      const { event: name = 'ping', data = '' } = parseFrame(text, start, end) ?? {};
      const event = name || typeOfData(data);
      if (event === 'content_block_start') this.#clock?.start(blockTypeOf(parseEventText(data) ?? {}), now);
      else if (event === 'content_block_stop') this.#clock?.stop(now);
      else if (event === 'content_block_delta') this.#clock?.touch(now, now - lateMs);
      else if (event === 'ping') this.#clock?.ping(now);
      return end + 2;
    });
  }

  /** Whether its stream has said anything of an answer. Behind some gateways it does not say how it begins. */
  get hasAnswer(): boolean {
    return this.builder.message !== undefined || this.builder.blocks.length > 0;
  }

  /** Whether its answer has begun, before or behind its end. */
  get hasBegun(): boolean {
    return this.builder.message !== undefined || this.#lateText.includes('message_start');
  }

  /** Notes how many tokens its prompt has. Once it has ended, this is stored: it settles the turn even if the object dies. */
  noteCount(tokens: number): void {
    this.#promptTokens = tokens;
    const { outcome } = this.row;
    if (!this.result || !outcome || this.row.settled) return;
    const counted = { ...outcome, prompt_tokens: tokens };
    this.#transcript.changeTurn(this.row, { outcome: counted });
    this.row.outcome = counted;
  }

  /** @returns the outcome of its answer, with what has come behind its end */
  lateOutcome(now: number): StoredOutcome {
    const { unfinishedText: rest } = this.#frames;
    const log = { text: (this.#shown ?? '') + this.#lateText };
    const turn = { ...this.#answeredTurn, log };
    const outcome = buildOutcome({ kind: 'stopped' }, now, turn, {
      rest,
      bytes: this.#bytes,
      times: () => this.#measureTimings(now),
    });
    const counted = this.#promptTokens === undefined ? outcome : { ...outcome, prompt_tokens: this.#promptTokens };
    // An error in the place of a message is free.
    return outcome.error_type !== undefined && !outcome.usage ? { ...counted, end: 'error' } : counted;
  }

  get #answeredTurn() {
    const { builder, row, status, upstreamRequestId, progress, firstByteAt } = this;
    return { builder, row, status, upstreamRequestId, progress, firstByteAt };
  }

  /**
   * Takes the last event of a stream that has ended, if only its empty line is missing.
   *
   * @returns how that event ends the turn
   */
  takeRest(): TurnEnd | undefined {
    const { unfinishedFrame: last } = this.#frames;
    return last && parseObject(last.data) !== undefined ? this.#takeFrame(last).how : undefined;
  }

  #takeFrame(original: Frame): PieceContents {
    const framing = { hasFraming: true, hasEffect: true, hasDelta: false };
    // Behind some gateways only its data says what an event is, but no client reads one without a name.
    const event = original.event || typeOfData(original.data);
    const isError = event === 'error';
    if (event === '') return { hasFraming: false, hasEffect: false, hasDelta: false };
    let frame = original.event === '' && !isError ? { ...original, event } : original;
    const data = parseEventText(frame.data);
    if (isError) {
      return { ...framing, how: { kind: 'error', frame: { ...frame, data: maskSecrets(frame.data) } } };
    }
    // The stream broke inside an event, which no client can read.
    if (data === undefined) return { ...framing, how: { kind: 'cut', error: interruptedError(false), end: 'cut' } };
    if (blockTypeOf(data) === 'mcp_tool_result') {
      // A server may repeat the secret that it was sent.
      const shown = maskSecrets(frame.data);
      if (shown !== frame.data) return this.#takeFrame({ event: frame.event, data: shown });
    }
    if (data.type === 'message_start' && isObject(data.message) && !isFreeId(this.#transcript, data.message.id)) {
      data.message.id = this.#ownId;
      const message = editJson(parseMemberTexts(frame.data).get('message') ?? '', { id: JSON.stringify(this.#ownId) });
      frame = { event: frame.event, data: editJson(frame.data, { message }) };
    }
    if (data.type === 'content_block_start') frame = this.#repairCall(data, frame);
    this.builder.take(data);
    if (data.type === 'content_block_start') this.#clock?.start(blockTypeOf(data), this.#now);
    else if (data.type === 'content_block_stop') this.#clock?.stop(this.#now);
    else if (data.type === 'ping') this.#clock?.ping(this.#now);
    if (this.builder.hasStopped) return { ...framing, how: { kind: 'complete' } };
    this.log.add(frame);
    const hasDelta = frame.event === 'content_block_delta';
    const hasFraming = !hasDelta && frame.event !== 'ping';
    return { hasFraming, hasEffect: hasFraming && !this.#isQuiet(data), hasDelta };
  }

  /** Mends the name and the id of a call before anybody sees it. @returns the frame; the same one for anything else */
  #repairCall(data: Json, frame: Frame): Frame {
    const { content_block: block } = data;
    if (!isObject(block) || block.type !== 'tool_use') return frame;
    const isTwice = this.builder.blocks.some(({ value }) => value.type === 'tool_use' && value.id === block.id);
    const isFree = !isTwice && isFreeCallId(this.#transcript, block.id);
    const [name, id] = [
      repairedName(block.name),
      isFree ? block.id : `toolu_${this.row.id}_${this.builder.blocks.length}`,
    ];
    if (name === block.name && id === block.id) return frame;
    this.#repairedIds.add(toText(id));
    data.content_block = { ...block, name, id };
    const text = parseMemberTexts(frame.data).get('content_block') ?? '{}';
    const content_block = editJson(text, { name: JSON.stringify(name), id: JSON.stringify(id) });
    return { event: frame.event, data: editJson(frame.data, { content_block }) };
  }

  /** @returns the blocks that go up. A call that was mended leaves them with the signed blocks behind it: these are bound to it. */
  #sendableBlocks(content: readonly Json[]): Json[] {
    const signed = content.findLastIndex(({ type }) => isThinkingType(type));
    const isRepaired = (block: Json) => this.#repairedIds.has(toText(block.id)) || withObjectInput(block) !== block;
    const bound = new Set(
      content.slice(0, Math.max(0, signed)).filter((block) => block.type === 'tool_use' && isRepaired(block)),
    );
    return blocksWithout(content, (block) => bound.has(block)).map(withObjectInput);
  }

  /** Whether an event frames words or thoughts alone: a crash may lose it together with them. */
  #isQuiet({ type, index }: Json): boolean {
    if (type !== 'content_block_start' && type !== 'content_block_stop') return false;
    return EFFECTLESS_TYPES.has(String(this.builder.blockAt(index)?.value.type));
  }

  /**
   * Ends the turn: settles it, and stores its end, its answer and the conversation's totals. It does not wait, so all of that
   * is stored together. If it throws, none of it may be stored.
   *
   * @param meter undefined if no hold was placed, so that nothing has to be settled
   * @param now milliseconds since 1970
   * @returns the settlement's confirmation
   */
  end(
    turnEnd: TurnEnd,
    meter: EndMeter | undefined,
    now: number,
    requestId = this.row.requestId,
  ): Promise<Settled> | undefined {
    // If the next try was not admitted, the one before is settled.
    this.grants.end();
    const { isOfEdge } = this.#options;
    const plan = this.#planEnd(turnEnd, now);
    const { outcome, content, status, isUnanswered, next } = plan;
    const settlement = this.#settle(plan, meter, now);
    // If only the account knows the cost, it comes with its answer to the settlement.
    const { nanodollars = Number.NaN, budget } = settlement ?? {};
    const cost = Number.isFinite(nanodollars) ? nanodollars : (this.row.grant?.earlier ?? 0);
    next.cost += cost;
    next.inputTokens += inputTokens(outcome.usage);
    next.outputTokens += outcome.usage?.output_tokens ?? 0;
    const output = settlement?.outputTokens ?? outcome.seen?.said ?? 0;
    // While its answer is read on, the caller and the log are not told a cost that will be corrected.
    const known = this.lateReading ? { cost: undefined } : { cost, budget };
    const error = addEnd(this.log, turnEnd, this.builder.openIndices, { status, output, ...known, requestId });
    const summary = {
      outcome,
      ...(known.cost !== undefined && { nanodollars: cost, ...(budget && { budget }) }),
    };
    this.log.finish(JSON.stringify(summary));
    const row = this.#endedRow(plan, { now, cost, output, isUnmetered: meter === undefined });
    const { container, status: answered } = this;
    if (container !== undefined && error) forgetLostContainer(this.#transcript, container, { error, status: answered });
    const hidesResults = this.#storeEnd(plan, row, now) && isOfEdge === true;
    if (this.lateReading && settlement?.late !== undefined)
      void this.#takeLateOutcome(this.lateReading.outcome, settlement.late);
    const stoppedUsage = { ...outcome.usage, output_tokens: output };
    const message = wholeMessage(turnEnd, { status, usage: stoppedUsage, content }, this.builder);
    this.result = {
      status,
      summary,
      message,
      error,
      isUnanswered,
      isStopped: turnEnd.kind === 'stopped',
      hidesResults,
    };
    this.log.end();
    return settlement?.done;
  }

  /** Takes over by what it is settled. Its row is stored with the confirmation of its cost. */
  async #takeLateOutcome(coming: Promise<StoredOutcome>, written: Promise<number | undefined>): Promise<void> {
    const late = await coming;
    const { outcome, endedAt } = this.row;
    const estimated_output = await written;
    this.row.outcome = { ...outcome, ...late, estimated_output, read_until: endedAt ?? 0 };
  }

  /** Decides what the end of the turn changes. */
  #planEnd(turnEnd: TurnEnd, now: number): PlannedEnd {
    const { profile, bytes } = this.#transcript;
    if (!profile) throw new TypeError('A turn without a conversation.');
    const { blocks, stopReason } = this.builder;
    const { isOfEdge, shownAs = this, recovered, callsIn, isLater, leavesPaused } = this.#options;
    const complete = turnEnd.kind === 'complete';
    const blocksKept = replayableBlocks(blocks, complete ? { complete, stopReason } : { complete });
    const mayResume = complete && hasPendingResults(stopReason);
    // The answer behind a tool loop has the results of its code, or the code has gone with its calls.
    const endsLoop = blocksKept.length > 0 && this.row.follows && !mayResume;
    const lost = endsLoop ? findLostCode(this.#transcript, blocksKept) : undefined;
    const bound = lost?.repaired.length ? blocksWithout(blocksKept, ({ type }) => isThinkingType(type)) : blocksKept;
    const content = this.#sendableBlocks(bound);
    const isShown = content.length === blocksKept.length && content.every((block, at) => block === blocksKept[at]);
    const shown = isShown ? null : blocksKept;
    const hasAnswer = content.length > 0;
    const newMessages = this.#countNewMessages();
    const isKnown = this.isAcknowledged || shownAs.isReported === true;
    const isAcknowledged = isKnown && newMessages > 0 && !isOfEdge;
    const status = turnStatusOf(turnEnd, { hasAnswer, isAcknowledged, stopReason, maxTokens: this.maxTokens });
    const committed = status !== 'failed';
    const isUnanswered = status === 'interrupted' && !hasAnswer;
    const hasRow = hasAnswer || (isUnanswered && !recovered?.goesOn);
    const continuesPaused = hasAnswer && this.row.follows && newMessages === 0;
    // After a crash the answer before it is read, which says whether it was paused.
    const hasLeft = leavesPaused ?? (recovered !== undefined && newMessages > 0 && !this.row.follows);
    const isAsked = committed && status !== 'refused';
    const isOver = continuesPaused ? !mayResume : hasLeft && isAsked;
    const paused = isOver ? repairPaused(this.#transcript, content) : [];
    const repaired = lost?.repaired.length ? lost.repaired : paused;
    const next = nextProfile(profile, committed, newMessages + (hasRow ? 1 : 0), now);
    // Only committed turns count: the number of a failed turn may be used again.
    if (committed) {
      next.through = this.row.seq;
      next.answerIds = withAnswerId(this.#transcript, this.#answerId, next.nextMessage);
    }
    if (committed && isLater) next.turns -= 1;
    const leftOut = [...(lost?.calls ?? []), ...(complete ? droppedCallIds(blocks, content) : [])];
    if (committed && leftOut.length > 0) next.leftOut = [...(profile.leftOut ?? []), ...leftOut];
    const betas = committed ? betasForBlocks(content) : [];
    if (betas.length > 0) next.betas = [...new Set([...(profile.betas ?? []), ...betas])];
    // Those that do not go up are made, too: their results are told in words.
    const storeCalls = status === 'complete' ? callsIn?.(blocksKept) : undefined;
    const { unfinishedText: rest } = this.#frames;
    if (this.lateReading) this.#shown = this.log.text;
    const outcome = buildOutcome(turnEnd, now, this, {
      rest,
      bytes: this.#bytes,
      times: () => this.#measureTimings(now),
    });
    return {
      isComplete: complete,
      outcome,
      content,
      shown,
      status,
      isCommitted: committed,
      isUnanswered,
      hasRow,
      repaired,
      next,
      bytes,
      storeCalls,
    };
  }

  #settle(
    { outcome, status, isCommitted: committed, next, bytes, storeCalls }: PlannedEnd,
    meter: EndMeter | undefined,
    now: number,
  ) {
    const { agent, id } = next;
    // Its report does not wait for what is read on.
    if (this.lateReading) next.unreported = true;
    // The answer is read without waiting for any listener.
    const written = outcome.completed && this.#clock ? visibleOutputOf(outcome.usage, this.#clock) : undefined;
    const extra = {
      ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
      ms: now - this.row.beganAt,
      opening: {
        route: this.row.route,
        model: this.row.model,
        conversation: id,
        about: dimensionValue(OF_AGENT, agent ? refOf(agent) : undefined),
      },
      startedAt: this.row.beganAt,
      tools: committed ? resolvedToolsOf(this.#transcript, this.row) : undefined,
      // A step that calls tools goes on. The conversation is reported with the last step, or by its run.
      ...(!storeCalls && !this.lateReading
        ? { conversation: conversationReportOf({ ...next, bytes }, -(this.row.grant?.earlier ?? 0)) }
        : {}),
    };
    return meter?.settle(written ? { ...outcome, written } : outcome, extra, this.lateReading?.outcome);
  }

  #endedRow(
    { isComplete: complete, outcome, content, status }: PlannedEnd,
    { now, cost, output, isUnmetered }: { now: number; cost: number; output: number; isUnmetered: boolean },
  ): TurnRow {
    const { usage } = outcome;
    const container = containerOf(this.builder.message);
    const { until } = this.lateReading ?? {};
    const stored = { ...outcome, ...(container && { container }), ...(until !== undefined && { read_until: until }) };
    return {
      ...this.row,
      status,
      endedAt: now,
      outcome: complete ? stored : { ...stored, estimated_output: output },
      cost,
      tokens: complete && usage ? inputTokens(usage) + (usage.output_tokens ?? 0) : null,
      frame: complete && content.length === this.builder.blocks.length ? this.row.frame : null,
      events: this.log.events,
      // That a step is settled is noted in the row of its run.
      settled: isUnmetered || (this.row.run !== null && status === 'complete'),
      model: outcome.model ?? this.row.model,
    };
  }

  /** Stores the end, and shows it. @returns whether results that the model has refused go up in words from now on */
  #storeEnd(plan: PlannedEnd, row: TurnRow, now: number): boolean {
    const cached = this.#transcript.cachedHistory;
    const text = storeEnd(this.#transcript, plan, row, { id: this.#answerId, isLater: this.#options.isLater, now });
    const hidesResults = row.status === 'refused' && hideRefusedResults(this.#transcript, row);
    // This is last because it shows the end. Everything before it has succeeded by then.
    this.log.store();
    Object.assign(this.row, row);
    const { isCommitted: committed, status, repaired } = plan;
    if (cached?.fresh?.turn === row.seq && committed && status !== 'refused' && repaired.length === 0) {
      this.#transcript.cacheHistory(withTurn(cached, this.row, text));
    }
    return hidesResults;
  }

  /** Stores other messages in place of its own, which the API has refused. */
  replaceMessages(messages: NextRequest['messages']): void {
    const { seq, id, beganAt } = this.row;
    const numbers = messagesOf(this.#transcript, seq);
    const isOfEdge = this.#options.isOfEdge === true;
    const rows = messages.map((message, at) => ({
      ...message,
      seq: numbers[at] ?? 0,
      turn: seq,
      id: `msg_${id}_${at + 1}`,
      createdAt: beganAt,
      origin: isOfEdge && message.role === 'user' ? ('edge' as const) : null,
    }));
    if (rows.length !== numbers.length) throw new TypeError('Other messages than the turn has.');
    this.#transcript.transact(() => {
      this.#transcript.deleteMessages('turn = ?', seq);
      this.#transcript.addMessages(rows);
    });
  }

  /** Notes that the upstream has answered the try that went up last. */
  begin(now: number): void {
    this.#clock = new HiddenOutputClock(this.progress.sentAt ?? now);
    this.#now = now;
  }

  /** Whether a tool of the API runs. */
  get isServerToolRunning(): boolean {
    return this.#clock?.isRunningTool === true;
  }

  /** @returns for how many milliseconds, up to a time, unseen output may have been written. */
  measureUnseenMs(at: number): number {
    return this.#options.recovered?.unseenMs ?? this.#clock?.hiddenMsUntil(at) ?? at - (this.progress.sentAt ?? at);
  }

  #measureTimings(at: number): AnswerTimings {
    const { lostMs } = this.#options.recovered ?? {};
    const unseen_ms = this.measureUnseenMs(at);
    const lost_ms = lostMs ?? this.#clock?.lostMsAt(at) ?? unseen_ms;
    const quiet_ms = lostMs ?? this.#clock?.quietMsAt(at) ?? unseen_ms;
    return { unseen_ms, silent_ms: this.#clock?.silentMsAt(at) ?? 0, lost_ms, quiet_ms };
  }

  #countNewMessages(): number {
    return this.#options.newMessages ?? messagesOf(this.#transcript, this.row.seq).length;
  }

  /** The id of the answer, as `message_start` has told it. */
  get #answerId(): string {
    const id = this.builder.message?.id;
    return typeof id === 'string' ? id : this.#ownId;
  }

  /** The id of the answer if the upstream's cannot be used. A turn that is sent again after a crash has the same id, not number. */
  get #ownId(): string {
    return `msg_${this.row.id}_answer_${this.row.seq}`;
  }
}

/** @returns the ids of the calls of an answer that are not in what is kept of it */
function droppedCallIds(blocks: readonly Block[], content: readonly Json[]): string[] {
  const calls = new Set(toolCallIdsOf(content));
  return toolCallIdsOf(blocks.map(({ value }) => value)).filter((id) => !calls.has(id));
}

function blockTypeOf({ content_block }: Json): unknown {
  if (!isObject(content_block)) return undefined;
  const { type, name } = content_block;
  return type === 'server_tool_use' && name === 'advisor' ? ADVISOR_BLOCK : type;
}
