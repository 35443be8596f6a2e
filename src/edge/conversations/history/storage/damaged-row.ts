/** Finds damage in what a conversation has stored: a text that cannot be parsed, or a table that cannot be read. */

import { ApiError, DO_NOT_RETRY } from '../../../kit/http/errors.ts';

const SENTENCE = 'Stored data of this conversation is damaged: ';

/** A stored text that cannot be parsed, or a table that cannot be read. */
export class DamagedRow extends ApiError {
  override name = 'DamagedRow';
  readonly subject: string;

  /** @param what the name of the row or the table; never its content */
  constructor(what: string, cause?: unknown) {
    super(
      'api_error',
      `${SENTENCE}${what}. You can read the earlier messages, rewind to before this point, or delete the conversation.`,
      {
        headers: DO_NOT_RETRY,
        logged: `damaged_row: ${what}`,
        cause,
      },
    );
    this.subject = what;
  }
}

/** What SQLite itself cannot read: the platform breaks an object that then begins a transaction. */
export class DamagedTable extends DamagedRow {}

/** SQLite's errors for a damaged file or table. A full disk or a duplicate row is not damage. */
const SQLITE_DAMAGE = /SQLITE_(?:CORRUPT|NOTADB)|no such (?:table|column)|table \w+ already exists/;

/**
 * @returns the damage that an error reports, from this isolate or from an RPC call to an object; undefined for any other error
 */
export function findDamageInError(thrown: unknown): DamagedRow | undefined {
  if (thrown instanceof DamagedRow) return thrown;
  const message = thrown instanceof Error ? thrown.message : '';
  const at = message.indexOf(SENTENCE);
  // An error that crosses an RPC call keeps only its message, not its class, so recognize the damage by its sentence.
  if (at >= 0) return new DamagedRow(message.slice(at + SENTENCE.length).split('. ', 1)[0] ?? '', thrown);
  // A syntax error here comes from a stored text that is not JSON. Other parsers throw errors of their own.
  if (thrown instanceof SyntaxError) return new DamagedRow('a text', thrown);
  return SQLITE_DAMAGE.test(message) ? new DamagedTable('its tables', thrown) : undefined;
}

/** Runs a function. @returns the damage that has ended it; undefined if there was none. @throws any error that is not damage */
export function catchDamagedRow(act: () => unknown): DamagedRow | undefined {
  try {
    act();
    return undefined;
  } catch (thrown) {
    const damage = findDamageInError(thrown);
    if (!damage) throw thrown;
    return damage;
  }
}

/**
 * @param subject the name of the row; never its content @returns the value of its JSON text @throws DamagedRow if the text
 *   cannot be parsed
 */
export function parseStored<T>(subject: string, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (thrown) {
    throw new DamagedRow(subject, thrown);
  }
}
