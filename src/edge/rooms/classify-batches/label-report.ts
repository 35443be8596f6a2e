/** How a classification by batch is shown. No I/O. */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { isoTimeOrNull } from '../../kit/http/times.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import { Total } from '../../named/classify/task/total.ts';
import type { LabelsOpening } from '../batches/contracts/batch.ts';
import type { LabelCounts } from './contracts/classification.ts';

interface Reported extends Pick<LabelsOpening, 'model' | 'version'> {
  id: string;
  batch: string;
  isEnded: boolean;
  counts: LabelCounts & { labelled?: number; failed?: number };
  usage?: ClassificationReport['usage'] | undefined;
  cost?: Nanodollars | undefined;
  createdAt: number;
  cancelAt?: number | undefined;
  endedAt?: number | undefined;
}

/** @returns the state of a classification. The address of its results depends on the caller. */
export function shownLabels(reported: Reported): ClassificationReport {
  const { id, isEnded, version, model, counts, batch, cancelAt, usage, cost, createdAt, endedAt } = reported;
  return {
    id,
    type: 'classification_batch',
    status: isEnded ? 'ended' : cancelAt === undefined ? 'in_progress' : 'canceling',
    classifier: version,
    model,
    counts: { labelled: 0, failed: 0, ...counts, processing: isEnded ? 0 : counts.inputs },
    batch: counts.requests > 0 ? batch : null,
    usage: isEnded ? (usage ?? new Total().usage) : null,
    cost_usd: isEnded && cost !== undefined ? toUsd(cost) : null,
    created_at: new Date(createdAt).toISOString(),
    ended_at: isoTimeOrNull(endedAt),
    results_url: null,
  };
}
