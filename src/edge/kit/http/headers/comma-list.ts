/** @returns the parts of a text that commas separate, trimmed; empty ones are left out. */
export function parseCommaList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
