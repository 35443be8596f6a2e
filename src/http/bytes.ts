export const exactDecoder = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true });

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
