import type { NextRequest } from '../history/next-request.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { TurnLog } from './event-log.ts';
import type { Started } from './read-buffered-answer.ts';
import type { Ended } from './turn-ending.ts';

/** A turn that runs or has ended, as those see it who answer from it. */
export interface RunningTurn {
  readonly row: TurnRow;
  readonly log: Pick<TurnLog, 'id' | 'follow' | 'takeComplete' | 'opening'>;
  readonly ended: Ended | undefined;
  /** Whether a caller may have been told that it goes on in the background: then its end is told, whatever it is. */
  isReported?: boolean;
}

/** What runs a turn: one request, or the steps of a run. */
export interface Runner {
  readonly turn: RunningTurn;
  /** Settles when the upstream has answered, or will not. Never rejects. */
  readonly started: Promise<Started>;
  /** Settles when its request has gone up, or will not. Never rejects. */
  readonly admitted: Promise<void>;
  /** Settles when the turn has ended. Never rejects. */
  readonly done: Promise<void>;
  /** Runs the turn to its end. Never rejects. */
  go(plan: NextRequest): Promise<void>;
  /** Ends the turn, and stores the part of the answer that has come. */
  stop(): void;
  /** Renews the hold of what has gone up. */
  renew(): Promise<void>;
}
