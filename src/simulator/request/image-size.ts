import { isJsonObject, type JsonObject } from '../../api-rules/json.ts';
import { ApiError } from './errors.ts';

/** The format of an image and its size in pixels, read from its header. */
export interface ImageSize {
  mediaType: 'image/png' | 'image/jpeg' | 'image/gif' | 'image/webp';
  width: number;
  height: number;
}

/** Checks whether a text is base64 with padding, as the API wants it. */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
}

/** Decodes a base64 text, at most its first `limit` characters. */
export function decodeBase64Start(text: string, limit: number): Uint8Array {
  return Uint8Array.from(atob(text.slice(0, limit - (limit % 4))), (unit) => unit.charCodeAt(0));
}

function decodeAscii(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}

function readWebpSize(view: DataView, form: string): ImageSize | undefined {
  const readUint24 = (at: number): number => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
  const mediaType = 'image/webp';
  if (form === 'VP8X') return { mediaType, width: readUint24(24) + 1, height: readUint24(27) + 1 };
  if (form === 'VP8 ') {
    return { mediaType, width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  }
  if (form === 'VP8L') {
    const bits = view.getUint32(21, true);
    return { mediaType, width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  return undefined;
}

function readJpegSize(view: DataView): ImageSize | undefined {
  for (let at = 2; at + 9 <= view.byteLength; ) {
    if (view.getUint8(at) !== 0xff) return undefined;
    const marker = view.getUint8(at + 1);
    // JPEG allows any number of 0xFF fill bytes before a marker, so skip them one by one.
    if (marker === 0xff) {
      at++;
      continue;
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) return { mediaType: 'image/jpeg', width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    at += 2 + view.getUint16(at + 2);
  }
  return undefined;
}

/** Reads the kind and size of a base64 PNG, JPEG, GIF or WebP from its header; undefined if it has none that can be read. */
export function readImageSize(base64: string): ImageSize | undefined {
  // In a JPEG, the size may follow large metadata, so decode up to 1 MiB of it. The other formats have their size at the start.
  const bytes = decodeBase64Start(base64, base64.startsWith('/9j/') ? 1_048_576 : 64);
  const view = new DataView(bytes.buffer);
  try {
    if (decodeAscii(bytes, 0, 8) === '\x89PNG\r\n\x1a\n')
      return { mediaType: 'image/png', width: view.getUint32(16), height: view.getUint32(20) };
    if (decodeAscii(bytes, 0, 4) === 'GIF8')
      return { mediaType: 'image/gif', width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (decodeAscii(bytes, 0, 4) === 'RIFF' && decodeAscii(bytes, 8, 12) === 'WEBP')
      return readWebpSize(view, decodeAscii(bytes, 12, 16));
    if (view.byteLength > 2 && view.getUint16(0) === 0xffd8) return readJpegSize(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return undefined;
}

/** Reads the size of an image block; undefined if its bytes are not in the request. */
export function readImageBlockSize({ source }: JsonObject): ImageSize | undefined {
  return isJsonObject(source) && typeof source.data === 'string' ? readImageSize(source.data) : undefined;
}

/** @throws ApiError 400 with the code for an image whose side is too long */
export function requireImageSideWithin(block: JsonObject, path: string, maxPixels: number): void {
  const { width = 0, height = 0 } = readImageBlockSize(block) ?? {};
  if (Math.max(width, height) <= maxPixels) return;
  const message = `${path}: At least one of the image dimensions exceed max allowed size: ${maxPixels} pixels`;
  const details = { error_code: 'image_dimensions_too_large', max_side_length_pixels: maxPixels, paths: [path] };
  throw new ApiError(400, message, {}, details);
}
