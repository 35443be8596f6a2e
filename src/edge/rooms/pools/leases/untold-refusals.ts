import type { RefusalLog } from '../../../money/account/refusal-log.ts';
import type { RefusalsReport } from '../contracts/pool.ts';

/** The shortest time between two reports of what a busy account refuses. Milliseconds. */
const REFUSALS_AGAIN_MS = 60_000;

/** Where the refusals of an account are. */
type RefusalSource = Pick<RefusalLog, 'lastAt' | 'since'>;

/**
 * Keeps which of an account's refusals the deployment's pool knows. Each answer of the pool says up to which time it knows
 * them, so nothing is stored here: an object that wakes gets an answer before it reports anything.
 */
export class UntoldRefusals {
  readonly #source: RefusalSource;
  #told: number | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(source: RefusalSource) {
    this.#source = source;
  }

  /** @returns whether there may be refusals that the pool does not know. */
  get areThere(): boolean {
    return this.#source.lastAt > (this.#told ?? 0);
  }

  /** Notes that the pool knows nothing, because the account reports under another id from now on. */
  forget(): void {
    this.#told = undefined;
  }

  /** Makes a report, if one is due. @param isIdle whether the account is idle, so that the report need not wait for more */
  compose(now: number, isIdle: boolean): RefusalsReport | undefined {
    const isDue = isIdle || now >= this.#reportedAt + REFUSALS_AGAIN_MS || now < this.#reportedAt;
    if (this.#told === undefined || !this.areThere || !isDue) return undefined;
    this.#reportedAt = now;
    return { since: this.#told, until: this.#source.lastAt, rows: this.#source.since(this.#told) };
  }

  /** Takes the time up to which the pool knows them now. */
  heard(told: number): void {
    this.#told = told;
  }
}
