/**
 * Finds what kind of image bytes are: the API refuses a wrong type, and with it all that goes up beside it.
 *
 * @returns the type of an image, by how it begins; undefined for anything else
 */
export function imageTypeOf(bytes: Uint8Array): string | undefined {
  const begin = String.fromCharCode(...bytes.subarray(0, 12));
  if (begin.startsWith('RIFF') && begin.endsWith('WEBP')) return 'image/webp';
  return IMAGE_BEGINS.find(([, text]) => begin.startsWith(text))?.[0];
}

/** How the other images begin, a character for each byte. */
const IMAGE_BEGINS = [
  ['image/png', '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', '\xff\xd8\xff'],
  ['image/gif', 'GIF8'],
] as const;
