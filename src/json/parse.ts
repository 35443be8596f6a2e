/** @returns the value that a text is as JSON; undefined where it is none: for what is not ours to judge. */
export function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
