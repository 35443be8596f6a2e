import type { Model, ModelTable } from './models.ts';

/** @returns the model for what names none: the cheapest Haiku that still answers. */
export function defaultModel({ rows }: ModelTable, now = Date.now()): Model | undefined {
  const current = rows.filter(
    ({ id, retires_at }) => id.startsWith('claude-haiku-') && (retires_at === null || Date.parse(retires_at) > now),
  );
  return current.sort((left, right) => left.prices.input - right.prices.input)[0];
}
