/** Longer names are not compared: a caller chooses their length, and the work grows with it. */
const MAX_COMPARED_CHARACTERS = 64;
/** A misspelled name differs from the intended one by at most this share of its length, and by at most one character in a short one. */
const MAX_DIFFERENCE = 0.2;

/** Finds the known name that is most similar to a misspelled one. @returns undefined if none is similar enough, or the name is known */
export function findNearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > MAX_COMPARED_CHARACTERS || known.includes(name)) return undefined;
  const distances = known.map((one) => ({ one, distance: editDistance(name.toLowerCase(), one.toLowerCase()) }));
  const [best] = distances.toSorted((first, second) => first.distance - second.distance);
  return best && best.distance <= Math.max(1, best.one.length * MAX_DIFFERENCE) ? best.one : undefined;
}

/**
 * Counts the edits that turn one text into the other: a character added, removed or replaced, or two neighbours swapped.
 */
function editDistance(one: string, other: string): number {
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let at = 1; at <= one.length; at += 1) {
    const next = [at];
    for (let to = 1; to <= other.length; to += 1) {
      const replaced = (row[to - 1] ?? 0) + (one[at - 1] === other[to - 1] ? 0 : 1);
      const isSwapped = at > 1 && to > 1 && one[at - 1] === other[to - 2] && one[at - 2] === other[to - 1];
      const swapped = isSwapped ? (before[to - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      next.push(Math.min(replaced, swapped, (row[to] ?? 0) + 1, (next[to - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row.at(-1) ?? 0;
}
