function isLetter(unit: number): boolean {
  return (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90);
}

function isDigit(unit: number): boolean {
  return unit >= 48 && unit <= 57;
}

function isSpace(unit: number): boolean {
  return unit === 32 || (unit >= 9 && unit <= 13);
}

function runEnd(text: string, start: number, longest: number, belongs: (unit: number) => boolean): number {
  const limit = Math.min(text.length, start + longest);
  let end = start + 1;
  while (end < limit && belongs(text.charCodeAt(end))) end++;
  return end;
}

/**
 * Finds where the token ends that starts at an index of a text, in UTF-16 units. As with real tokenizers, a token is a word
 * of up to eight letters with the space before it, three digits, a run of white space, one sign, or one ideograph. Each has
 * at least one UTF-8 byte, so a text never has more tokens than bytes. No surrogate pair is divided.
 */
function tokenEnd(text: string, index: number): number {
  let start = index;
  const next = start + 1 < text.length ? text.charCodeAt(start + 1) : 32;
  if (text.charCodeAt(start) === 32 && !isSpace(next)) start++;
  const unit = text.charCodeAt(start);
  if (isLetter(unit)) return runEnd(text, start, 8, isLetter);
  if (isDigit(unit)) return runEnd(text, start, 3, isDigit);
  if (isSpace(unit)) return runEnd(text, start, 16, isSpace);
  if (unit < 0x80) return start + 1;
  if (unit < 0x800) return runEnd(text, start, 3, (other) => other >= 0x80 && other < 0x800);
  return start + ((text.codePointAt(start) ?? 0) > 0xffff ? 2 : 1);
}

/** Estimates the tokens of a text: never more than its UTF-8 bytes. */
export function countTokens(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index = tokenEnd(text, index)) count++;
  return count;
}

/** Splits a text into tokens, at most `limit`. Joined they are the beginning of the text, without a limit all of it. */
export function splitTokens(text: string, limit = Number.POSITIVE_INFINITY): string[] {
  const tokens: string[] = [];
  for (let index = 0; index < text.length && tokens.length < limit; ) {
    const end = tokenEnd(text, index);
    tokens.push(text.slice(index, end));
    index = end;
  }
  return tokens;
}
