/** The request of a run, which is stored until the run ends. A run goes on from it after a crash, or after approvals. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { type PlannedRun, restorePlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { isRun } from '../../conversations/object/begin-turn.ts';
import type { StartedRequest, TurnRequest } from '../../conversations/object/contract.ts';
import { retainedAgent } from '../../conversations/object/initial-context.ts';
import type { ObjectContext } from '../../conversations/object/object-context.ts';
import { parseObject } from '../../kit/json/object.ts';
import { callRowsOf } from './run-rows.ts';

/** What a run has used of its limits before a crash. */
export interface UsedLimits {
  steps: number;
  calls: number;
  cost: Nanodollars;
}

/** What the runs before this one have used of the limits. The time of waiting for approval does not count. */
export interface CarriedLimits extends UsedLimits {
  ms: number;
}

/** @returns what is stored of a turn's request: how it came no longer matters, and its body is stored by itself */
export function storableTurnRequest({ body: _, call, ...request }: TurnRequest): StartedRequest {
  const { again: __, retried: ___, ...stored } = call;
  return { ...request, call: stored };
}

/** @returns the stored request of a run, and the run planned from it again; undefined if no request is stored */
export function readStoredRun(
  conversation: Pick<ObjectContext, 'transcript' | 'settings'>,
  { seq }: TurnRow,
): { request: StartedRequest; planned: PlannedRun; carried: CarriedLimits | undefined } | undefined {
  const stored = parseObject(callRowsOf(conversation.transcript).requestOf(seq));
  if (!stored) return undefined;
  const request = stored.request as StartedRequest;
  const planned = restorePlannedRun(
    String(stored.rest ?? '{}'),
    conversation.transcript,
    retainedAgent(conversation),
    isRun(request),
  );
  return planned && { request, planned, carried: stored.carried as CarriedLimits | undefined };
}
