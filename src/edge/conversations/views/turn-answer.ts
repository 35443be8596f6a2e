/** The answer to a turn, on its way from the object of its conversation to its caller. */

import type { RequestOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { RemainingBudget } from '../../money/admission/budget-left.ts';

/** An error as it crosses from the object to the edge. */
export interface SerializedApiError {
  type: ApiError['type'];
  message: string;
  status: number;
  headers: Record<string, string>;
  logged: string;
  upstreamSaid?: string | undefined;
}

export type TurnAnswer =
  /** A stream of events that continues. `first` are the events that have been shown already. They come with the answer, and the stream has the rest. */
  | { kind: 'stream'; turn: string; headers: Record<string, string>; first?: string; body: ReadableStream<Uint8Array> }
  /** The complete stream of a turn that has ended, as one text. */
  | { kind: 'complete_stream'; turn: string; headers: Record<string, string>; events: string; trailer: TurnSummary }
  /** A response that is not a stream: a message, an error of the upstream, or the 202 of a turn in the background. */
  | {
      kind: 'response';
      turn: string;
      status: number;
      headers: Record<string, string>;
      body: string;
      trailer?: TurnSummary | undefined;
    }
  /** `isEnd` where the answer had begun: then the error may be in the upstream's words. */
  | { kind: 'error'; error: SerializedApiError; isEnd?: boolean };

/** A turn's answer on its way to the edge. A complete one is packed into a text, which costs less to pass. */
export type PackedTurnAnswer = Exclude<TurnAnswer, { kind: 'complete_stream' }> | string;

/** The turn's summary, for the edge's log line and headers. It follows the end of a stream. */
export interface TurnSummary {
  outcome: RequestOutcome;
  /** Absent where the turn was stopped, and its answer is still read: its cost is not known yet. */
  nanodollars?: Nanodollars;
  /** The remaining budget of the caller's account; absent if it has no limits, and once the turn has ended. */
  budget?: RemainingBudget;
}
