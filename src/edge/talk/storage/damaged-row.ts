/** Finds damage in what a conversation has stored, so that nothing damaged is shown, sent up or read for ever. */

import { ApiError, DO_NOT_RETRY } from '../../kit/http/errors.ts';

const SENTENCE = 'Something that this conversation has stored is damaged: ';

/** A stored text that is not what was written, or a table that cannot be read. */
export class DamagedRow extends ApiError {
  override name = 'DamagedRow';
  readonly what: string;

  /** @param what names the row or the table; never what it holds */
  constructor(what: string, cause?: unknown) {
    super('api_error', `${SENTENCE}${what}. Read what is before it, rewind to before it, or DELETE all.`, {
      ...{ headers: DO_NOT_RETRY, logged: `damaged_row: ${what}`, cause },
    });
    this.what = what;
  }
}

/** What SQLite itself cannot read: the platform breaks an object that then begins a transaction. */
export class DamagedTable extends DamagedRow {}

/** What SQLite says of a damaged file or table. A full disk or a row that exists already is no damage. */
const OF_SQLITE = /SQLITE_(?:CORRUPT|NOTADB)|no such (?:table|column)|table \w+ already exists/;

/** @returns the damage that an error tells of, from this isolate or from an object's call; undefined if it tells of none */
export function damageIn(thrown: unknown): DamagedRow | undefined {
  if (thrown instanceof DamagedRow) return thrown;
  const message = thrown instanceof Error ? thrown.message : '';
  const at = message.indexOf(SENTENCE);
  // An object's call keeps only the words of its error.
  if (at >= 0) return new DamagedRow(message.slice(at + SENTENCE.length).split('. ', 1)[0] ?? '', thrown);
  // Whatever else is parsed says itself what is wrong with it.
  if (thrown instanceof SyntaxError) return new DamagedRow('a text', thrown);
  return OF_SQLITE.test(message) ? new DamagedTable('its tables', thrown) : undefined;
}

/** Does something. @returns the damage that has ended it; undefined if there was none. @throws what is no damage */
export function damageBy(act: () => unknown): DamagedRow | undefined {
  try {
    act();
    return undefined;
  } catch (thrown) {
    const damage = damageIn(thrown);
    if (!damage) throw thrown;
    return damage;
  }
}

/**
 * @param before the checksum of the text that this one continues
 * @returns a checksum: another one for a text with characters that are missing, changed or in another order
 */
export function checksumOf(text: string, from = 0, to = text.length, before = 0): number {
  let sum = before;
  for (let at = from; at < to; at += 1) sum = (Math.imul(sum, 31) + text.charCodeAt(at)) | 0;
  return sum;
}

/**
 * @param what names the row
 * @returns a stored text
 * @throws DamagedRow if its checksum is not the stored one
 */
export function checked(what: string, text: string, sum: SqlStorageValue | undefined): string {
  if (checksumOf(text) !== sum) throw new DamagedRow(what);
  return text;
}

/** @param what names it, so that it is not taken for something else. @returns the JSON text of an object, with its checksum */
export function withSum(what: string, json: string): string {
  return `${json.slice(0, -1)},"sum":${checksumOf(what + json)}}`;
}

/** @returns what `withSum` was given. @throws DamagedRow if it is not the same text */
export function withoutSum(what: string, text: string): string {
  const [, before = '', sum] = /^(.*),"sum":(-?\d+)\}$/s.exec(text) ?? [];
  if (checksumOf(`${what}${before}}`) !== Number(sum)) throw new DamagedRow(what);
  return `${before}}`;
}
