/** Fills the columns of a row into a prompt. No I/O. */

const PLACE = /\{\{\s*([^{}]+?)\s*\}\}/g;

/** A template whose slots are known. */
export interface Template {
  /** What stands between the slots: one piece more than there are slots. */
  pieces: string[];
  /** The column of each slot, by its index. */
  slots: number[];
}

/**
 * Finds the slots of a template: `{{column}}`.
 *
 * @returns the template, or a sentence that says what is wrong with it
 */
export function templateOf(text: string, columns: readonly string[]): Template | string {
  const pieces: string[] = [];
  const slots: number[] = [];
  let from = 0;
  for (const match of text.matchAll(PLACE)) {
    const name = match[1] ?? '';
    const column = columns.indexOf(name);
    if (column === -1) {
      return `The prompt names {{${name}}}, and the file has no such column. It has: ${columns.join(', ')}.`;
    }
    pieces.push(text.slice(from, match.index));
    slots.push(column);
    from = match.index + match[0].length;
  }
  pieces.push(text.slice(from));
  if (slots.length === 0) {
    return `The prompt names no column, so all requests would be the same. Write {{${columns[0]}}} where the row's text belongs.`;
  }
  return { pieces, slots };
}

/** @returns the prompt of a row. What stands in a row is text: a slot in it is not filled again */
export function fillTemplate({ pieces, slots }: Template, row: readonly string[]): string {
  return pieces.map((piece, index) => piece + (index < slots.length ? (row[slots[index] ?? 0] ?? '') : '')).join('');
}
