/** The request of a run, as it is stored until the run ends: a run goes on from it after a crash, and behind approvals. */

import type { TurnRequest } from '../durable/contracts/conversation.ts';
import { parseObject } from '../json/object.ts';
import { heldAgent } from './held-agent.ts';
import { type PlannedRun, plannedRun } from './history/next-request.ts';
import type { ConversationContext } from './maintenance.ts';
import type { CarriedLimits } from './runs/limits.ts';
import type { TurnRow } from './storage/rows.ts';

/** What a run needs of its request, also after a crash. */
export type RunRequest = Omit<TurnRequest, 'body' | 'again' | 'retried'>;

/** @returns whether a turn is a run also without tools of the edge: a subagent keeps the limits that it was given. */
export function isRun(request: Pick<TurnRequest, 'parent'>): boolean {
  return request.parent !== undefined;
}

/** @returns what is stored of a run's request, and the run planned from it anew; undefined where it is not there */
export function storedRunOf(
  context: ConversationContext,
  { seq }: TurnRow,
): { request: RunRequest; planned: PlannedRun; carried: CarriedLimits | undefined } | undefined {
  const stored = parseObject(context.transcript.calls.requestOf(seq));
  if (!stored) return undefined;
  const request = stored.request as RunRequest;
  const planned = plannedRun(String(stored.rest ?? '{}'), context.transcript, heldAgent(context), isRun(request));
  return planned && { request, planned, carried: stored.carried as CarriedLimits | undefined };
}
