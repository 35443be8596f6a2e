/** The request of a run, which is stored until the run ends. A run goes on from it after a crash, or after approvals. */

import { parseObject } from '../../kit/json/object.ts';
import type { ObjectContext } from '../../talk/answers/object-context.ts';
import type { TurnRequest } from '../../talk/contracts/conversation.ts';
import { readRequest } from '../../talk/contracts/read-request.ts';
import { retainedAgent } from '../../talk/conversations/retained-agent.ts';
import { type PlannedRun, plannedRun } from '../../talk/history/next-request.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { CarriedLimits } from './limits.ts';

/** The parts of its request that a run needs, even after a crash. */
export type RunRequest = Omit<TurnRequest, 'body' | 'again' | 'retried'>;

/**
 * @returns whether a turn is a run even without tools of the edge. A subagent always is: a run keeps the limits that it got.
 *   So is a turn that may go up again after a crash.
 */
export function isRun({ parent, retry }: Pick<TurnRequest, 'parent' | 'retry'>): boolean {
  return parent !== undefined || retry === true;
}

/** @returns the stored request of a run, and the run planned from it again; undefined if no request is stored */
export function storedRunOf(
  context: Pick<ObjectContext, 'transcript' | 'settings'>,
  { seq }: TurnRow,
): { request: RunRequest; planned: PlannedRun; carried: CarriedLimits | undefined } | undefined {
  const stored = parseObject(context.transcript.calls.requestOf(seq));
  if (!stored) return undefined;
  const request = readRequest(stored.request as RunRequest);
  const planned = plannedRun(String(stored.rest ?? '{}'), context.transcript, retainedAgent(context), isRun(request));
  return planned && { request, planned, carried: stored.carried as CarriedLimits | undefined };
}
