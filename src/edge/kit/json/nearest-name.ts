import { distance } from 'fastest-levenshtein';

/** Longer names are not compared: a caller chooses their length, and the work grows with it. */
const MAX_COMPARED_CHARACTERS = 64;
/** A misspelled name differs from the intended one by at most this share of its length, and by at most one character in a short one. */
const MAX_DIFFERENCE = 0.2;

/** Finds the known name that is most similar to a misspelled one. @returns undefined if none is similar enough, or the name is known */
export function findNearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > MAX_COMPARED_CHARACTERS || known.includes(name)) return undefined;
  const edits = known.map((one) => ({ one, count: distance(name.toLowerCase(), one.toLowerCase()) }));
  const [best] = edits.toSorted((first, second) => first.count - second.count);
  return best && best.count <= Math.max(1, best.one.length * MAX_DIFFERENCE) ? best.one : undefined;
}
