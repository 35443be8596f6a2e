/** Stores the lines of another conversation. */

import { copiedRows, selectProfileMembers } from '../../conversations/history/storage/copyable-rows.ts';
import { DamagedRow } from '../../conversations/history/storage/damaged-row.ts';
import type { ConversationProfile, NewMessage, TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { selectVisibleNotes } from '../../conversations/history/storage/turn-notes.ts';
import { countTurnsAndMessages } from '../../conversations/history/storage/turn-queries.ts';
import { IMPORT_ROUTE } from '../../conversations/history/thinking.ts';
import { createIncompleteImportError } from '../../conversations/object/profile-changes.ts';
import { WorkPacer } from '../../kit/async/run-in-steps.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';

/**
 * Stores the lines of another conversation, those of a stretch in one transaction.
 *
 * @returns the copied profile; undefined if the copy is incomplete
 */
export async function storeCopiedLines(
  transcript: Transcript,
  bytes: ReadableStream<Uint8Array>,
): Promise<Partial<ConversationProfile> | undefined> {
  const copy = new CopiedConversation(transcript);
  const pacer = new WorkPacer();
  for await (const lines of splitLines(bytes)) {
    for (const line of lines) {
      const next = pacer.waitForTurn(line.length);
      if (next !== undefined) {
        copy.flushRows();
        await next;
      }
      copy.addLine(line);
    }
  }
  return copy.finish();
}

/** Yields the lines that each piece of a text completes. A last line without an end is not yielded. */
async function* splitLines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<readonly string[]> {
  const decoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });
  let unfinished: string[] = [];
  for await (const piece of bytes) {
    const texts = decoder.decode(piece, { stream: true }).split('\n');
    const rest = texts.pop() ?? '';
    const [first, ...others] = texts;
    if (first === undefined) unfinished.push(rest);
    else {
      yield [[...unfinished, first].join(''), ...others];
      unfinished = [rest];
    }
  }
}

/** Stores a copied line. @param first the first value of the line after its kind @param second the next one */
type LineReader = (first: string, second: string) => void;

/** A copy while its lines are stored. Numbers of turns are shifted, so that those of turns that failed here are not used again. */
class CopiedConversation {
  readonly #transcript: Transcript;
  readonly #shift: number;
  readonly #readers: ReadonlyMap<string, LineReader>;
  readonly #endOfPlugins: (() => Partial<ConversationProfile> | undefined)[] = [];
  #profile: Partial<ConversationProfile> = {};
  #isOfOtherAccount = false;
  #nextTurn: number;
  #nextMessage = 1;
  #turns: Partial<TurnRow>[] = [];
  #messages: NewMessage[] = [];
  #isComplete = false;

  constructor(transcript: Transcript) {
    this.#transcript = transcript;
    this.#nextTurn = transcript.storedProfile?.nextTurn ?? 1;
    this.#shift = this.#nextTurn - 1;
    this.#readers = new Map([
      ['profile', (profile) => this.#readProfile(profile)],
      ['turn', (row) => this.#readTurn(row)],
      ['message', (head, text) => this.#readMessage(head, text)],
      [
        'damaged',
        (subject) => {
          throw new DamagedRow(JSON.parse(subject) as string);
        },
      ],
      [
        'end',
        () => {
          this.#isComplete = true;
        },
      ],
      [
        'changed',
        () => {
          this.#isComplete = false;
        },
      ],
      ...this.#listReadersOfPlugins(),
    ]);
  }

  #listReadersOfPlugins(): [kind: string, LineReader][] {
    return copiedRows().flatMap(({ kinds = [], storing }) => {
      const writer = storing?.(this.#transcript, this.#shift);
      if (!writer) return [];
      this.#endOfPlugins.push(() => writer.end?.());
      return kinds.map((kind): [string, LineReader] => [kind, (first, second) => writer.addLine(kind, first, second)]);
    });
  }

  /** @throws ApiError 500 for a kind that no plugin in use stores, DamagedRow if the original is damaged */
  addLine(line: string): void {
    const [kind, first = 'null', second = ''] = splitArrayItems(line);
    if (kind === undefined) return;
    const read = this.#readers.get(kind.slice(1, -1));
    if (!read) throw createIncompleteImportError();
    read(first, second);
  }

  /** Stores the rows that were read. */
  flushRows(): void {
    this.#transcript.insertEndedTurns(this.#turns);
    this.#transcript.addMessages(this.#messages);
    this.#turns = [];
    this.#messages = [];
  }

  /** Stores what is left. @returns the copied profile; undefined if the copy is incomplete */
  finish(): Partial<ConversationProfile> | undefined {
    this.flushRows();
    if (!this.#isComplete) return undefined;
    const { sentFrom = 0 } = this.#profile;
    const range = { last: Number.POSITIVE_INFINITY, isCut: false, shift: this.#shift };
    const members = selectProfileMembers(this.#profile, range);
    for (const end of this.#endOfPlugins) Object.assign(members, end());
    return {
      ...this.#profile,
      ...members,
      ...countTurnsAndMessages(this.#transcript),
      nextTurn: this.#nextTurn,
      nextMessage: this.#nextMessage,
      sentFrom: sentFrom >= this.#nextMessage ? 0 : sentFrom,
    };
  }

  #readProfile(text: string): void {
    const { account, ...profile } = JSON.parse(text) as Partial<ConversationProfile>;
    this.#profile = profile;
    this.#isOfOtherAccount = account !== this.#transcript.storedProfile?.account;
  }

  #readTurn(text: string): void {
    const turn = createCopiedTurnRow(JSON.parse(text) as TurnRow, this.#shift);
    this.#turns.push(this.#isOfOtherAccount ? { ...turn, route: IMPORT_ROUTE } : turn);
    this.#nextTurn = turn.seq + 1;
  }

  #readMessage(head: string, text: string): void {
    const message = JSON.parse(head) as Omit<NewMessage, 'text'>;
    const shown = message.shown ? (parseMemberTexts(head).get('shown') ?? null) : null;
    this.#messages.push({ ...message, turn: this.#shift + message.turn, text, shown });
    this.#nextMessage = message.seq + 1;
  }
}

/** @returns the row of a copied turn */
function createCopiedTurnRow(copied: TurnRow, shift: number) {
  const { seq, id, requestId, hash, status, route, model, beganAt, endedAt, outcome, cost, tokens, frame } = copied;
  const { sentFrom, follows, events, run } = copied;
  const ended = {
    status,
    endedAt,
    outcome,
    cost,
    tokens,
    frame,
    events,
    settled: true,
    notes: selectVisibleNotes(copied),
  };
  const began = { id, requestId, hash, route, model, beganAt, sentFrom, follows };
  return { ...began, ...ended, seq: shift + seq, run: run === null ? null : shift + run };
}
