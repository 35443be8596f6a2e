import type { Model, ModelTable } from './models.ts';

/** @returns the model for requests of the edge that name none: the cheapest Haiku that is not retired. */
export function defaultModel({ rows }: ModelTable, now = Date.now()): Model | undefined {
  const current = rows.filter(
    ({ id, retires_at }) => id.startsWith('claude-haiku-') && (retires_at === null || Date.parse(retires_at) > now),
  );
  return current.sort((left, right) => left.prices.input - right.prices.input)[0];
}
