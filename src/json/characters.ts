/** Bytes, and characters, by what they stand for. */
export const BACKSLASH = 92;
export const COMMA = 44;
export const QUOTE = 34;
export const SPACE = 32;
export const LINE_FEED = 10;
