const LONG_BASE64 = /[A-Za-z0-9+/=]{400,}/g;
const SHOWN = 40;

/** @returns text to look at: JSON is indented, and pictures are told by their beginning and their length. */
export function shorten(text: string): string {
  return indented(text).replace(
    LONG_BASE64,
    (data) => `${data.slice(0, SHOWN)}… (${data.length.toLocaleString('en')} characters)`,
  );
}

function indented(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    // What is no JSON is shown as it is.
    return text;
  }
}
