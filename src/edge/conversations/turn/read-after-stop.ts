/**
 * Continues to read an answer briefly after a client has stopped its turn, because the upstream bills what it has generated.
 */

import { classifyIfFailed } from '../../claude/classify-failure.ts';
import { isEventStream } from '../../claude/content-type.ts';
import { ABANDONED_HEADERS_MS, DRAIN_CHECK_MS, type UpstreamExchange } from '../../claude/exchange.ts';
import { readStartOfError } from '../../claude/relay/read-start.ts';
import type { StreamReadResult } from '../../claude/relay/tee-reader.ts';
import { SMALL_PIECE_BYTES } from '../../claude/relay/tee-reader.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import type { StoredOutcome } from '../history/storage/rows.ts';
import { createTurnStoppedError, type TurnAborter } from './turn-abort.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** Milliseconds after a stop. Most answers begin within this time, and need no count. */
const COUNT_AFTER_MS = 1_000;

/** What reading on needs from its turn. */
interface ReadAfterStopOptions {
  turn: TurnRecorder;
  abort: TurnAborter;
  /** The id of the conversation. */
  conversation: string;
  now(): number;
  /** Counts the prompt. @returns undefined where it is not counted */
  countPrompt(): Promise<number | undefined>;
}

/** The part of an answer that is read after the stop of its turn: until its first event, but not for long. */
export class ReadAfterStop {
  readonly #options: ReadAfterStopOptions;
  /** Reads the answer on; undefined while nothing can be read. */
  #readOn: (() => Promise<unknown>) | undefined;

  constructor(options: ReadAfterStopOptions) {
    this.#options = options;
  }

  /**
   * Waits for work that reads the answer, until the turn is aborted at most.
   *
   * @param readOn reads the answer on if the turn is stopped meanwhile
   * @throws ApiError the reason of the abort
   */
  async raceWithAbort<T>(work: Promise<T>, readOn: () => Promise<unknown>): Promise<T> {
    this.#readOn = readOn;
    try {
      return await this.#options.abort.raceWithAbort(work);
    } finally {
      this.#readOn = undefined;
    }
  }

  /** Begins to read after the stop. @returns the outcome, which never rejects; undefined if nothing can be read */
  begin(): Promise<StoredOutcome> | undefined {
    const { turn, abort, now } = this.#options;
    const readOn = this.#readOn;
    if (!readOn || turn.progress.sentAt === undefined || abort.reason) return undefined;
    turn.progress.isAbandoned = true;
    const until = now() + 2 * DRAIN_CHECK_MS + (turn.hasAnswerBegun ? 0 : ABANDONED_HEADERS_MS);
    const outcome = this.#readToFirstEvent(readOn);
    turn.lateReading = { outcome, until };
    return outcome;
  }

  /** Reads to the first event, or for a moment, and ends the request. Never rejects. */
  async #readToFirstEvent(readOn: () => Promise<unknown>): Promise<StoredOutcome> {
    const { turn, abort, now } = this.#options;
    const since = Date.now();
    const over = Promise.withResolvers<void>();
    let closedAt: number | undefined;
    let isCounted = false;
    const timer = setInterval(() => {
      // Count the prompt while the object is alive: if the object dies, the prompt is lost and its tokens can no longer be
      // counted.
      if (!isCounted && !turn.hasAnswerBegun && Date.now() - since >= COUNT_AFTER_MS) {
        isCounted = true;
        void this.#countUnansweredPrompt();
      }
      if (closedAt !== undefined) over.resolve();
      else if (turn.hasAnswerBegun || Date.now() - since >= ABANDONED_HEADERS_MS) {
        closedAt = now();
        // End the request. Bytes that arrived before this abort are still read.
        abort.controller.abort(createTurnStoppedError());
      }
    }, DRAIN_CHECK_MS);
    // An error while reading is not important: the turn is settled by the part of the answer that has arrived.
    await Promise.race([readOn(), over.promise]).catch(() => undefined);
    clearInterval(timer);
    abort.abortTurn(createTurnStoppedError());
    turn.progress.recordResponseEnd?.(false);
    return turn.buildOutcomeAfterEnd(closedAt ?? now());
  }

  /** Counts the prompt of an answer that does not begin. Never rejects. */
  async #countUnansweredPrompt(): Promise<void> {
    const { turn, conversation, countPrompt } = this.#options;
    try {
      const tokens = await countPrompt();
      if (tokens !== undefined) turn.recordPromptTokens(tokens);
    } catch (thrown) {
      logBackgroundFailure({ conversation, turn: turn.row.id }, thrown);
    }
  }

  /**
   * Reads a response whose turn was stopped before its headers arrived, until it ends or is aborted. The turn records its
   * usage.
   */
  async readResponse(response: Response, exchange: UpstreamExchange): Promise<void> {
    const { turn, abort, now } = this.#options;
    const { progress } = turn;
    turn.startAnswerClock(now());
    turn.status = response.status;
    turn.upstreamRequestId = exchange.upstreamRequestId;
    if (!response.ok) {
      const { text, response: refusal } = await readStartOfError(response);
      if (!classifyIfFailed(response, text, progress.elapsedMs)?.mayHaveRun) progress.sentAt = undefined;
      if (!refusal.bodyUsed) await refusal.body?.cancel();
      return;
    }
    const { body } = response;
    if (!body || !isEventStream(response)) return;
    turn.firstByteAt = now();
    if (progress.opening) turn.takePieceAfterEnd(progress.opening, now());
    const reader = body.getReader({ mode: 'byob' });
    abort.readers = [reader];
    let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
    for (;;) {
      const { value, done }: StreamReadResult = await reader.read(new Uint8Array(buffer));
      if (done || !value) return;
      turn.takePieceAfterEnd(value, now());
      buffer = value.buffer as ArrayBuffer;
    }
  }
}
