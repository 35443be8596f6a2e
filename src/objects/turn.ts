/** One turn while it runs, and how it ends: the same for one that ends by itself, is stopped, is cut, or has died. */
import { isCount, type Nanodollars, type Usage } from '../claude/cost.ts';
import { cutError } from '../claude/cut.ts';
import type { Outcome } from '../claude/relay.ts';
import type { Course } from '../claude/send.ts';
import { ADVISOR, isThinking, UnseenClock } from '../claude/unseen-clock.ts';
import { UsageReader } from '../claude/usage-reader.ts';
import {
  checkedUsage,
  fallbacksIn,
  nothingSeen,
  type Report,
  reportOf as wholeReportOf,
} from '../claude/usage-report.ts';
import type { Trailer } from '../durable/contracts/conversation.ts';
import type { ConversationReport, Settled } from '../durable/contracts/settlement.ts';
import { type ApiError, errorBody } from '../errors.ts';
import { isObject, type Json } from '../json/object.ts';
import { DELTA_END, DELTA_LINES, type Frame, FrameReader, readFrame } from '../sse/frames.ts';
import { Assembly } from './assembly.ts';
import type { MessageRow, Profile, TurnRow, TurnStatus } from './conversation-rows.ts';
import { isOwing, keptOf, withoutOwed } from './kept.ts';
import { formatUsd } from './limit-headers.ts';
import type { Admission, Meter } from './metering.ts';
import { grown } from './recollection.ts';
import type { Transcript } from './transcript.ts';
import { TurnLog } from './turn-log.ts';

/** How a turn ends: as the API ended it, by a client's wish, by an `error` event of the API, or cut. */
export type How =
  | { kind: 'complete' }
  | { kind: 'stopped' }
  | { kind: 'error'; frame: Frame }
  | { kind: 'cut'; error: Pick<ApiError, 'type' | 'message' | 'logged'>; end: 'cut' | 'silent' | 'error' };

/** What a piece of a stream came to. */
export interface Taken {
  structural: boolean;
  said: boolean;
  how?: How;
}

/** What a turn has come to. */
export interface Ended {
  status: TurnStatus;
  trailer: Trailer;
  /** The message for a caller who does not stream; undefined if there is none to be had. */
  message: Json | undefined;
  /** What such a caller is told instead. */
  error: { type: string; message: string } | undefined;
}

/**
 * How far what is stored covers a turn of which nothing more is stored: a turn that runs in a silence stores every
 * fifteen seconds that it does.
 */
const COVER_MS = 20_000;
/** What is said is stored this often, and a little later. */
const LOST_MS = 1_000;
/** More events than can have been shown and not stored. */
const MOST_LOST = 100_000;
const encoder = new TextEncoder();
const DELTA = 'content_block_delta';
const STOPPED_REMARK = ': sluice-stopped\n\n';

export class Turn {
  readonly log: TurnLog;
  readonly assembly = new Assembly();
  /** Bytes of the upstream's stream. */
  #bytes = 0;
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** What has gone up, and may be running. */
  readonly course: Course = { sentAt: undefined };
  #clock: UnseenClock | undefined;
  firstByteAt: number | undefined;
  #isGrantStored = true;
  /** Whether its final usage has come. */
  #isPriced = false;
  /** When the piece came that is taken now. */
  #now = 0;
  /** Of a turn that died: how long what was not seen may have been written. */
  #lostMs: number | undefined;
  /** Set once it has ended. */
  ended: Ended | undefined;
  readonly row: TurnRow;
  readonly maxTokens: number;
  readonly #transcript: Transcript;
  readonly #frames = new FrameReader();

  /** How many messages the turn has asked with; undefined where that must be looked up. */
  readonly #asked: number | undefined;

  constructor(transcript: Transcript, row: TurnRow, maxTokens: number, asked?: number) {
    this.#transcript = transcript;
    this.#asked = asked;
    this.row = row;
    this.maxTokens = maxTokens;
    this.log = new TurnLog(transcript, row);
  }

  /** @returns the turn of a process that died, as far as its log tells. */
  static recover(transcript: Transcript, row: TurnRow): Turn {
    const turn = new Turn(transcript, row, 1);
    const { text, rows } = transcript.logOf(row);
    const bytes = encoder.encode(text);
    turn.#bytes = bytes.length;
    let events = 0;
    for (const frame of turn.#frames.push(bytes)) {
      events += 1;
      if (turn.assembly.takeLike(frame.data) === undefined) turn.assembly.take(parse(frame.data) ?? {}, frame.data);
    }
    // Before it was sent, nothing was stored of what it may cost.
    turn.course.sentAt = row.sentAt ?? row.beganAt;
    turn.status = events > 0 ? 200 : undefined;
    turn.#lostMs = unseenWhenLost(transcript, row, turn.assembly);
    const log = new TurnLog(transcript, row, { events, rows });
    log.leaveOut(MOST_LOST);
    return turn.#withLog(log);
  }

  /** @returns a turn that has ended, as its log tells it again. */
  static recall(transcript: Transcript, row: TurnRow): Turn {
    const turn = new Turn(transcript, row, 1);
    let error: Ended['error'];
    for (const { event, data } of turn.#frames.push(encoder.encode(transcript.logOf(row).text))) {
      if (event === 'error') error = errorOf(data);
      else turn.assembly.take(parse(data) ?? {});
    }
    const { message, blocks } = turn.assembly;
    const content = row.status === 'stopped' ? keptOf(blocks, { complete: false }) : blocks.map(({ value }) => value);
    const outcome = row.outcome;
    if (!outcome) throw new TypeError('A turn that has not ended.');
    turn.ended = {
      status: row.status,
      trailer: { outcome, nanodollars: row.cost },
      message: error ? undefined : { ...message, content },
      error,
    };
    return turn;
  }

  #withLog(log: TurnLog): this {
    Object.assign(this, { log });
    return this;
  }

  /**
   * Takes a piece of the upstream's stream.
   *
   * @param now when it came; milliseconds since 1970
   * @returns what was in it: events that frame the answer, or what it says; or how the turn ends by it
   */
  take(piece: Uint8Array, now: number): Taken {
    this.#bytes += piece.length;
    this.#now = now;
    const all: Taken = { structural: false, said: false };
    this.#frames.scan(piece, (text, start, end) => {
      const next = this.#takeLike(text, start, end);
      if (next !== undefined) {
        all.said = true;
        return next;
      }
      const frame = readFrame(text, start, end);
      if (!frame) return end + 2;
      const { structural, said, how } = this.#takeFrame(frame);
      all.structural ||= structural;
      all.said ||= said;
      if (how) all.how = how;
      return how === undefined ? end + 2 : undefined;
    });
    if (all.said) this.#clock?.touch(now);
    return all;
  }

  /**
   * Takes events that differ from the one before them in what they say alone, as most do.
   *
   * @returns where what follows them begins; undefined if what stands here is none
   */
  #takeLike(text: string, start: number, end: number): number | undefined {
    const { head } = this.assembly;
    if (head === undefined || !text.startsWith(DELTA_LINES, start)) return undefined;
    const from = start + DELTA_LINES.length;
    const between = DELTA_END + DELTA_LINES + head;
    // Where more of them follow, all but the last are found in one pass.
    if (text.startsWith(between, end + 2 - DELTA_END.length) && text.startsWith(head, from)) {
      const said = text.slice(from + head.length).split(between);
      const taken = this.assembly.takeRun(said.slice(0, -1));
      if (taken > 0) return this.log.addRun(text, start, head, said.slice(0, taken));
    }
    const said = this.assembly.takeLike(text, from, end);
    if (said === undefined) return undefined;
    this.log.addLike(text.slice(start, end + 2), head, said);
    return end + 2;
  }

  /** The stream has ended: an event that lacks only its empty line is one. */
  takeRest(): How | undefined {
    const { last } = this.#frames;
    return last && parse(last.data) !== undefined ? this.#takeFrame(last).how : undefined;
  }

  #takeFrame(frame: Frame): Taken {
    const framing = { structural: true, said: false };
    const data = parse(frame.data);
    if (frame.event === 'error') return { ...framing, how: { kind: 'error', frame } };
    // What no client can read is where the stream broke.
    if (data === undefined) return { ...framing, how: { kind: 'cut', error: cutError(false), end: 'cut' } };
    this.assembly.take(data, frame.data);
    if (data.type === 'message_delta') this.#isPriced ||= isObject(data.usage) && isCount(data.usage.output_tokens);
    else if (data.type === 'content_block_start') this.#clock?.start(blockTypeOf(data), this.#now);
    else if (data.type === 'content_block_stop') this.#clock?.stop(this.#now);
    if (this.assembly.stopped) return { ...framing, how: { kind: 'complete' } };
    this.log.add(frame);
    const said = frame.event === DELTA;
    return { structural: !said && frame.event !== 'ping', said };
  }

  /**
   * Ends the turn: settles it, and stores its end, its answer and the conversation's totals. What is written between two
   * waits is stored as one; where this throws, none of it may be.
   *
   * @param meter undefined where nothing was set aside, so that nothing is to be settled
   * @param now milliseconds since 1970
   * @returns the settlement's confirmation
   */
  end(
    how: How,
    meter: Pick<Meter, 'settle'> | undefined,
    now: number,
    requestId = this.row.requestId,
  ): Promise<Settled> | undefined {
    const profile = this.#transcript.profile;
    if (!profile) throw new TypeError('A turn without a conversation.');
    const outcome = this.#outcome(how, now);
    const complete = how.kind === 'complete';
    const stopReason = this.assembly.stopReason;
    const kept = keptOf(this.assembly.blocks, complete ? { complete, stopReason } : { complete });
    const status = this.#statusOf(how, kept.length, stopReason);
    const committed = status !== 'failed';
    const next = nextProfile(profile, committed, kept.length > 0 ? 1 : 0, this.#newMessages(), now);
    const mended = complete && isOwing(stopReason) ? [] : this.#mend(kept);
    next.messages -= mended.filter(({ content }) => content.length === 0).length;
    const report = reportOf({ ...next, bytes: this.#transcript.bytes });
    const booking = meter?.settle(outcome, {
      ...(status === 'stopped' || status === 'interrupted' ? { status } : {}),
      ms: now - this.row.beganAt,
      opening: { route: this.row.route, model: this.row.model, conversation: profile.id },
      startedAt: this.row.beganAt,
      conversation: report,
    });
    // What only the account knows, its answer to the settlement tells.
    const cost = Number.isFinite(booking?.nanodollars) ? (booking?.nanodollars ?? 0) : 0;
    next.cost += cost;
    const { usage } = outcome;
    next.inputTokens += inputTokens(usage);
    next.outputTokens += usage?.output_tokens ?? 0;

    const output = booking?.outputTokens ?? outcome.seen?.said ?? 0;
    const error = this.#addEnd(how, { status, output, cost, requestId });
    const whole = complete && kept.length === this.assembly.blocks.length;
    const row: TurnRow = {
      ...this.row,
      status,
      endedAt: now,
      outcome,
      cost,
      tokens: complete && usage ? inputTokens(usage) + (usage.output_tokens ?? 0) : null,
      frame: whole ? this.row.frame : null,
      events: this.log.events,
      settled: meter === undefined,
      model: outcome.model ?? this.row.model,
    };
    const answer = kept.length > 0 ? JSON.stringify({ role: 'assistant', content: kept }) : undefined;
    const known = this.#transcript.recollection;
    const trailer = { outcome, nanodollars: cost };
    this.log.finish(JSON.stringify(trailer));
    if (!committed) this.#transcript.deleteMessages('turn = ?', row.seq);
    else if (answer !== undefined) {
      const seq = next.nextMessage - 1;
      this.#transcript.addMessage({
        seq,
        turn: row.seq,
        id: this.#answerId(),
        role: 'assistant',
        createdAt: now,
        text: answer,
      });
    }
    for (const { content, ...message } of mended) {
      this.#transcript.deleteMessages('seq = ?', message.seq);
      if (content.length === 0) continue;
      this.#transcript.addMessage({ ...message, text: JSON.stringify({ role: 'assistant', content }) });
    }
    this.#transcript.endTurn(row);
    this.#transcript.save(next);
    // Last, since it shows the end: what came before it has not failed.
    this.log.store();
    Object.assign(this.row, row);
    if (known?.fresh?.turn === row.seq && committed && status !== 'refused' && mended.length === 0) {
      this.#transcript.recollect(grown(known, this.row, answer));
    }
    this.ended = {
      status,
      trailer,
      message: this.#message(how, status, { ...outcome.usage, output_tokens: output }, kept),
      error,
    };
    this.log.end();
    return booking?.done;
  }

  /**
   * Where a paused answer has gone on and did not come to the results of its tools, what owed them is taken out of it:
   * the API takes no question after it otherwise.
   */
  #mend(kept: readonly Json[]): (Omit<MessageRow, 'text'> & { content: Json[] })[] {
    if (kept.length === 0 || !this.row.follows || this.#newMessages() > 0) return [];
    const earlier: (MessageRow & { content: Json[] })[] = [];
    for (const row of this.#transcript.history({ sent: true, backwards: true })) {
      if (row.role !== 'assistant') break;
      const { content } = parse(row.text) ?? {};
      if (Array.isArray(content)) earlier.push({ ...row, content: content.filter(isObject) });
    }
    const said = [...earlier.flatMap(({ content }) => content), ...kept];
    const results = new Set(said.map(({ tool_use_id }) => String(tool_use_id)));
    return earlier.flatMap(({ text: _, ...row }) => {
      const content = withoutOwed(row.content, results);
      return content.length === row.content.length ? [] : [{ ...row, content }];
    });
  }

  #statusOf(how: How, kept: number, stopReason: string | null): TurnStatus {
    if (how.kind !== 'complete') {
      if (kept === 0) return 'failed';
      return how.kind === 'stopped' ? 'stopped' : 'interrupted';
    }
    if (stopReason === 'refusal') return 'refused';
    if (kept > 0) return 'complete';
    // Nothing was asked for: it warmed the cache.
    return this.maxTokens === 0 ? 'failed' : 'empty';
  }

  /** Adds the last events. @returns the error that they tell, if they do */
  #addEnd(
    how: How,
    { status, output, cost, requestId }: { status: TurnStatus; output: number; cost: Nanodollars; requestId: string },
  ): Ended['error'] {
    const price = `: sluice-cost-usd=${formatUsd(cost)}\n\n`;
    if (how.kind === 'complete') {
      this.log.write('message_stop', '{"type":"message_stop"}', price);
      return undefined;
    }
    if (how.kind === 'error') {
      const error = errorOf(how.frame.data);
      this.log.write('error', parse(how.frame.data) ? how.frame.data : JSON.stringify(errorBody(error, requestId)));
      return error;
    }
    if (how.kind === 'stopped' && status === 'stopped') {
      for (const index of this.assembly.openIndices) {
        this.log.write('content_block_stop', JSON.stringify({ type: 'content_block_stop', index }));
      }
      const delta = { stop_reason: 'end_turn', stop_sequence: null };
      const usage = { output_tokens: output };
      this.log.write('message_delta', JSON.stringify({ type: 'message_delta', delta, usage }));
      this.log.write('message_stop', '{"type":"message_stop"}', STOPPED_REMARK + price);
      return undefined;
    }
    const error =
      how.kind === 'cut'
        ? { type: how.error.type, message: how.error.message }
        : {
            type: 'api_error',
            message: 'This turn was stopped before anything was said: it has not become part of the conversation.',
          };
    this.log.write('error', JSON.stringify(errorBody(error, requestId)));
    return error;
  }

  /** @returns how a try ends that got no answer. */
  unanswered(now: number): Outcome {
    const { sentAt } = this.course;
    return {
      ...wholeReportOf(undefined, 0),
      error_type: 'upstream_unreachable',
      seen: nothingSeen(now - (sentAt ?? now)),
      status: undefined,
      sent: sentAt !== undefined,
      end: 'cut',
      upstream_request_id: undefined,
      ttft_ms: 0,
    };
  }

  /** A try was admitted and sent: what settles it is to be stored, for an object that dies. */
  grant({ requestId, grant }: Pick<Admission, 'requestId' | 'grant'>, now: number): void {
    Object.assign(this.row, { grant: { ...grant, requestId }, sentAt: now, coversUntil: now + COVER_MS });
    this.#isGrantStored = false;
  }

  /** Stores what settles the try that has gone up, unless that has been done. */
  storeGrant(): void {
    if (this.#isGrantStored || this.ended) return;
    this.#isGrantStored = true;
    this.#transcript.grantTurn(this.row);
  }

  /** The upstream has answered the try that went up last. */
  begin(now: number): void {
    this.#clock = new UnseenClock(this.course.sentAt ?? now);
    this.#now = now;
  }

  /** The turn still runs, in a silence: what may have been written until the next look is covered. */
  cover(now: number): void {
    this.row.coversUntil = now + COVER_MS;
    this.#transcript.coverTurn(this.row);
  }

  /** How long what was not seen may have been written, until then. */
  unseenUntil(at: number): number {
    return this.#lostMs ?? this.#clock?.until(at) ?? at - (this.course.sentAt ?? at);
  }

  #outcome(how: How, now: number): Outcome {
    const isTold = how.kind === 'complete' && this.#isPriced;
    const report = isTold ? this.#wholeReport() : this.#partReport(how, now);
    const end: Outcome['end'] = how.kind === 'stopped' ? 'cut' : how.kind === 'cut' ? how.end : how.kind;
    return {
      ...report,
      completed: how.kind === 'complete',
      error_type: how.kind === 'cut' ? how.error.logged : report.error_type,
      status: this.status,
      sent: this.course.sentAt !== undefined,
      end,
      upstream_request_id: this.upstreamRequestId,
      ttft_ms: Math.max(0, (this.firstByteAt ?? this.row.beganAt) - this.row.beganAt),
    };
  }

  /** What a whole answer tells is in its message. */
  #wholeReport(): Report {
    const { model } = this.assembly.message ?? {};
    return {
      ...wholeReportOf(undefined, this.#bytes),
      model: typeof model === 'string' ? model : undefined,
      usage: checkedUsage(this.assembly.usage),
      fallbacks: fallbacksIn(this.assembly.blocks.map(({ value }) => value)),
      stop_reason: this.assembly.stopReason,
      completed: true,
    };
  }

  /** What was said of another is measured by its events: the log has them. */
  #partReport(how: How, now: number): Report {
    const usage = new UsageReader({ readsBlocks: true });
    usage.push(encoder.encode(this.log.text));
    // An event that was cut in its middle was written all the same.
    if (how.kind === 'cut' || how.kind === 'stopped') usage.push(encoder.encode(this.#frames.rest));
    if (how.kind === 'error') usage.push(encoder.encode(`event: error\ndata: ${how.frame.data}\n\n`));
    const { seen = nothingSeen(0), ...report } = usage.report;
    // Its events are read here at once: when they came, the turn has noted.
    const unseen_ms = this.unseenUntil(now);
    const silent_ms = this.#clock?.silence(now) ?? 0;
    const later_prompts = seen.later_prompts.map(({ tokens }) => ({ tokens, unseen_ms }));
    const handed_over = seen.handed_over && { ...seen.handed_over, unseen_ms };
    return { ...report, seen: { ...seen, unseen_ms, silent_ms, later_prompts, handed_over }, bytes: this.#bytes };
  }

  #message(how: How, status: TurnStatus, usage: Usage, kept: Json[]): Json | undefined {
    const { message, blocks } = this.assembly;
    if (how.kind === 'complete') return { ...message, content: blocks.map(({ value }) => value) };
    if (status !== 'stopped') return undefined;
    return { ...message, content: kept, stop_reason: 'end_turn', stop_sequence: null, usage };
  }

  #newMessages(): number {
    if (this.#asked !== undefined) return this.#asked;
    const [row] = this.#transcript.read('select count(*) as messages from messages where turn = ?', this.row.seq);
    return Number(row?.messages ?? 0);
  }

  /** The API's own, so that a client finds the message that it has seen arrive. */
  #answerId(): string {
    const id = this.assembly.message?.id;
    return typeof id === 'string' && /^[\w-]{1,128}$/.test(id) ? id : `msg_${this.row.id}_answer`;
  }
}

/** @returns what is to be told to the account about a conversation. */
export function reportOf(profile: Profile): ConversationReport {
  const { id, version, createdAt, updatedAt, title, turns, messages, bytes, exists, deleted } = profile;
  return { id, version, createdAt, updatedAt, title, turns, messages, bytes, gone: deleted || !exists };
}

function nextProfile(profile: Profile, committed: boolean, answers: number, asked: number, now: number): Profile {
  const version = Math.max(profile.version + 1, now);
  if (!committed) return { ...profile, version };
  return {
    ...profile,
    exists: true,
    updatedAt: now,
    version,
    turns: profile.turns + 1,
    messages: profile.messages + asked + answers,
    nextMessage: profile.nextMessage + asked + answers,
  };
}

function blockTypeOf({ content_block }: Json): unknown {
  if (!isObject(content_block)) return undefined;
  const { type, name } = content_block;
  return type === 'server_tool_use' && name === 'advisor' ? ADVISOR : type;
}

/** @returns how long a turn that died may have written what nobody saw: no longer than what was stored covers. */
function unseenWhenLost(transcript: Transcript, row: TurnRow, { blocks, openIndices }: Assembly): number {
  const sentAt = row.sentAt ?? row.beganAt;
  const { at = sentAt, unseenMs = 0 } = transcript.lastLogged(row.seq) ?? {};
  const last = blocks.at(-1);
  // The input of a call may come in large pieces.
  const isHidden = isThinking(last?.value.type) || last?.value.type === 'tool_use';
  const isUnseen = !last || openIndices.length === 0 || isHidden;
  if (!isUnseen) return unseenMs + LOST_MS;
  return unseenMs + Math.max(0, Math.max(row.coversUntil ?? 0, at + COVER_MS) - at);
}

/** @returns every token of a prompt, cached or not. */
function inputTokens(usage: Report['usage']): number {
  return (usage?.input_tokens ?? 0) + (usage?.cache_read_input_tokens ?? 0) + (usage?.cache_creation_input_tokens ?? 0);
}

function errorOf(data: string): { type: string; message: string } {
  const error = parse(data)?.error;
  const { type, message } = isObject(error) ? error : {};
  return {
    type: typeof type === 'string' ? type : 'api_error',
    message: typeof message === 'string' ? message : 'The upstream ended its answer with an error.',
  };
}

function parse(data: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(data);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
