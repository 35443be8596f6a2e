/** 128 bits, as four unsigned 32-bit words. */
export type Digest = readonly [number, number, number, number];

const INITIAL_DIGEST: Digest = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];

/**
 * Makes a 128-bit digest of a text, continued from an earlier one. It is not cryptographic: it only tells prefixes and
 * requests apart. The platform's own digests would have to be awaited.
 */
export function computeDigest(text: string, from: Digest = INITIAL_DIGEST): Digest {
  let [a, b, c, d] = from;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = b ^ Math.imul(a ^ unit, 597399067);
    b = c ^ Math.imul(b ^ unit, 2869860233);
    c = d ^ Math.imul(c ^ unit, 951274213);
    d = a ^ Math.imul(d ^ unit, 2716044179);
  }
  // Add the length: without it, a text that is hashed in parts (`ab` and `c`) would have the same digest as one divided
  // differently (`a` and `bc`).
  a = Math.imul(c ^ (a >>> 18) ^ text.length, 597399067);
  b = Math.imul(d ^ (b >>> 22), 2869860233);
  c = Math.imul(a ^ (c >>> 17), 951274213);
  d = Math.imul(b ^ (d >>> 19), 2716044179);
  return [(a ^ b ^ c ^ d) >>> 0, (b ^ a) >>> 0, (c ^ a) >>> 0, (d ^ a) >>> 0];
}

/** Writes a digest as 32 hexadecimal digits. */
export function digestToHex(value: Digest): string {
  return value.map((word) => word.toString(16).padStart(8, '0')).join('');
}

/** Reads a digest that `hex` has written. */
export function parseHexDigest(written: string): Digest {
  const parseWord = (at: number): number => Number.parseInt(written.slice(at, at + 8), 16) >>> 0;
  return [parseWord(0), parseWord(8), parseWord(16), parseWord(24)];
}

/** A source of numbers in [0, 1) that are the same for the same digest. */
export type RandomSource = () => number;

/** Makes the random numbers (sfc32) that a digest starts. */
export function createRandom(value: Digest): RandomSource {
  let [a, b, c, d] = value;
  const nextRandom = (): number => {
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 4294967296;
  };
  // Similar seeds give similar first numbers, so discard the first twelve.
  for (let i = 0; i < 12; i++) nextRandom();
  return nextRandom;
}

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Makes an identifier as the API does: a prefix, `01`, and 22 letters and digits. */
export function createApiIdentifier(prefix: string, value: Digest): string {
  const random = createRandom(value);
  let id = `${prefix}01`;
  for (let i = 0; i < 22; i++) id += ALPHABET.charAt(Math.floor(random() * ALPHABET.length));
  return id;
}
