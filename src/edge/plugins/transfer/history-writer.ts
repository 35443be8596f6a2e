import type { NewMessage, TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';

/** So many messages, or characters of them, are stored together. */
const [MAX_MESSAGES, MAX_CHARACTERS] = [100, 65_536];

/** Stores the turns and messages of a history that was made elsewhere, many at a time. All turns have the same columns. */
export class HistoryWriter {
  readonly #transcript: Transcript;
  /** The number of the next turn. Those of turns that failed here are not used again. */
  nextTurn: number;
  nextMessage = 1;
  #turns: Partial<TurnRow>[] = [];
  #messages: NewMessage[] = [];
  #characters = 0;

  constructor(transcript: Transcript) {
    this.#transcript = transcript;
    this.nextTurn = Math.max(transcript.storedProfile?.nextTurn ?? 1, transcript.newestTurnNumber + 1);
  }

  addTurn(turn: Partial<TurnRow> & Pick<TurnRow, 'seq'>): void {
    this.#turns.push(turn);
    this.nextTurn = turn.seq + 1;
  }

  addMessage(message: NewMessage): void {
    this.#messages.push(message);
    this.nextMessage = message.seq + 1;
    this.#characters += message.text.length;
    if (this.#messages.length >= MAX_MESSAGES || this.#characters >= MAX_CHARACTERS) this.flush();
  }

  /** Stores the rows that are left. */
  flush(): void {
    if (this.#turns.length === 0 && this.#messages.length === 0) return;
    this.#transcript.insertEndedTurns(this.#turns);
    this.#transcript.addMessages(this.#messages);
    this.#turns = [];
    this.#messages = [];
    this.#characters = 0;
  }
}
