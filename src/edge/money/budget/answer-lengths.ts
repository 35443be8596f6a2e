/** Remembers how long an account's latest answers were, by model. Only in memory: it never decides what may be spent. */
import { getOrCreate } from '../../kit/cache/get-or-create.ts';

/** How many answers of a model count: the newest. */
const MAX_ANSWERS = 64;
/** The most models of which something is known. */
const MAX_LEARNED_MODELS = 64;
/** The number of longest answers that are ignored as outliers. */
const OUTLIER_COUNT = 2;
/** The number of known answers from which they determine how many tokens the next one needs. */
const ENOUGH_ANSWERS = 16;
/** Tokens that are enough to try where fewer are known and the request would be rejected. */
export const MIN_TOKENS_TO_TRY = 1_024;
/** How much longer than the longest of the others, or than what is enough for a text, the next answer may become. */
const PATIENCE_FACTOR = 1.5;

/** An answer that came to its end. */
interface EndedAnswer {
  model: string;
  /** Its output. */
  tokens: number;
}

/** The lengths of the latest answers. */
export class RecentAnswerLengths {
  readonly #read: () => readonly EndedAnswer[];
  #known: Map<string, number[]> | undefined;

  /** @param read returns the latest answers, the oldest first. It is called once, at the first read */
  constructor(read: () => readonly EndedAnswer[]) {
    this.#read = read;
  }

  /** Records an answer. Answers that ended before the first read are read from the ledger then. */
  recordAnswer({ model, tokens }: EndedAnswer): void {
    if (!this.#known || (this.#known.size >= MAX_LEARNED_MODELS && !this.#known.has(model))) return;
    const lengths = getOrCreate(this.#known, model, () => []);
    lengths.push(tokens);
    if (lengths.length > MAX_ANSWERS) lengths.shift();
  }

  /** @returns tokens that are likely to be enough for the next answer of a model. @param forText tokens that are enough for a text, however much the model thinks */
  estimateTypicalTokens(model: string, forText: number): number {
    return addLengthMargin(forText, this.#sortLengthsDescending(model)[OUTLIER_COUNT]);
  }

  /** @returns the tokens that are enough for a text, as far as earlier answers show that: no more than `forText` */
  estimateTokensForText(model: string, forText: number): number {
    const lengths = this.#sortLengthsDescending(model);
    return lengths.length < ENOUGH_ANSWERS ? forText : Math.min(forText, addLengthMargin(0, lengths[OUTLIER_COUNT]));
  }

  /** @returns the tokens that are worth an attempt where the request would be rejected: no more than `forText` */
  estimateTokensWorthTrying(model: string, forText: number): number {
    const lengths = this.#sortLengthsDescending(model);
    if (lengths.length >= ENOUGH_ANSWERS) return this.estimateTokensForText(model, forText);
    return Math.min(forText, Math.max(MIN_TOKENS_TO_TRY, addLengthMargin(0, lengths[0])));
  }

  /** @returns the known lengths, the longest first */
  #sortLengthsDescending(model: string): number[] {
    if (!this.#known) {
      this.#known = new Map();
      for (const answer of this.#read()) this.recordAnswer(answer);
    }
    return [...(this.#known.get(model) ?? [])].sort((one, other) => other - one);
  }
}

function addLengthMargin(forText: number, length = 0): number {
  return Math.ceil(PATIENCE_FACTOR * Math.max(forText, length));
}
