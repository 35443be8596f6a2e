/** Checks the lines of a conversation's backup on their way to its object, so that only readable lines are stored. */
import { WorkPacer } from '../../kit/async/run-in-steps.ts';
import { encoder } from '../../kit/http/bytes.ts';
import {
  type ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createTooLargeError,
  toApiError,
} from '../../kit/http/errors.ts';
import { TEXT_PIECE_CHARACTERS } from '../../kit/http/text-stream.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { iterateArrayItems } from '../../kit/json/edit.ts';
import { BACKUP_LINES } from './conversation-backup.schema.ts';

type BackupLineKind = keyof typeof BACKUP_LINES;

const OF_TURNS: ReadonlySet<BackupLineKind> = new Set(['turn', 'call', 'message']);

/** A body that is being checked. */
interface BackupValidation {
  /** The lines as they came. The stream fails before the first wrong line. */
  lines: ReadableStream<Uint8Array>;
  /** @returns what is wrong with the lines; undefined while nothing is wrong. */
  getFault(): ApiError | undefined;
}

/**
 * Checks lines one by one.
 *
 * @param most the most characters of a line
 * @param erasedUntil what began up to then was erased with its account; milliseconds since 1970
 */
export function validateBackupStream(
  body: ReadableStream<Uint8Array>,
  most: number,
  erasedUntil = 0,
): BackupValidation {
  const { readable, writable } = new IdentityTransformStream();
  let fault: ApiError | undefined;
  copyValidatedLines(body, writable, { most, erasedUntil }).catch((thrown: unknown) => {
    fault = toApiError(thrown);
    // Abort the stream, so that the object does not store a partial backup as complete. If the object itself rejected the
    // backup, the stream is aborted already.
    writable.abort(thrown).catch(() => {});
  });
  return { lines: readable, getFault: () => fault };
}

async function copyValidatedLines(
  body: ReadableStream<Uint8Array>,
  to: WritableStream,
  { most, erasedUntil }: { most: number; erasedUntil: number },
): Promise<void> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const order = new BackupLineValidator(erasedUntil);
  const writer = to.getWriter();
  let number = 0;
  // The pieces of the current line, which are joined only once, because a long line arrives in thousands of pieces.
  let parts: string[] = [];
  let characters = 0;
  const pacer = new WorkPacer();
  let checked = '';
  const validateLine = async (line: string) => {
    number += 1;
    await pacer.waitForTurn(line.length);
    order.validateLine(line, number);
    checked += `${line}\n`;
    if (checked.length >= TEXT_PIECE_CHARACTERS) await flushValidatedLines();
  };
  // Write several lines at once: the object stores each piece that it receives in a transaction of its own.
  const flushValidatedLines = async () => {
    if (checked !== '') await writer.write(encoder.encode(checked));
    checked = '';
  };
  try {
    for await (const piece of body) {
      const pieces = decodeUtf8(decoder, piece).split('\n');
      const rest = pieces.pop() ?? '';
      for (const end of pieces) {
        await validateLine([...parts, end].join(''));
        parts = [];
        characters = 0;
      }
      await flushValidatedLines();
      parts.push(rest);
      characters += rest.length;
      if (characters > most) throw createTooLargeError(most);
    }
    const last = [...parts, decodeUtf8(decoder)].join('');
    if (last !== '') await validateLine(last);
    if (!order.hasEndLine)
      throw createInvalidRequestError(
        'The backup is incomplete: its last line ["end",null] is missing. Send the whole file.',
      );
    await flushValidatedLines();
    await writer.close();
  } finally {
    writer.releaseLock();
  }
}

function decodeUtf8(decoder: TextDecoder, piece?: Uint8Array): string {
  try {
    return piece ? decoder.decode(piece, { stream: true }) : decoder.decode();
  } catch {
    throw createInvalidRequestError(`The backup is not valid UTF-8. ${SEND_UNCHANGED}`);
  }
}

const SEND_UNCHANGED = 'Send the unchanged response of GET …/backup.';

/** The order in which lines may come: the profile, its parts, each turn with what belongs to it, and the end. */
class BackupLineValidator {
  readonly #seen = new Set<BackupLineKind>();
  #turn = 0;
  #summary = 0;
  #call = -1;
  #message = 0;
  readonly #erasedUntil: number;

  constructor(erasedUntil: number) {
    this.#erasedUntil = erasedUntil;
  }

  get hasEndLine(): boolean {
    return this.#seen.has('end');
  }

  /** @throws ApiError 400 for a line that is malformed, or has no place here */
  validateLine(line: string, number: number): void {
    const [kind, ...values] = parseBackupLine(line, number);
    const at = `line ${number}`;
    const schemas = BACKUP_LINES[kind];
    if (values.length !== schemas.length)
      throw createInvalidRequestError(`${at}: a line of ${kind} must have ${schemas.length} parts. ${SEND_UNCHANGED}`);
    for (const [index, schema] of schemas.entries()) validateLinePart(schema, values[index], `${at}: ${kind}`);
    if (!this.#isKindAllowedNext(kind))
      throw createInvalidRequestError(`${at}: ${kind} is not allowed here. ${SEND_UNCHANGED}`);
    this.#seen.add(kind);
    const [first] = values as [Record<'seq' | 'turn' | 'n' | 'id' | 'createdAt', number>];
    if (kind === 'profile' && first.createdAt <= this.#erasedUntil)
      throw createNonRetryableError(
        'conflict_error',
        'This conversation was erased with its account, and cannot be restored. Skip it.',
      );
    if (kind === 'summary') {
      this.#summary = requireIncreasingNumber(this.#summary, first.id, at);
    }
    if (kind === 'turn') {
      this.#turn = requireIncreasingNumber(this.#turn, first.seq, at);
      this.#call = -1;
    } else if (kind === 'call') {
      if (first.turn !== this.#turn)
        throw createInvalidRequestError(`${at}: this call belongs to another turn. ${SEND_UNCHANGED}`);
      this.#call = requireIncreasingNumber(this.#call, first.n, at);
    } else if (kind === 'message') {
      if (first.turn !== this.#turn)
        throw createInvalidRequestError(`${at}: this message belongs to another turn. ${SEND_UNCHANGED}`);
      this.#message = requireIncreasingNumber(this.#message, first.seq, at);
    }
  }

  #isKindAllowedNext(kind: BackupLineKind): boolean {
    if (this.hasEndLine || this.#seen.has('profile') === (kind === 'profile')) return false;
    // Lines about the whole conversation come before the first turn and occur once each. Only `summary` lines may repeat.
    return OF_TURNS.has(kind) || kind === 'end' || (this.#turn === 0 && (kind === 'summary' || !this.#seen.has(kind)));
  }
}

function requireIncreasingNumber(before: number, now: number, at: string): number {
  if (now <= before)
    throw createInvalidRequestError(`${at}: the number of this line must be greater than ${before}. ${SEND_UNCHANGED}`);
  return now;
}

function parseBackupLine(line: string, number: number): [BackupLineKind, ...unknown[]] {
  let parts: unknown;
  try {
    parts = JSON.parse(line);
  } catch {
    parts = undefined;
  }
  const [kind] = Array.isArray(parts) ? (parts as unknown[]) : [];
  const isKnown = typeof kind === 'string' && Object.hasOwn(BACKUP_LINES, kind);
  // Reject a kind that is written with JSON escapes, because the reader compares the text of the line.
  if (!isKnown || iterateArrayItems(line).next().value !== `"${kind}"`) {
    throw createInvalidRequestError(`line ${number}: not a line of a conversation’s backup. ${SEND_UNCHANGED}`);
  }
  return parts as [BackupLineKind, ...unknown[]];
}

function validateLinePart(schema: Parameters<typeof validateBySchema>[0], value: unknown, at: string): void {
  try {
    validateBySchema(schema, value);
  } catch (thrown) {
    throw createInvalidRequestError(`${at}: ${thrown instanceof Error ? thrown.message : 'malformed'}`);
  }
}
