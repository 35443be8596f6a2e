import type * as z from '../../kit/http/zod.ts';

/** @returns the members of a row that a line has, in the order of its schema. */
export function selectMembers<K extends string, T extends Partial<Record<K, unknown>>>(
  { shape }: z.ZodMiniObject<Record<K, z.ZodMiniType>>,
  row: T,
): Pick<T, K> {
  // The cast is safe: the loop below copies the value of each key.
  return Object.fromEntries((Object.keys(shape) as K[]).map((name) => [name, row[name]])) as Pick<T, K>;
}
