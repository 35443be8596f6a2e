/** How a classification is shown. No I/O. */

import { Total } from '../classification/task/total.ts';
import type { ClassificationReport } from '../durable/contracts/classification.ts';
import { isoTimeOrNull } from '../http/times.ts';
import { toUsd } from '../pricing/cost.ts';
import type { Job } from './job-tables.ts';

export const NO_COUNTS: Job['counts'] = { inputs: 0, cached: 0, repeated: 0, requests: 0, labelled: 0, failed: 0 };

/** @returns the state of a classification. The address of its results depends on the caller. */
export function shownJob(job: Job): ClassificationReport {
  const { id, phase, version, model, counts, batch, cancelAt, usage, cost, createdAt, endedAt } = job;
  const ended = phase === 'ended';
  return {
    id,
    type: 'classification_batch',
    status: ended ? 'ended' : cancelAt === undefined ? 'in_progress' : 'canceling',
    classifier: version,
    model,
    counts: { ...counts, processing: ended ? 0 : counts.inputs },
    batch: counts.requests > 0 ? batch : null,
    usage: ended ? (usage ?? new Total().usage) : null,
    cost_usd: ended && cost !== undefined ? toUsd(cost) : null,
    created_at: new Date(createdAt).toISOString(),
    ended_at: isoTimeOrNull(endedAt),
    results_url: null,
  };
}
