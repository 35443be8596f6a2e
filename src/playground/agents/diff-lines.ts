/** Compares texts line by line. */

/** A row of a comparison: a line of the old text, of the new one, or of both. */
export interface DiffRow {
  left?: string;
  right?: string;
}

/** The most pairs of lines that are compared, so that two long texts that differ everywhere take no more than some milliseconds. */
const MOST_PAIRS = 1_000_000;

/**
 * Finds which lines two texts share. What they begin and end with in common costs one step a line; between that a longest
 * common sequence, or for more than a thousand lines each no line at all.
 *
 * @returns the lines in their order; lines that were replaced stand beside those in their place
 */
export function diffLines(before: string, after: string): DiffRow[] {
  const left = linesOf(before);
  const right = linesOf(after);
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start += 1;
  let end = 0;
  while (
    end < left.length - start &&
    end < right.length - start &&
    left[left.length - 1 - end] === right[right.length - 1 - end]
  ) {
    end += 1;
  }
  return [
    ...left.slice(0, start).map(inBoth),
    ...middle(left.slice(start, left.length - end), right.slice(start, right.length - end)),
    ...left.slice(left.length - end).map(inBoth),
  ];
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.split('\n');
}

function inBoth(line: string): DiffRow {
  return { left: line, right: line };
}

function middle(left: readonly string[], right: readonly string[]): DiffRow[] {
  if (left.length * right.length > MOST_PAIRS) return beside(left, right);
  const width = right.length + 1;
  // The length of the longest common sequence of what begins at each pair of lines.
  const longest = new Uint32Array((left.length + 1) * width);
  const at = (i: number, j: number) => longest[i * width + j] ?? 0;
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = left[i] === right[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const rows: DiffRow[] = [];
  let gone: string[] = [];
  let added: string[] = [];
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    const line = left[i];
    const other = right[j];
    if (line !== undefined && line === other) {
      rows.push(...beside(gone, added), inBoth(line));
      gone = [];
      added = [];
      i += 1;
      j += 1;
    } else if (other === undefined || (line !== undefined && at(i + 1, j) >= at(i, j + 1))) {
      gone.push(line ?? '');
      i += 1;
    } else {
      added.push(other);
      j += 1;
    }
  }
  return [...rows, ...beside(gone, added)];
}

function beside(gone: readonly string[], added: readonly string[]): DiffRow[] {
  return Array.from({ length: Math.max(gone.length, added.length) }, (_, index) => {
    const left = gone[index];
    const right = added[index];
    return { ...(left === undefined ? {} : { left }), ...(right === undefined ? {} : { right }) };
  });
}
