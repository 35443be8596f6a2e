/** Stores the lines of another conversation: of a fork, or of a backup. */

import { copiedRows, selectProfileMembers } from '../../conversations/history/storage/copyable-rows.ts';
import { DamagedRow } from '../../conversations/history/storage/damaged-row.ts';
import type { ConversationProfile, NewMessage, TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { selectVisibleNotes } from '../../conversations/history/storage/turn-notes.ts';
import { countTurnsAndMessages } from '../../conversations/history/storage/turn-queries.ts';
import { IMPORT_ROUTE } from '../../conversations/history/thinking.ts';
import { createIncompleteImportError } from '../../conversations/object/profile-changes.ts';
import { WorkPacer } from '../../kit/async/run-in-steps.ts';
import { createInvalidRequestError, createTooLargeError } from '../../kit/http/errors.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { BackupLineValidator } from './backup-line-validator.ts';
import { turnLine } from './copied-lines.schema.ts';
import { HistoryWriter } from './history-writer.ts';
import { selectMembers } from './select-members.ts';

/** What limits a backup. The lines of a fork come from another object of this deployment, and are not checked. */
export interface BackupRestrictions {
  /** What began up to then was erased with its account; milliseconds since 1970. */
  readonly erasedUntil: number;
  /** The most characters of a line. */
  readonly maxCharacters: number;
}

/**
 * Stores the lines of another conversation.
 *
 * @returns the copied profile; undefined if the copy is incomplete
 * @throws ApiError 400, 409 or 413 for a backup that cannot be restored
 */
export async function storeCopiedLines(
  transcript: Transcript,
  bytes: ReadableStream<Uint8Array>,
  backup?: BackupRestrictions,
): Promise<Partial<ConversationProfile> | undefined> {
  const copy = new CopiedConversation(transcript);
  const validator = backup && new BackupLineValidator(backup.erasedUntil);
  const pacer = new WorkPacer();
  for await (const lines of splitLines(bytes, backup?.maxCharacters)) {
    for (const line of lines) {
      const next = pacer.waitForTurn(line.length);
      if (next !== undefined) await next;
      validator?.validateLine(line);
      copy.addLine(line);
    }
  }
  validator?.validateEnd();
  return copy.finish();
}

/** Yields the lines that each piece of a text completes. */
async function* splitLines(
  bytes: ReadableStream<Uint8Array>,
  maxCharacters = Number.POSITIVE_INFINITY,
): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  // The pieces of the current line, which are joined only once, because a long line arrives in thousands of pieces.
  let unfinished: string[] = [];
  let characters = 0;
  for await (const piece of bytes) {
    const texts = decodeUtf8(decoder, piece).split('\n');
    const rest = texts.pop() ?? '';
    const [first, ...others] = texts;
    if (first !== undefined) {
      yield [[...unfinished, first].join(''), ...others];
      unfinished = [];
      characters = 0;
    }
    unfinished.push(rest);
    characters += rest.length;
    if (characters > maxCharacters) throw createTooLargeError(maxCharacters);
  }
  const last = [...unfinished, decodeUtf8(decoder)].join('');
  if (last !== '') yield [last];
}

function decodeUtf8(decoder: TextDecoder, piece?: Uint8Array): string {
  try {
    return piece ? decoder.decode(piece, { stream: true }) : decoder.decode();
  } catch {
    throw createInvalidRequestError('The backup is not valid UTF-8. Send the unchanged response of GET …/backup.');
  }
}

/** Stores a copied line. @param first the first value of the line after its kind @param second the next one */
type LineReader = (first: string, second: string) => void;

/** A copy while its lines are stored. The numbers of its turns are shifted. */
class CopiedConversation {
  readonly #transcript: Transcript;
  readonly #writer: HistoryWriter;
  readonly #shift: number;
  readonly #readers: ReadonlyMap<string, LineReader>;
  #profile: Partial<ConversationProfile> = {};
  #isOfOtherAccount = false;
  #isComplete = false;

  constructor(transcript: Transcript) {
    this.#transcript = transcript;
    this.#writer = new HistoryWriter(transcript);
    this.#shift = this.#writer.nextTurn - 1;
    const ofPlugins = copiedRows().flatMap(({ lines = {}, storeLine }) =>
      Object.keys(lines).map((kind): [string, LineReader] => [
        kind,
        (...parts) => storeLine?.(transcript, this.#shift, kind, ...parts),
      ]),
    );
    this.#readers = new Map<string, LineReader>([
      ...ofPlugins,
      ['profile', (profile) => this.#readProfile(profile)],
      ['turn', (row) => this.#readTurn(row)],
      ['message', (head, text) => this.#readMessage(head, text)],
      ['damaged', (subject) => throwDamagedRow(subject)],
      ['end', () => this.#recordEnd(true)],
      ['changed', () => this.#recordEnd(false)],
    ]);
  }

  /** @throws ApiError 500 for a kind that no plugin in use stores, DamagedRow if the original is damaged */
  addLine(line: string): void {
    const [kind, first = 'null', second = ''] = splitArrayItems(line);
    if (kind === undefined) return;
    const read = this.#readers.get(kind.slice(1, -1));
    if (!read) throw createIncompleteImportError();
    read(first, second);
  }

  /** Stores what is left. @returns the copied profile; undefined if the copy is incomplete */
  finish(): Partial<ConversationProfile> | undefined {
    this.#writer.flush();
    if (!this.#isComplete) return undefined;
    const { sentFrom = 0 } = this.#profile;
    const { nextTurn, nextMessage } = this.#writer;
    return {
      ...this.#profile,
      ...selectProfileMembers(this.#profile, { last: Number.POSITIVE_INFINITY, isCut: false, shift: this.#shift }),
      ...countTurnsAndMessages(this.#transcript),
      nextTurn,
      nextMessage,
      sentFrom: sentFrom >= nextMessage ? 0 : sentFrom,
    };
  }

  #recordEnd(isComplete: boolean): void {
    this.#isComplete = isComplete;
  }

  #readProfile(text: string): void {
    const { account, ...profile } = JSON.parse(text) as Partial<ConversationProfile>;
    this.#profile = profile;
    this.#isOfOtherAccount = account !== this.#transcript.storedProfile?.account;
  }

  #readTurn(text: string): void {
    const copied = selectMembers(turnLine, JSON.parse(text) as TurnRow);
    this.#writer.addTurn({
      ...copied,
      seq: this.#shift + copied.seq,
      run: copied.run === null ? null : this.#shift + copied.run,
      route: this.#isOfOtherAccount ? IMPORT_ROUTE : copied.route,
      notes: selectVisibleNotes(copied),
      settled: true,
    });
  }

  #readMessage(head: string, text: string): void {
    const message = JSON.parse(head) as Omit<NewMessage, 'text'>;
    const shown = message.shown ? (parseMemberTexts(head).get('shown') ?? null) : null;
    this.#writer.addMessage({ ...message, turn: this.#shift + message.turn, text, shown });
  }
}

function throwDamagedRow(subject: string): never {
  throw new DamagedRow(JSON.parse(subject) as string);
}
