declare module 'vitest' {
  interface ProvidedContext {
    /** The seed of a night; 0 by day. */
    nightSeed: number;
  }
}

/** @returns the name of a file without its folder: to move a file changes nothing that is drawn from its name */
export const fileName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** Draws a seed from words, the same on every machine. FNV-1a. @returns an integer of 31 bits */
export function toSeed(words: string): number {
  let hash = 0x811c9dc5;
  for (const letter of words) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  // The last letter alone would hardly change the upper bits.
  return (hash ^ (hash >>> 15)) & 0x7fffffff;
}
