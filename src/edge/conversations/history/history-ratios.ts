/** The parts of a history's limit at which it is shortened, and to which. They need no Worker: the model of cost reads them. */

/**
 * The part of the limit that is filled after turns were left out. Leaving out one more at each turn would miss the prompt
 * cache each time.
 */
export const TRUNCATED_FILL_RATIO = 0.75;
/** The part of `max_tokens` above which a summary is started after an answer. */
export const SUMMARY_START_RATIO = 0.8;
/**
 * The largest part of `max_tokens` that the turns after a summary may fill. A cost model chose both ratios (docs/cost.md): a
 * quarter would save a tenth, and keep half as many turns word for word.
 */
export const SUMMARY_KEEP_RATIO = 0.5;
