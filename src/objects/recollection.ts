/** What the next turn needs of a history, kept in memory between turns: it need not be read and parsed again. */
import type { TurnRow } from './transcript.ts';

export interface Said {
  role: string;
  /** The message as JSON. */
  text: string;
}

export interface Recollection {
  /** The first message that `text` has. */
  from: number;
  /** The messages that are sent, as JSON texts with commas between them. */
  text: string;
  /** The last answer and what came after it, oldest first. */
  tail: readonly Said[];
  /** The last turn whose messages are sent. */
  last: TurnRow | undefined;
  frozen: { system: string | undefined; tools: string | undefined };
  /** What the turn that runs has added, and will be part of the history if it ends well. */
  fresh?: { turn: number; messages: readonly Said[] };
}

/** Of all conversations in this isolate together; a character is a byte or two. */
const MOST_CHARACTERS = 8_000_000;
/** A longer history is read from its rows each time: reading it is little beside sending it. */
const LONGEST = 1_000_000;

/** Keeps what was used last, within a bounded size. */
export class Recollections {
  readonly #kept = new Map<object, Recollection>();
  #characters = 0;

  get(key: object): Recollection | undefined {
    const kept = this.#kept.get(key);
    if (kept) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
    }
    return kept;
  }

  set(key: object, recollection: Recollection): void {
    this.drop(key);
    const size = sizeOf(recollection);
    if (size > LONGEST) return;
    this.#kept.set(key, recollection);
    this.#characters += size;
    for (const oldest of this.#kept.keys()) {
      if (this.#characters <= MOST_CHARACTERS) break;
      this.drop(oldest);
    }
  }

  drop(key: object): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    this.#kept.delete(key);
    this.#characters -= sizeOf(kept);
  }
}

export const recollections = new Recollections();

function sizeOf({ text, tail, frozen, fresh }: Recollection): number {
  const said = [...tail, ...(fresh?.messages ?? [])];
  const frozenCharacters = (frozen.system?.length ?? 0) + (frozen.tools?.length ?? 0);
  return said.reduce((sum, message) => sum + message.text.length, text.length + frozenCharacters);
}

/**
 * @param messages oldest first
 * @returns the last answer, of one or more messages, and what came after it
 */
export function tailOf(messages: readonly Said[]): readonly Said[] {
  let start = messages.length;
  while (start > 0 && !(messages[start]?.role === 'assistant' && messages[start - 1]?.role !== 'assistant')) start -= 1;
  return start === 0 ? messages : messages.slice(start);
}

/** @returns what is known once the running turn has become part of the history, with the answer's text if it has one. */
export function grown(known: Recollection, last: TurnRow, answer: string | undefined): Recollection {
  const { fresh, ...rest } = known;
  const added = [...(fresh?.messages ?? [])];
  if (answer !== undefined) added.push({ role: 'assistant', text: answer });
  const texts = added.map(({ text }) => text);
  const text = (known.text === '' ? texts : [known.text, ...texts]).join(',');
  return { ...rest, text, tail: tailOf([...known.tail, ...added]), last };
}
