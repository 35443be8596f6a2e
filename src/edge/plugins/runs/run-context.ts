import type { NextRequestPlan } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import type { TurnExecutor } from '../../conversations/turn/turn-executor.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { AdmissionDecision } from '../../money/contracts/admission.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import type { ToolCallRow } from './call-rows.ts';
import type { PauseReason } from './limits.ts';
import type { RunPausingForApproval } from './pauses.ts';
import type { RunHandle } from './run-handle.ts';
import type { LiveStepWriter } from './run-stream.ts';
import type { EarlierRunsLimitsUsage } from './stored-run.ts';
import type { ToolKindRunContext } from './tool-kind.ts';

/** What a run needs from its object. */
export interface RunContext extends ToolKindRunContext, Omit<RunPausingForApproval, 'row'> {
  conversation: string;
  requestId: string;
  isStreaming: boolean;
  /** For a run that continues after approvals: the usage of the same limits by the run before it. */
  carried: EarlierRunsLimitsUsage | undefined;
  /** @returns why its caller may not continue; undefined if it may. @throws ObjectUnreachableError while the account cannot be reached */
  findCredentialRejection(): Promise<AdmissionDecision | undefined>;
  /** Plans the next step from a body. Writes nothing. @throws ApiError as `planNextRequest` */
  planNextStep(body: string): NextRequestPlan;
  /** Stores a step and makes its runner. */
  storeAndCreateStep(plan: NextRequestPlan, step: NewStepOptions): TurnExecutor;
  /** Follows up the settlement of a step until the account has confirmed it. */
  trackStepSettlement(row: TurnRow, settled: Promise<SettlementResult> | undefined): void;
  /** Stores that the run waits until a time, in milliseconds since 1970, and has an alarm wake it then. */
  recordWait(reason: PauseReason, until: number): void;
  /** Called in the step in which the run has ended. */
  onRunEnd(turn: RunHandle): void;
  onUnexpectedError(thrown: unknown): void;
}

/** A step that will begin. */
interface NewStepOptions {
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
  costLimit: number | undefined;
  /** The number of the last event before it. */
  logged: number;
  createStepWriter(builder: MessageBuilder): LiveStepWriter;
  findEdgeCalls(content: readonly JsonObject[]): readonly Pick<ToolCallRow, 'id' | 'name'>[];
  onStepEnd(settled: Promise<SettlementResult> | undefined): void;
}
