const LONG_BASE64 = /[A-Za-z0-9+/=]{400,}/g;
const SHOWN_CHARACTERS = 40;

/** @returns JSON with indentation; other text as it is */
export function indentIfJson(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    // Show text that is not JSON unchanged.
    return text;
  }
}

/** @returns text in which images are replaced by their beginning and their length */
export function shortenBase64Images(text: string): string {
  return text.replace(
    LONG_BASE64,
    (data) => `${data.slice(0, SHOWN_CHARACTERS)}… (${data.length.toLocaleString('en')} characters)`,
  );
}
