/** Checks the lines of a conversation's backup before they are stored. */

import { type CopyLineKind, copiedRows } from '../../conversations/history/storage/copyable-rows.ts';
import { createInvalidRequestError, createNonRetryableError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { iterateArrayItems } from '../../kit/json/edit.ts';
import { CONVERSATION_LINES } from './copied-lines.schema.ts';

const SEND_UNCHANGED = 'Send the unchanged response of GET …/backup.';

/** Checks lines and their order: the profile, its parts, each turn with what belongs to it, and the end. */
export class BackupLineValidator {
  readonly #kinds = new Map<string, CopyLineKind>(Object.entries(CONVERSATION_LINES));
  /** The kinds of lines that belong to a turn. */
  readonly #ofTurns = new Set(['message']);
  readonly #erasedUntil: number;
  /** The kinds that have come, each with the number of its last line. */
  readonly #numbers = new Map<string, number>();
  #lines = 0;

  /** @param erasedUntil what began up to then was erased with its account; milliseconds since 1970 */
  constructor(erasedUntil: number) {
    this.#erasedUntil = erasedUntil;
    for (const { lines = {}, linesOf } of copiedRows()) {
      for (const [name, kind] of Object.entries(lines)) {
        this.#kinds.set(name, kind);
        if (linesOf) this.#ofTurns.add(name);
      }
    }
  }

  /** @throws ApiError 400 for a line that is malformed, or not allowed here, 409 for an erased conversation */
  validateLine(line: string): void {
    this.#lines += 1;
    const at = `line ${this.#lines}`;
    const { name, kind, parts } = this.#parseLine(line, at);
    if (parts.length !== kind.parts.length)
      throw createInvalidRequestError(
        `${at}: a line of ${name} must have ${kind.parts.length} parts. ${SEND_UNCHANGED}`,
      );
    for (const [index, schema] of kind.parts.entries()) validateLinePart(schema, parts[index], `${at}: ${name}`);
    if (!this.#isAllowedNext(name, kind))
      throw createInvalidRequestError(`${at}: ${name} is not allowed here. ${SEND_UNCHANGED}`);
    this.#checkNumbers(name, kind, parts[0] as Record<string, number>, at);
  }

  /** @throws ApiError 400 if the last line has not come */
  validateEnd(): void {
    if (!this.#numbers.has('end'))
      throw createInvalidRequestError(
        'The backup is incomplete: its last line ["end",null] is missing. Send the whole file.',
      );
  }

  #parseLine(line: string, at: string): { name: string; kind: CopyLineKind; parts: unknown[] } {
    const [name, ...parts] = parseList(line);
    const kind = typeof name === 'string' ? this.#kinds.get(name) : undefined;
    // Reject a kind that is written with JSON escapes, because the reader compares the text of the line.
    if (typeof name !== 'string' || !kind || iterateArrayItems(line).next().value !== `"${name}"`)
      throw createInvalidRequestError(`${at}: not a line of a conversation’s backup. ${SEND_UNCHANGED}`);
    return { name, kind, parts };
  }

  #isAllowedNext(name: string, { numberedBy }: CopyLineKind): boolean {
    if (this.#numbers.has('end') || this.#numbers.has('profile') === (name === 'profile')) return false;
    if (name === 'turn' || name === 'end' || this.#ofTurns.has(name)) return true;
    // Lines about the whole conversation come before the first turn, and occur once each unless they are numbered.
    return !this.#numbers.has('turn') && (numberedBy !== undefined || !this.#numbers.has(name));
  }

  #checkNumbers(name: string, { numberedBy }: CopyLineKind, row: Readonly<Record<string, number>>, at: string): void {
    if (name === 'profile' && (row.createdAt ?? 0) <= this.#erasedUntil)
      throw createNonRetryableError(
        'conflict_error',
        'This conversation was erased with its account, and cannot be restored. Skip it.',
      );
    if (this.#ofTurns.has(name) && row.turn !== this.#numbers.get('turn'))
      throw createInvalidRequestError(`${at}: this ${name} belongs to another turn. ${SEND_UNCHANGED}`);
    const [before = -1, now = 0] = [this.#numbers.get(name), numberedBy === undefined ? 0 : row[numberedBy]];
    if (now <= before)
      throw createInvalidRequestError(
        `${at}: the number of this line must be greater than ${before}. ${SEND_UNCHANGED}`,
      );
    this.#numbers.set(name, now);
    // The calls of each turn are numbered from 0, the messages of all turns together.
    if (name === 'turn') for (const kind of this.#ofTurns) if (kind !== 'message') this.#numbers.delete(kind);
  }
}

function parseList(line: string): unknown[] {
  try {
    const parsed: unknown = JSON.parse(line);
    return Array.isArray(parsed) ? parsed : [];
  } catch {
    return [];
  }
}

function validateLinePart(schema: CopyLineKind['parts'][number], value: unknown, at: string): void {
  try {
    validateBySchema(schema, value);
  } catch (thrown) {
    throw createInvalidRequestError(`${at}: ${thrown instanceof Error ? thrown.message : 'malformed'}`);
  }
}
