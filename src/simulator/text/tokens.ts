/**
 * A token. As with real tokenizers, it is a word of up to eight letters, three digits, one sign, or one ideograph, each with
 * the space before it, or a run of white space. It has at least one UTF-8 byte, so a text never has more tokens than bytes.
 * No surrogate pair is divided.
 */
const TOKEN =
  / ?(?:[A-Za-z]{1,8}|[0-9]{1,3}|[\x80-\u07ff]{1,3}|[\ud800-\udbff][\udc00-\udfff]|[^\t-\r ])|[\t-\r ]{1,16}/g;

/** Estimates the tokens of a text: never more than its UTF-8 bytes. */
export function estimateTokenCount(text: string): number {
  let count = 0;
  // Count the matches one by one: an array of all matches would have millions of items for a long prompt.
  for (TOKEN.lastIndex = 0; TOKEN.test(text); ) count++;
  return count;
}

/** Splits a text into tokens, at most `limit`. Joined they are the beginning of the text. */
export function splitTokens(text: string, limit?: number): string[] {
  return (text.match(TOKEN) ?? []).slice(0, limit);
}
