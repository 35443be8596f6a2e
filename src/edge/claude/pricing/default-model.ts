import { getModelLifecycle, type Model, type ModelTable } from '../models/models.ts';

/** @returns the model for requests of the edge that name none: the cheapest Haiku that is not retired. */
export function findDefaultModel({ rows }: ModelTable, now = Date.now()): Model | undefined {
  const current = rows.filter((row) => row.line === 'haiku' && getModelLifecycle(row, now) !== 'retired');
  return current.sort((left, right) => left.prices.input - right.prices.input)[0];
}
