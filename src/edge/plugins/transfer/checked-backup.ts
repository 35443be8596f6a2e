/** Checks the lines of a conversation's backup on their way to its object, so that only readable lines are stored. */
import { Pacer } from '../../kit/async/run-in-steps.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { type ApiError, finalError, invalidRequest, toApiError, tooLarge } from '../../kit/http/errors.ts';
import { TEXT_PIECE_CHARACTERS } from '../../kit/http/text-stream.ts';
import { validate } from '../../kit/http/validate.ts';
import { iterateItems } from '../../kit/json/edit.ts';
import { BACKUP_LINES } from './conversation-backup.schema.ts';

type LineKind = keyof typeof BACKUP_LINES;

const OF_TURNS: ReadonlySet<LineKind> = new Set(['turn', 'call', 'message']);

/** A body that is being checked. */
interface CheckedLines {
  /** The lines as they came. The stream fails before the first wrong line. */
  lines: ReadableStream<Uint8Array>;
  /** @returns what is wrong with the lines; undefined while nothing is wrong. */
  fault(): ApiError | undefined;
}

/**
 * Checks lines one by one.
 *
 * @param most the most characters of a line
 * @param erasedUntil what began up to then was erased with its account; milliseconds since 1970
 */
export function checkLines(body: ReadableStream<Uint8Array>, most: number, erasedUntil = 0): CheckedLines {
  const { readable, writable } = new IdentityTransformStream();
  let fault: ApiError | undefined;
  copyChecked(body, writable, { most, erasedUntil }).catch((thrown: unknown) => {
    fault = toApiError(thrown);
    // A part of a backup must not look complete. (If the object has refused it, the stream is aborted already.)
    writable.abort(thrown).catch(() => {});
  });
  return { lines: readable, fault: () => fault };
}

async function copyChecked(
  body: ReadableStream<Uint8Array>,
  to: WritableStream,
  { most, erasedUntil }: { most: number; erasedUntil: number },
): Promise<void> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const order = new LineOrder(erasedUntil);
  const writer = to.getWriter();
  let number = 0;
  // The pieces of a line so far. They are joined only once, because a long line comes in thousands of pieces.
  let parts: string[] = [];
  let characters = 0;
  const pacer = new Pacer();
  let checked = '';
  const check = async (line: string) => {
    number += 1;
    await pacer.pace(line.length);
    order.add(line, number);
    checked += `${line}\n`;
    if (checked.length >= TEXT_PIECE_CHARACTERS) await write();
  };
  // A line by itself would be stored by itself.
  const write = async () => {
    if (checked !== '') await writer.write(encoder.encode(checked));
    checked = '';
  };
  try {
    for await (const piece of body) {
      const pieces = decode(decoder, piece).split('\n');
      const rest = pieces.pop() ?? '';
      for (const end of pieces) {
        await check([...parts, end].join(''));
        parts = [];
        characters = 0;
      }
      await write();
      parts.push(rest);
      characters += rest.length;
      if (characters > most) throw tooLarge(most);
    }
    const last = [...parts, decode(decoder)].join('');
    if (last !== '') await check(last);
    if (!order.isEnded)
      throw invalidRequest('The backup broke off before its last line, ["end",null]. Send all of it.');
    await write();
    await writer.close();
  } finally {
    writer.releaseLock();
  }
}

function decode(decoder: TextDecoder, piece?: Uint8Array): string {
  try {
    return piece ? decoder.decode(piece, { stream: true }) : decoder.decode();
  } catch {
    throw invalidRequest('The backup is not valid UTF-8.');
  }
}

/** The order in which lines may come: the profile, its parts, each turn with what belongs to it, and the end. */
class LineOrder {
  readonly #seen = new Set<LineKind>();
  #turn = 0;
  #summary = 0;
  #call = -1;
  #message = 0;
  readonly #erasedUntil: number;

  constructor(erasedUntil: number) {
    this.#erasedUntil = erasedUntil;
  }

  get isEnded(): boolean {
    return this.#seen.has('end');
  }

  /** @throws ApiError 400 for a line that is malformed, or has no place here */
  add(line: string, number: number): void {
    const [kind, ...values] = parseLine(line, number);
    const at = `line ${number}`;
    const schemas = BACKUP_LINES[kind];
    if (values.length !== schemas.length) throw invalidRequest(`${at}: a line of ${kind} has ${schemas.length} parts`);
    for (const [index, schema] of schemas.entries()) assertValid(schema, values[index], `${at}: ${kind}`);
    if (!this.#fits(kind)) throw invalidRequest(`${at}: ${kind} has no place here`);
    this.#seen.add(kind);
    const [first] = values as [Record<'seq' | 'turn' | 'n' | 'id' | 'createdAt', number>];
    if (kind === 'profile' && first.createdAt <= this.#erasedUntil)
      throw finalError(
        'conflict_error',
        'This conversation was erased here with its account after it began. It stays erased.',
      );
    if (kind === 'summary') {
      this.#summary = addWithinLimit(this.#summary, first.id, at);
    }
    if (kind === 'turn') {
      this.#turn = addWithinLimit(this.#turn, first.seq, at);
      this.#call = -1;
    } else if (kind === 'call') {
      if (first.turn !== this.#turn) throw invalidRequest(`${at}: this call is of another turn`);
      this.#call = addWithinLimit(this.#call, first.n, at);
    } else if (kind === 'message') {
      if (first.turn !== this.#turn) throw invalidRequest(`${at}: this message is of another turn`);
      this.#message = addWithinLimit(this.#message, first.seq, at);
    }
  }

  #fits(kind: LineKind): boolean {
    if (this.isEnded || this.#seen.has('profile') === (kind === 'profile')) return false;
    // Lines about the whole conversation come once each, before the first turn.
    return OF_TURNS.has(kind) || kind === 'end' || (this.#turn === 0 && (kind === 'summary' || !this.#seen.has(kind)));
  }
}

function addWithinLimit(before: number, now: number, at: string): number {
  if (now <= before) throw invalidRequest(`${at}: its number does not follow ${before}`);
  return now;
}

function parseLine(line: string, number: number): [LineKind, ...unknown[]] {
  let parts: unknown;
  try {
    parts = JSON.parse(line);
  } catch {
    parts = undefined;
  }
  const [kind] = Array.isArray(parts) ? (parts as unknown[]) : [];
  const isKnown = typeof kind === 'string' && Object.hasOwn(BACKUP_LINES, kind);
  // It is stored by its text, in which the kind is looked for as it is written here: without escapes.
  if (!isKnown || iterateItems(line).next().value !== `"${kind}"`) {
    throw invalidRequest(
      `line ${number}: not a line of a conversation’s backup. Send what GET …/backup has given, unchanged.`,
    );
  }
  return parts as [LineKind, ...unknown[]];
}

function assertValid(schema: Parameters<typeof validate>[0], value: unknown, at: string): void {
  try {
    validate(schema, value);
  } catch (thrown) {
    throw invalidRequest(`${at}: ${thrown instanceof Error ? thrown.message : 'malformed'}`);
  }
}
