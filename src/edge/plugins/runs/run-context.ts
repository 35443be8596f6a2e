import type { NextRequest } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import type { TurnExecutor } from '../../conversations/turn/turn-executor.ts';
import type { Json } from '../../kit/json/object.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import type { CallRow } from './call-rows.ts';
import type { PauseReason } from './limits.ts';
import type { PausingRun } from './pauses.ts';
import type { RunHandle } from './run-handle.ts';
import type { LiveStepLog } from './run-stream.ts';
import type { CarriedLimits } from './stored-run.ts';
import type { CalledRun } from './tool-kind.ts';

/** What a run needs from its object. */
export interface RunContext extends CalledRun, Omit<PausingRun, 'row'> {
  conversation: string;
  requestId: string;
  isStreaming: boolean;
  /** If it goes on after approvals: what the run before it has used of the same limits. */
  carried: CarriedLimits | undefined;
  /** @returns whether the credential of its caller has ended. @throws ObjectUnreachable while the account cannot be reached */
  isRevoked(): Promise<boolean>;
  /** Plans the next step from a body. Writes nothing. @throws ApiError as `nextRequest` */
  plan(body: string): NextRequest;
  /** Stores a step and makes its runner. */
  begin(plan: NextRequest, step: NewStep): TurnExecutor;
  /** Follows up the settlement of a step until the account has confirmed it. */
  settle(row: TurnRow, settled: Promise<Settled> | undefined): void;
  /** Stores that the run waits until a time, in milliseconds since 1970, and has an alarm wake it then. */
  noteWait(reason: PauseReason, until: number): void;
  /** Called in the step in which the run has ended. */
  onEnd(turn: RunHandle): void;
  onBroken(thrown: unknown): void;
}

/** A step that will begin. */
interface NewStep {
  run: RunHandle;
  /** The name of its first try in the ledger. */
  requestId: string;
  /** Which of the run's steps it is, from 1. */
  number: number;
  /** Whether a step before it is part of the history. */
  isLater: boolean;
  /** Whether the edge has made its message, and not a client. */
  isOfEdge: boolean;
  /** What it may cost, in nanodollars; undefined if that is not limited. */
  most: number | undefined;
  /** The number of the last event before it. */
  logged: number;
  logOf(builder: MessageBuilder): LiveStepLog;
  callsIn(content: readonly Json[]): readonly Pick<CallRow, 'id' | 'name'>[];
  onEnd(settled: Promise<Settled> | undefined): void;
}
