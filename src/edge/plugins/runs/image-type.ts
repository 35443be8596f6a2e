/**
 * Finds the media type of an image by its first bytes. The API refuses a whole request if one image has the wrong type.
 *
 * @returns undefined if the bytes are not an image that the API accepts
 */
export function detectImageType(bytes: Uint8Array): string | undefined {
  const begin = String.fromCharCode(...bytes.subarray(0, 12));
  if (begin.startsWith('RIFF') && begin.endsWith('WEBP')) return 'image/webp';
  return IMAGE_BEGINS.find(([, text]) => begin.startsWith(text))?.[0];
}

/** The first bytes of the other kinds of images, a character for each byte. */
const IMAGE_BEGINS = [
  ['image/png', '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', '\xff\xd8\xff'],
  ['image/gif', 'GIF8'],
] as const;
