/** The request of a run, which is stored until the run ends. A run continues with it after a crash, or after approvals. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { type PlannedRun, restorePlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { isRunEvenWithoutTools } from '../../conversations/object/begin-turn.ts';
import type { StartedTurnRequest, TurnRequest } from '../../conversations/object/contract.ts';
import { readRetainedAgent } from '../../conversations/object/initial-context.ts';
import type { ObjectContext } from '../../conversations/object/object-context.ts';
import { parseJsonObject } from '../../kit/json/object.ts';
import { getCallRows } from './run-rows.ts';

/** How much a run had used of its limits before a crash. */
export interface RunLimitsUsage {
  steps: number;
  calls: number;
  cost: Nanodollars;
}

/** How much the runs before this one have used of the limits. The time of waiting for approval does not count. */
export interface EarlierRunsLimitsUsage extends RunLimitsUsage {
  ms: number;
}

/**
 * @returns the part of a turn's request that is stored: without its transport, and without its body, which is stored separately
 */
export function toStorableTurnRequest({ body: _, call, ...request }: TurnRequest): StartedTurnRequest {
  const { isResent: __, isClientRetry: ___, ...stored } = call;
  return { ...request, call: stored };
}

/** @returns the stored request of a run, and the run planned from it again; undefined if no request is stored */
export function readStoredRun(
  conversation: Pick<ObjectContext, 'transcript' | 'settings'>,
  { seq }: TurnRow,
): { request: StartedTurnRequest; planned: PlannedRun; carried: EarlierRunsLimitsUsage | undefined } | undefined {
  const stored = parseJsonObject(getCallRows(conversation.transcript).readRunRequest(seq));
  if (!stored) return undefined;
  const request = stored.request as StartedTurnRequest;
  const planned = restorePlannedRun(
    String(stored.rest ?? '{}'),
    conversation.transcript,
    readRetainedAgent(conversation),
    isRunEvenWithoutTools(request),
  );
  return planned && { request, planned, carried: stored.carried as EarlierRunsLimitsUsage | undefined };
}
