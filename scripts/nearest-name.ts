/** Finds what was probably meant by a misspelt name. */
import { closest, distance } from 'fastest-levenshtein';

/** So many letters may be wrong, or missing, or too many. */
const MOST_WRONG = 2;

/** @returns the name that is most like a misspelt one; undefined if none is much like it, or it is right */
export function findNearestName(name: string, known: readonly string[]): string | undefined {
  if (known.length === 0 || known.includes(name)) return undefined;
  const nearest = closest(name, known);
  return distance(name, nearest) <= MOST_WRONG ? nearest : undefined;
}
