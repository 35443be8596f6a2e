/** Remembers how long an account's latest answers were, by model. Only in memory: it never decides what may be spent. */
import { getOrMake } from '../../kit/cache/get-or-make.ts';

/** How many answers of a model count: the newest. */
const MOST_ANSWERS = 64;
/** The most models of which something is known. */
const MOST_LEARNT_MODELS = 64;
/** So many of the longest are no measure. */
const OUTLIERS = 2;
/** How much longer than the longest of the others, or than what leaves room for a text, the next answer may become. */
const PATIENCE_FACTOR = 1.5;

/** An answer that came to its end. */
interface EndedAnswer {
  model: string;
  /** Its output. */
  tokens: number;
}

/** The lengths of the latest answers. */
export class AnswerLengths {
  readonly #read: () => readonly EndedAnswer[];
  #known: Map<string, number[]> | undefined;

  /** @param read returns the latest answers, the oldest first. It is called once, when somebody asks */
  constructor(read: () => readonly EndedAnswer[]) {
    this.#read = read;
  }

  /** Notes an answer. What ends before somebody asks is read then. */
  note({ model, tokens }: EndedAnswer): void {
    if (!this.#known || (this.#known.size >= MOST_LEARNT_MODELS && !this.#known.has(model))) return;
    const lengths = getOrMake(this.#known, model, () => []);
    lengths.push(tokens);
    if (lengths.length > MOST_ANSWERS) lengths.shift();
  }

  /** @returns tokens that are likely to be enough for the next answer of a model. @param room tokens that leave room for a text */
  typical(model: string, room: number): number {
    if (!this.#known) {
      this.#known = new Map();
      for (const answer of this.#read()) this.note(answer);
    }
    const lengths = [...(this.#known.get(model) ?? [])].sort((one, other) => other - one);
    return Math.ceil(PATIENCE_FACTOR * Math.max(room, lengths[OUTLIERS] ?? 0));
  }
}
