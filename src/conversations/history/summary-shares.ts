/** The part of `max_tokens` above which a summary begins behind an answer. */
export const BEGINS = 0.8;
/**
 * The part of `max_tokens` that the turns behind a summary may fill, at most. A model of cost chose both (docs/cost.md): a quarter
 * would save a tenth, and leave half as much word for word.
 */
export const KEEPS = 0.5;
