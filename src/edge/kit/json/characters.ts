/** Bytes and characters, by their meaning. */
export const BACKSLASH = 92;
export const COMMA = 44;
export const QUOTE = 34;
export const SPACE = 32;
export const LINE_FEED = 10;
export const COLON = 58;
export const OPEN_LIST = 91;
export const CLOSE_LIST = 93;
export const OPEN_OBJECT = 123;
export const CLOSE_OBJECT = 125;
