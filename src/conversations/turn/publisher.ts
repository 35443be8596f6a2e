import type { TakenPiece, Turn } from './turn.ts';

const STORE_MS = 250;
const STORE_CHARACTERS = 16_384;

/**
 * Shows what comes of a turn, and stores it: what frames the answer, and the first that it says, before it is shown; what
 * is said after that, soon after.
 */
export class Publisher {
  readonly #turn: Turn;
  readonly #now: () => number;
  #said = false;
  #at = Date.now();
  /** Whether an event waits that is to be stored before it is shown. */
  #framing = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(turn: Turn, now: () => number) {
    this.#turn = turn;
    this.#now = now;
  }

  /** Whether a delta has come. */
  get said(): boolean {
    return this.#said;
  }

  /** When something was shown last; milliseconds since 1970. */
  get at(): number {
    return this.#at;
  }

  /** A piece of the stream has been taken. */
  pass({ structural, said }: TakenPiece): void {
    this.#framing ||= structural || (said && !this.#said);
    this.#said ||= said;
    const { log } = this.#turn;
    if (log.unshown === 0) return;
    if (this.#framing || log.unstored >= STORE_CHARACTERS) {
      this.#store();
      return;
    }
    this.#timer ??= setTimeout(() => this.#store(), STORE_MS);
    this.#at = Date.now();
    if (!this.#over) log.show();
  }

  /** Says in a silence that the turn still runs. */
  ping(): void {
    this.#turn.log.ping();
    this.#at = Date.now();
  }

  /** The turn ends: what is not stored yet is stored with its end. */
  end(): void {
    this.#over = true;
    // To clear one that is not set costs too.
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  #store(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#framing = false;
    this.#at = Date.now();
    if (this.#over) return;
    const now = this.#now();
    this.#turn.storeGrant();
    this.#turn.log.store({ at: now, unseenMs: this.#turn.unseenUntil(now) });
  }
}
