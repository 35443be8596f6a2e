/** Reads through the escapes of JSON and of URLs, so that a text can be searched for what it means. */

const [BACKSLASH, PERCENT, LETTER_U] = [0x5c, 0x25, 0x75];
/** The characters that letters after a backslash represent, as far as a key can contain them: a private key has lines. */
const CHARACTER_BY_ESCAPE: ReadonlyMap<number, number> = new Map([
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
]);
const INCOMPLETE = -2;

/** What a text means. */
export interface DecodedEscapes {
  text: string;
  /** Where each character of the meaning begins in the given text; at last, where the meaning ends. */
  positions: Uint32Array;
}

const utf16 = new TextDecoder('utf-16le', { fatal: false, ignoreBOM: true });

/**
 * Replaces `\uXXXX`, `%XX` and escapes with backslashes by the characters that they represent. JSON within JSON has several
 * backslashes, so consecutive ones count as one. One pass, and eight bytes a character.
 *
 * @param isCut whether an escape that the end of the text cuts is left out
 */
export function decodeEscapes(text: string, isCut = false): DecodedEscapes {
  const codes = new Uint16Array(text.length);
  const positions = new Uint32Array(text.length + 1);
  let length = 0;
  let at = 0;
  while (at < text.length) {
    positions[length] = at;
    let code = text.charCodeAt(at);
    let end = at + 1;
    if (code === PERCENT || code === BACKSLASH) {
      while (code === BACKSLASH && text.charCodeAt(end) === BACKSLASH) end += 1;
      const next = text.charCodeAt(end);
      const digits = code === PERCENT ? 2 : next === LETTER_U ? 4 : 0;
      const start = code === PERCENT ? end : end + 1;
      const meant = digits > 0 ? parseHexAt(text, start, digits) : (CHARACTER_BY_ESCAPE.get(next) ?? next);
      if (isCut && (meant === INCOMPLETE || end === text.length)) break;
      if (meant >= 0) {
        end = start + digits;
        code = meant;
      }
    }
    codes[length] = code;
    length += 1;
    at = end;
  }
  positions[length] = at;
  return { text: utf16.decode(codes.subarray(0, length)), positions };
}

/**
 * Reads a text, and if that leaves escapes, what was read once more: `%2541` is `%41`, or `A`.
 *
 * @param isCut as in `decodeEscapes`
 * @returns each reading, with positions in the given text
 */
export function decodeEscapesRepeatedly(text: string, isCut = false): DecodedEscapes[] {
  const once = decodeEscapes(text, isCut);
  if (!/[%\\]/.test(once.text)) return [once];
  const twice = decodeEscapes(once.text, isCut);
  return [
    once,
    { text: twice.text, positions: twice.positions.map((position) => once.positions[position] ?? text.length) },
  ];
}

/** @returns the number that some hexadecimal digits mean; `CUT` if the text ends in them; -1 if they are none */
function parseHexAt(text: string, start: number, digits: number): number {
  let value = 0;
  for (let at = start; at < start + digits; at += 1) {
    if (at >= text.length) return INCOMPLETE;
    const code = text.charCodeAt(at);
    const letter = code | 0x20;
    if (code >= 0x30 && code <= 0x39) value = value * 16 + code - 0x30;
    else if (letter >= 0x61 && letter <= 0x66) value = value * 16 + letter - 0x57;
    else return -1;
  }
  return value;
}
