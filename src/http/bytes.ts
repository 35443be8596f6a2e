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

/** @returns the bytes of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}
