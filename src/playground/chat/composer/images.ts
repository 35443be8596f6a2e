/** Reads images that are sent with a question. */

/** An image as a block of the Messages API. */
export type ImageBlock = { type: 'image'; source: { type: 'base64'; media_type: string; data: string } };

export interface Picture {
  name: string;
  block: ImageBlock;
}

const TYPES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
export const ACCEPTED = TYPES.join(',');
/** The API's limit for one image. */
const MAX_BYTES = 5 * 1024 * 1024;

/** Reads a file as an image. @throws Error for a file that the API would refuse; the message says what to do */
export async function readPicture(file: File): Promise<Picture> {
  if (!TYPES.includes(file.type))
    throw new Error(`${file.name} is not a picture that Claude reads: send PNG, JPEG, GIF or WebP.`);
  if (file.size > MAX_BYTES) throw new Error(`${file.name} is larger than 5 MB. Make it smaller first.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8_192) binary += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return {
    name: file.name,
    block: { type: 'image', source: { type: 'base64', media_type: file.type, data: btoa(binary) } },
  };
}

/** @returns a URL that shows an image; undefined for an image on another server, which this page does not load */
export function pictureAddress(block: object): string | undefined {
  const { source } = block as Partial<ImageBlock>;
  return source?.type === 'base64' ? `data:${source.media_type};base64,${source.data}` : undefined;
}
