import type { Identity } from '../../auth/identity/caller.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { listTurnsOfRun } from '../history/storage/turn-queries.ts';
import type { TurnEventLog } from './event-log.ts';
import type { UpstreamStartResult } from './read-buffered-answer.ts';
import type { TurnResult } from './turn-ending.ts';

/** A turn that runs or has ended, for code that answers from it. */
export interface TurnHandle {
  readonly row: TurnRow;
  readonly log: Pick<TurnEventLog, 'id' | 'follow' | 'takeComplete' | 'shownInMemory' | 'blocks'>;
  readonly result: TurnResult | undefined;
  /**
   * Whether a caller may have got the response that the turn continues in the background. Then its end is always sent as an event.
   * Compare `TurnRecorder.isAcknowledged`.
   */
  isReported?: boolean;
}

/**
 * @returns whether a turn failed before the account admitted it, and no client knows of it yet. Then its caller gets the error,
 *   and no event is sent
 */
export function isUnreportedRejection(transcript: Transcript, { row, result: ended, isReported }: TurnHandle): boolean {
  if (isReported || ended?.status !== 'failed') return false;
  const steps = row.run === null ? [row] : listTurnsOfRun(transcript, row.seq).slice(1);
  return steps.every(({ grant }) => grant === null);
}

/** Runs a turn: one request, or the steps of a run. */
export interface TurnRunner {
  readonly turn: TurnHandle;
  /** The caller that began it. */
  readonly identity: Identity;
  /**
   * Settles when all messages of the turn are stored, or the turn has ended without them. If the object crashes before
   * that, the turn fails, and its messages are deleted. Absent if they were stored with the turn. Never rejects.
   */
  readonly messagesStored?: Promise<void> | undefined;
  /** Settles when the upstream has answered, or it is clear that it will not. Never rejects. */
  readonly upstreamAnswered: Promise<UpstreamStartResult>;
  /** Until when it waits for an alarm, in milliseconds since 1970, holding no money; undefined while it works. */
  readonly waitsUntil?: number | undefined;
  /** Settles when its request has been sent, or it is clear that it will not. Never rejects. */
  readonly requestSent: Promise<void>;
  /** Settles when the turn has ended. Never rejects. */
  readonly done: Promise<void>;
  /** Runs the turn to its end. Never rejects. */
  runToEnd(plan: NextRequestPlan): Promise<void>;
  /** Ends the turn, and stores the part of the answer that has come. */
  stopTurn(): void;
  /**
   * Ends the turn as `stopTurn` does, because its credential was revoked. A run makes no further call, and reports the reason.
   */
  stopForRevokedCredential(): void;
  /** Renews the hold of the request that has been sent. */
  renewHold(): Promise<void>;
}
