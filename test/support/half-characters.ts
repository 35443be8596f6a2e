import type { JsonObject } from '#edge/kit/json/object.ts';

export const HALF = '\ud83d';

/**
 * Puts half a character into each string and each key of a value, one at a time.
 *
 * @returns the changed values, and where each has it: a string by its own path, a key by the path of its object
 */
export function withHalfCharacters(value: unknown, path = ''): { changed: unknown; path: string }[] {
  const joinPath = (key: string | number) => (path === '' ? String(key) : `${path}.${key}`);
  if (typeof value === 'string') return [{ changed: value + HALF, path }];
  if (Array.isArray(value))
    return value.flatMap((item, at) =>
      withHalfCharacters(item, joinPath(at)).map((one) => ({ ...one, changed: value.with(at, one.changed) })),
    );
  if (typeof value !== 'object' || value === null) return [];
  return [
    { changed: { ...value, [`key${HALF}`]: 1 }, path },
    ...Object.entries(value as JsonObject).flatMap(([key, member]) =>
      withHalfCharacters(member, joinPath(key)).map((one) => ({ ...one, changed: { ...value, [key]: one.changed } })),
    ),
  ];
}
