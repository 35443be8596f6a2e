import type { TakenPiece, Turn } from './turn.ts';

const STORE_MS = 250;
const STORE_CHARACTERS = 16_384;

/**
 * Stores and shows the events of a turn. Framing events and the first delta are stored before they are shown; later deltas
 * are shown first, and stored together at most 250 ms later.
 */
export class Publisher {
  readonly #turn: Turn;
  readonly #now: () => number;
  #said = false;
  #at = Date.now();
  /** Whether an event is waiting that must be stored before it is shown. */
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

  /** Stores or shows the events of the piece that the turn has taken. */
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

  /** Stops the timer: the end of the turn stores what is left. */
  end(): void {
    this.#over = true;
    // Clearing a timer that is not set would cost time as well.
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
