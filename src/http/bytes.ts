/** Decodes bytes that are known to be text, and keeps a byte order mark: without it the bytes would be others. */
export const exactDecoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** The same, but throws a TypeError for what is not UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes UTF-8; what is not UTF-8 becomes the replacement character. */
export const decoder = new TextDecoder();

/** Encodes text as UTF-8. */
export const encoder = new TextEncoder();

/** @returns the SHA-256 of bytes as 64 hexadecimal digits in lower case. */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)));
}

/** @returns bytes as hexadecimal digits in lower case. (Node, where scripts and tests run, has no `toHex` of its own.) */
export function toHex(bytes: Uint8Array): string {
  let digits = '';
  for (const byte of bytes) digits += (byte >> 4).toString(16) + (byte & 15).toString(16);
  return digits;
}

/** @returns the bytes of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}
