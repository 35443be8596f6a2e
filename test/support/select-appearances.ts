import { inject } from 'vitest';

/**
 * Picks in which colours or sizes something is looked at: the first of them, and all where properties have all their cases too.
 *
 * @param all the first is the one in which most goes wrong
 */
export function selectAppearances<T>(all: readonly T[]): readonly T[] {
  return inject('propertyRuns') < 1 ? all.slice(0, 1) : all;
}
