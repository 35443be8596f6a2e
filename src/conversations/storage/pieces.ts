import type { Tables } from '../../durable/tables.ts';
import { divideText } from './message-text.ts';

/** Stores a text of any length in as many rows as it needs. @param owner the number under which it is found again */
export function writeDivided(tables: Tables, owner: number, whole: string): void {
  for (const [n, text] of divideText(whole).entries()) tables.insert('pieces', { owner, n, text });
}

/** @returns the text of an owner; empty if there is none */
export function readDivided(tables: Tables, owner: number): string {
  const rows = tables.read('select text from pieces where owner = ? order by n', owner);
  return rows.map(({ text }) => text).join('');
}
