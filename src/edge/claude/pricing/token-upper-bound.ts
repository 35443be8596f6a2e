/**
 * Computes the most tokens that a text can have, by classes of characters.
 *
 * The API's tokenizers are not public. `test/edge/claude/pricing/token-upper-bound.test.ts` compares with public tokenizers: no kind of text
 * that models write has more tokens there than these weights say, and the weights are not much too high. Nothing is
 * allocated, since an interrupted answer may be megabytes long.
 */

import { encoder } from '../../kit/http/bytes.ts';
import { SPACE } from '../../kit/json/characters.ts';

/** The weight of a token. All other weights are twentieths of a token. */
const TOKEN = 20;
const LETTER_IN_WORD = 12;
const CAPITAL_IN_WORD = 16;
/** Something longer is more likely a key, an id or base64 than a word. */
const LONG_WORD = 8;
const LETTER_IN_LONG_WORD = 16;
const NEXT_SPACE = 1;
const REPEATED_SIGN = 10;

const LOWER = 1;
const UPPER = 2;
const DIGIT = 3;
const SIGN = 4;
const WHITE = 5;

/** The class of each ASCII character. */
const CLASSES = Uint8Array.from({ length: 128 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if (/[a-z]/.test(character)) return LOWER;
  if (/[A-Z]/.test(character)) return UPPER;
  if (/\d/.test(character)) return DIGIT;
  return byte > SPACE && byte < 127 ? SIGN : WHITE;
});

/** The weight of a character by the first of its UTF-8 bytes. The other bytes weigh nothing. */
const LEAD_BYTE_WEIGHTS = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte < 0xc0) return 0;
  // Text in common two-byte scripts, such as Cyrillic and accented Latin, has fewer tokens than bytes, so its characters weigh
  // less.
  if (byte < 0xe0) return isCommonLead(byte) ? 30 : 46;
  // Chinese characters weigh 47, Hangul 54, other three-byte characters 60, and four-byte characters 80.
  if (byte > 0xe4 && byte < 0xea) return 47;
  return byte > 0xea && byte < 0xee ? 54 : byte < 0xf0 ? 60 : 80;
});

/** @returns whether a byte begins a character of Latin with accents, Greek, Cyrillic, Hebrew or Arabic. */
function isCommonLead(byte: number): boolean {
  return byte < 0xc9 || (byte > 0xcd && byte < 0xd4) || (byte > 0xd6 && byte < 0xdc);
}

/** Weights by the second byte, for scripts that have fewer tokens than others with the same first byte. */
const SECOND_BYTE_WEIGHTS: Readonly<Record<number, (second: number) => number>> = {
  // Devanagari and Thai weigh 40.
  224: (second) => (second === 0xa4 || second === 0xa5 || second === 0xb8 || second === 0xb9 ? 40 : 60),
  // Kana and punctuation weigh 40.
  227: (second) => (second < 0x84 ? 40 : 60),
  // Common Chinese characters weigh 47.
  228: (second) => (second < 0xb8 ? 60 : 47),
  // Vietnamese letters weigh 40.
  225: (second) => (second === 0xba || second === 0xbb ? 40 : 60),
  // Dashes and quotation marks weigh 30, lines of tables 40.
  226: (second) => (second === 0x80 ? 30 : second === 0x94 || second === 0x95 ? 40 : 60),
};

/** @returns the most tokens that a UTF-8 text, or a part of one, can have. Not rounded, so that parts can be added up. */
export function computeTokenUpperBound(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let weight = 0;
  let letters = 0;
  let before = 0;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    const next = at + 1 < end ? bytes[at + 1] : undefined;
    if (byte >= 128) {
      // Keep the count of letters: an accented letter continues the word, so the next letter does not begin a new token.
      const bySecond = SECOND_BYTE_WEIGHTS[byte];
      weight += bySecond ? bySecond(next ?? 0) : (LEAD_BYTE_WEIGHTS[byte] ?? 0);
    } else {
      const kind = CLASSES[byte] ?? SIGN;
      if (kind === LOWER || kind === UPPER) {
        weight += getLetterTokenWeight(kind, letters);
        letters += 1;
      } else {
        letters = 0;
        if (kind === SIGN) weight += byte === before ? REPEATED_SIGN : TOKEN;
        else if (byte !== SPACE) weight += TOKEN;
        else if (before === SPACE) weight += NEXT_SPACE;
        else weight += isJoinedToSpace(next) ? 0 : TOKEN;
      }
    }
    before = byte;
  }
  return weight / TOKEN;
}

/** @returns the same for a string. */
export function computeTextTokenUpperBound(text: string): number {
  return computeTokenUpperBound(encoder.encode(text));
}

function getLetterTokenWeight(kind: number, letters: number): number {
  if (letters === 0) return TOKEN;
  if (letters >= LONG_WORD) return LETTER_IN_LONG_WORD;
  return kind === LOWER ? LETTER_IN_WORD : CAPITAL_IN_WORD;
}

/** @returns whether a single space before this byte is part of the same token. */
function isJoinedToSpace(next: number | undefined): boolean {
  if (next === undefined) return false;
  if (next >= 128) return next < 0xe0 && isCommonLead(next);
  const kind = CLASSES[next];
  return kind === LOWER || kind === UPPER || kind === SIGN;
}
