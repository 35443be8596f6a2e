/** One turn while it runs, and how it ends: the same for one that ends by itself, is stopped, is cut, or has died. */

import type { Admission, RequestMeter } from '../../accounts/admission/admission.ts';
import type { Settled } from '../../durable/contracts/settlement.ts';
import { isObject, type Json } from '../../json/object.ts';
import { isCount, type Usage } from '../../pricing/cost.ts';
import { DELTA_END, DELTA_LINES, type Frame, FrameReader, readFrame } from '../../sse/frames.ts';
import type { SendProgress } from '../../upstream/attempt.ts';
import { interrupted } from '../../upstream/failure.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import { ADVISOR, HiddenOutputClock } from '../../upstream/usage/hidden-output.ts';
import { isPending, replayableBlocks } from '../history/replayable-blocks.ts';
import { grown } from '../storage/history-cache.ts';
import type { TurnRow, TurnStatus } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { messagesOf } from '../storage/turn-queries.ts';
import { EventLog } from './event-log.ts';
import { MessageBuilder } from './message-builder.ts';
import {
  addEnd,
  conversationReportOf,
  type Ended,
  eventData,
  mend,
  nextProfile,
  type TurnEnd,
  turnStatusOf,
} from './turn-ending.ts';
import { inputTokens, partReport, wholeReport } from './turn-report.ts';

/** What a piece of a stream came to. */
export interface TakenPiece {
  structural: boolean;
  said: boolean;
  how?: TurnEnd;
}

/**
 * How far what is stored covers a turn of which nothing more is stored: a turn that runs in a silence stores every
 * fifteen seconds that it does.
 */
export const COVER_MS = 20_000;
const DELTA_EVENT = 'content_block_delta';

export interface TurnOptions {
  /** How many messages the turn has asked with; absent where that must be looked up. */
  asked?: number;
  /** Of a turn that died: what its log tells. */
  found?: {
    log: EventLog;
    assembly: MessageBuilder;
    frames: FrameReader;
    /** Bytes of what is stored. */
    bytes: number;
    /** How long what was not seen may have been written. */
    unseenMs: number;
  };
}

export class Turn {
  readonly log: EventLog;
  readonly assembly: MessageBuilder;
  /** Bytes of the upstream's stream. */
  #bytes: number;
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** What has gone up, and may be running. */
  readonly course: SendProgress = { sentAt: undefined };
  #clock: HiddenOutputClock | undefined;
  firstByteAt: number | undefined;
  #isGrantStored = true;
  /** Whether its final usage has come. */
  #isPriced = false;
  /** When the piece came that is taken now. */
  #now = 0;
  /** Of a turn that died: how long what was not seen may have been written. */
  readonly #lostMs: number | undefined;
  /** Set once it has ended. */
  ended: Ended | undefined;
  readonly row: TurnRow;
  readonly maxTokens: number;
  readonly #transcript: Transcript;
  readonly #frames: FrameReader;

  readonly #asked: number | undefined;

  constructor(transcript: Transcript, row: TurnRow, maxTokens: number, { asked, found }: TurnOptions = {}) {
    this.#transcript = transcript;
    this.#asked = asked;
    this.row = row;
    this.maxTokens = maxTokens;
    this.log = found?.log ?? new EventLog(transcript, row);
    this.assembly = found?.assembly ?? new MessageBuilder();
    this.#frames = found?.frames ?? new FrameReader();
    this.#bytes = found?.bytes ?? 0;
    this.#lostMs = found?.unseenMs;
  }

  /**
   * Takes a piece of the upstream's stream.
   *
   * @param now when it came; milliseconds since 1970
   * @returns what was in it: events that frame the answer, or what it says; or how the turn ends by it
   */
  take(piece: Uint8Array, now: number): TakenPiece {
    this.#bytes += piece.length;
    this.#now = now;
    const all: TakenPiece = { structural: false, said: false };
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
  takeRest(): TurnEnd | undefined {
    const { last } = this.#frames;
    return last && eventData(last.data) !== undefined ? this.#takeFrame(last).how : undefined;
  }

  #takeFrame(frame: Frame): TakenPiece {
    const framing = { structural: true, said: false };
    const data = eventData(frame.data);
    if (frame.event === 'error') return { ...framing, how: { kind: 'error', frame } };
    // What no client can read is where the stream broke.
    if (data === undefined) return { ...framing, how: { kind: 'cut', error: interrupted(false), end: 'cut' } };
    this.assembly.take(data, frame.data);
    if (data.type === 'message_delta') this.#isPriced ||= isObject(data.usage) && isCount(data.usage.output_tokens);
    else if (data.type === 'content_block_start') this.#clock?.start(blockTypeOf(data), this.#now);
    else if (data.type === 'content_block_stop') this.#clock?.stop(this.#now);
    if (this.assembly.stopped) return { ...framing, how: { kind: 'complete' } };
    this.log.add(frame);
    const said = frame.event === DELTA_EVENT;
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
    how: TurnEnd,
    meter: Pick<RequestMeter, 'settle'> | undefined,
    now: number,
    requestId = this.row.requestId,
  ): Promise<Settled> | undefined {
    const profile = this.#transcript.profile;
    if (!profile) throw new TypeError('A turn without a conversation.');
    const outcome = this.#outcome(how, now);
    const complete = how.kind === 'complete';
    const stopReason = this.assembly.stopReason;
    const kept = replayableBlocks(this.assembly.blocks, complete ? { complete, stopReason } : { complete });
    const status = turnStatusOf(how, { kept: kept.length, stopReason, maxTokens: this.maxTokens });
    const committed = status !== 'failed';
    const next = nextProfile(profile, committed, kept.length > 0 ? 1 : 0, this.#newMessages(), now);
    const mended = this.#goesOn(kept) && !(complete && isPending(stopReason)) ? mend(this.#transcript, kept) : [];
    next.messages -= mended.filter(({ content }) => content.length === 0).length;
    const report = conversationReportOf({ ...next, bytes: this.#transcript.bytes });
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
    const error = addEnd(this.log, how, this.assembly.openIndices, { status, output, cost, requestId });
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

  /** A try was admitted and sent: what settles it is to be stored, for an object that dies. */
  grant({ requestId, grant }: Pick<Admission, 'requestId' | 'grant'>, now: number): void {
    const { upstream } = this.course;
    Object.assign(this.row, {
      grant: { ...grant, requestId, ...(upstream === undefined ? {} : { upstream }) },
      sentAt: now,
      coversUntil: now + COVER_MS,
    });
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
    this.#clock = new HiddenOutputClock(this.course.sentAt ?? now);
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

  #outcome(how: TurnEnd, now: number): RequestOutcome {
    const isTold = how.kind === 'complete' && this.#isPriced;
    const report = isTold
      ? wholeReport(this.assembly, this.#bytes)
      : partReport(how, {
          shown: this.log.text,
          rest: this.#frames.rest,
          bytes: this.#bytes,
          unseen_ms: this.unseenUntil(now),
          silent_ms: this.#clock?.silence(now) ?? 0,
        });
    const end: RequestOutcome['end'] = how.kind === 'stopped' ? 'cut' : how.kind === 'cut' ? how.end : how.kind;
    return {
      ...report,
      completed: how.kind === 'complete',
      error_type: how.kind === 'cut' ? how.error.logged : report.error_type,
      status: this.status,
      sent: this.course.sentAt !== undefined,
      end,
      upstream_request_id: this.upstreamRequestId,
      ...this.#told,
      ttft_ms: Math.max(0, (this.firstByteAt ?? this.row.beganAt) - this.row.beganAt),
    };
  }

  /** Where there are several upstreams: the name of the one that answered, or was tried last. */
  get #told(): Pick<RequestOutcome, 'upstream'> {
    const upstream = this.course.upstream ?? this.row.grant?.upstream;
    return upstream === undefined ? {} : { upstream };
  }

  #message(how: TurnEnd, status: TurnStatus, usage: Usage, kept: Json[]): Json | undefined {
    const { message, blocks } = this.assembly;
    if (how.kind === 'complete') return { ...message, content: blocks.map(({ value }) => value) };
    if (status !== 'stopped') return undefined;
    return { ...message, content: kept, stop_reason: 'end_turn', stop_sequence: null, usage };
  }

  /** Whether a paused answer has gone on in this one. */
  #goesOn(kept: readonly Json[]): boolean {
    return kept.length > 0 && this.row.follows && this.#newMessages() === 0;
  }

  #newMessages(): number {
    if (this.#asked !== undefined) return this.#asked;
    return messagesOf(this.#transcript, this.row.seq).length;
  }

  /** The API's own, so that a client finds the message that it has seen arrive. */
  #answerId(): string {
    const id = this.assembly.message?.id;
    return typeof id === 'string' && /^[\w-]{1,128}$/.test(id) ? id : `msg_${this.row.id}_answer`;
  }
}

function blockTypeOf({ content_block }: Json): unknown {
  if (!isObject(content_block)) return undefined;
  const { type, name } = content_block;
  return type === 'server_tool_use' && name === 'advisor' ? ADVISOR : type;
}
