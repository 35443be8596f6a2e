/** What a row of the table of repetitions has. */

/** A request of the table. */
export interface Ask {
  path: string;
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** JSON, or what goes as it is: a string or a form. */
  body?: unknown;
  headers?: Record<string, string>;
  /** Whether it is signed as a webhook of GitHub. */
  isSigned?: boolean;
  /** What it must be answered with. Default: 200 */
  status?: number;
  /** Whether it is asked again until it is answered so: what it asks for is an alarm's work. */
  isAwaited?: boolean;
  /** What its answer must have before it counts as answered so. */
  has?: string;
  /**
   * What happens when so many words of its stream have come, where the upstream holds an answer back before its end: the
   * caller leaves, or waits for the rest.
   */
  reads?: { words: number; leaves: boolean };
}

/** A delta of a held answer. */
export const WORD = 'word ';

/**
 * The header of a request that says how its answer repeats itself: `deltas 100`. The edge sends it up. `held 100 2` has 100
 * deltas, and ends when two callers have read them all and wait. A batch with `results` has ended at once.
 */
export const ANSWER = 'x-answer';

/** Sends a request of the table, and gives the text of the answer. @throws Error for another status than the one named */
export type Send = (ask: Ask) => Promise<string>;

/** Something that a caller can repeat, and the requests whose CPU may grow no more than in proportion. */
export interface Row {
  /** What is repeated. */
  what: string;
  /** The routes that read it. */
  where: readonly string[];
  /** How often it is repeated, and eight times as often. By night more, but eight times that at most `most`. */
  n: number;
  /** The most that may be sent; absent where only the length of a body ends it. */
  most?: number;
  /** Does what is not measured. @param id a name that no other measurement has */
  prepare?: (send: Send, n: number, id: string) => Promise<string>;
  /** Makes a request, or several of them one after the other. @param made what `prepare` has given */
  asks: (n: number, id: string, made: string) => Ask | readonly Ask[];
}

/** @returns the results of a function for 0, 1, 2 and so on */
export const times = <T>(n: number, make: (nth: number) => T): T[] => Array.from({ length: n }, (_, nth) => make(nth));

export const MODEL = 'claude-haiku-4-5';
const QUESTION = { role: 'user', content: 'Go on.' };
/** The members that every Messages request of the table has. */
export const ASKED = { model: MODEL, max_tokens: 10, stream: false, messages: [QUESTION] };
/** @returns a history of so many messages, which ends with a question */
export const history = (n: number) => [
  ...times(n, (nth) => ({ role: nth % 2 === 0 ? 'user' : 'assistant', content: `word ${nth}` })),
  ...(n % 2 === 0 ? [QUESTION] : []),
];
