import type { Json } from '../../kit/json/object.ts';
import type { FrameReader } from '../../kit/sse/frames.ts';
import type { TurnLog } from './event-log.ts';
import type { MessageBuilder } from './message-builder.ts';

/** What a turn is, where it is not a plain one that begins: a step of a run, or what a crash has left. */
export interface TurnOptions {
  /** For a step of a run: makes its part of the run's log. */
  logOf?: (builder: MessageBuilder) => TurnLog;
  /** For a step of a run: returns its calls of the edge's tools as its row stores them; null if there are none. */
  callsIn?: (content: readonly Json[]) => string | null;
  /** Whether it is a later step of a run. (A run counts as one turn.) */
  isLater?: boolean;
  /** Whether the edge has made its messages, as in a step with results of calls. They do not stay without an answer. */
  isOfEdge?: boolean;
  /** For a step of a run: the run, as clients know it. */
  shownAs?: { isReported?: boolean };
  /** How many new messages the turn has; absent if they must be counted in the rows. */
  newMessages?: number;
  /** The state of a turn that was interrupted by a crash, restored from its log. */
  recovered?: {
    log: TurnLog;
    builder: MessageBuilder;
    frames: FrameReader;
    bytes: number;
    /** Milliseconds in which unseen output may have been written. */
    unseenMs: number;
    /** Milliseconds of which nothing was stored before the crash. */
    lostMs: number;
    /** Whether its run may go on. */
    goesOn?: boolean;
  };
}
