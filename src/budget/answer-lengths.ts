/** Remembers how long an account's latest answers were, by model. Only in memory: it never decides what may be spent. */

/** How many answers of a model count: the newest. */
const MOST_ANSWERS = 64;
/** The most models remembered. The one that was used least recently is forgotten. */
const MOST_MODELS_KEPT = 16;
/** The part of the answers that had enough tokens. */
const PART = 0.95;
/** Tokens that an answer is supposed to take at least, also where nothing is known. */
const LEAST_TYPICAL = 1_024;

/** The lengths of the latest answers. */
export class AnswerLengths {
  readonly #lengths = new Map<string, number[]>();

  /** Notes a complete answer. @param tokens its output */
  note(model: string, tokens: number): void {
    const lengths = this.#lengths.get(model) ?? [];
    this.#lengths.delete(model);
    this.#lengths.set(model, [...lengths.slice(1 - MOST_ANSWERS), tokens]);
    const [oldest] = this.#lengths.keys();
    if (oldest !== undefined && this.#lengths.size > MOST_MODELS_KEPT) this.#lengths.delete(oldest);
  }

  /** @returns tokens that were enough for 95 of 100 answers of a model; at least 1,024 */
  typical(model: string): number {
    const lengths = [...(this.#lengths.get(model) ?? [])].sort((one, other) => one - other);
    return Math.max(LEAST_TYPICAL, lengths[Math.ceil(PART * lengths.length) - 1] ?? 0);
  }
}
