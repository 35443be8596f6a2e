/** Bytes in a buffer that is not shared. Web Crypto accepts no others. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const NO_BYTES: Bytes = new Uint8Array(0);

/** Decodes bytes that are known to be text. It keeps a byte order mark, so that encoding gives the same bytes again. */
export const exactDecoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** The same, but throws a TypeError if the bytes are not UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes UTF-8. Invalid bytes become the replacement character. */
export const decoder = new TextDecoder();

export const encoder = new TextEncoder();

/** @returns the SHA-256 of bytes as 64 hexadecimal digits in lower case. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Bytes)));
}

/** @returns bytes as hexadecimal digits in lower case. (Node, where scripts and tests run, has no `toHex` of its own.) */
export function toHex(bytes: Uint8Array): string {
  let digits = '';
  for (const byte of bytes) digits += (byte >> 4).toString(16) + (byte & 15).toString(16);
  return digits;
}

/** @returns the bytes of a text. The cast is safe: the buffer of an encoder is never shared. */
export function encodeUtf8(text: string): Bytes {
  return encoder.encode(text) as Bytes;
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** @returns whether a text is base64, and not empty. */
export function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}

/** @returns how many bytes a base64 text decodes to. */
export function computeBase64ByteLength(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
}

/** @returns the bytes of base64 text in any form. @throws DOMException for any other text */
export function decodeBase64(text: string): Bytes {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export async function computeHmac(content: Bytes, secret: Bytes, hash: string): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, content));
}
