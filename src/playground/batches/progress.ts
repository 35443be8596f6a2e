/** Says how far a batch is. */
import type { Batch } from '../../client/index.ts';
import { formatCount } from '../ui/format.ts';

const OUTCOMES = ['succeeded', 'errored', 'canceled', 'expired'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** @returns how many requests a batch has */
export function totalOf({ request_counts: { processing, ...ended } }: Batch): number {
  return Object.values(ended).reduce((sum, count) => sum + count, processing);
}

/** @returns how many requests ended in which way, without the ways in which none did */
export function outcomesOf({ request_counts }: Batch): [Outcome, number][] {
  return OUTCOMES.map((outcome) => [outcome, request_counts[outcome]] as [Outcome, number]).filter(
    ([, count]) => count > 0,
  );
}

/** @returns the state of a batch in words */
export function batchStateOf(batch: Batch): string {
  if (batch.processing_status === 'in_progress') return 'in progress';
  if (batch.processing_status === 'canceling') return 'canceling';
  return outcomesOf(batch)
    .map(([outcome, count]) => `${formatCount(count)} ${outcome}`)
    .join(', ');
}
