/** Decodes what is text for certain, and keeps a byte order mark: dropping it would change the bytes. */
export const exactDecoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

/** The same, which throws for what is no UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const decoder = new TextDecoder();

export const encoder = new TextEncoder();

/** @returns pieces as one. */
export function joined(...pieces: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

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
