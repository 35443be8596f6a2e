/** What the senders' signature schemes have in common: an HMAC over the raw bytes, compared in constant time. */

/** Bytes in a buffer of their own, as Web Crypto takes them. */
type Bytes = Uint8Array<ArrayBuffer>;

/** A request before anything of it is believed. */
export interface Unverified {
  headers: Headers;
  /** The body as it came. */
  bytes: Uint8Array;
  /** Milliseconds since 1970. */
  now: number;
}

/** `missing`: no signature of the expected form; `forged`: none that holds; `stale`: signed too long ago, or ahead. */
export type Verdict = 'valid' | 'missing' | 'forged' | 'stale';

/** Judges a request by any of the secrets of its source: more than one is set while a secret is rotated. */
export type Verify = (request: Unverified, secrets: readonly string[]) => Promise<Verdict>;

export type HashName = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';

/** How far a sender's clock, and the way here, may be off. It is what Stripe, Slack and Standard Webhooks advise. */
export const TOLERANCE_SECONDS = 300;

const encoder = new TextEncoder();

/** @returns whether any of the secrets has made any of the signatures over these parts. */
export async function isSigned(
  parts: readonly (string | Uint8Array)[],
  signatures: readonly Bytes[],
  secrets: readonly string[],
  hash: HashName = 'SHA-256',
): Promise<boolean> {
  const content = joined(parts);
  for (const secret of secrets) {
    const key = await keyOf(secret, hash, 'verify');
    for (const signature of signatures) {
      // The runtime compares in constant time.
      if (await crypto.subtle.verify('HMAC', key, signature, content)) return true;
    }
  }
  return false;
}

/** @returns the HMAC of these parts. */
export async function sign(
  parts: readonly (string | Uint8Array)[],
  secret: string,
  hash: HashName = 'SHA-256',
): Promise<Bytes> {
  const key = await keyOf(secret, hash, 'sign');
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, joined(parts)));
}

/** @returns the seconds that a timestamp in a header says; undefined for anything but a plain number. */
export function secondsOf(timestamp: string | null | undefined): number | undefined {
  return /^\d{1,12}$/.test(timestamp ?? '') ? Number(timestamp) : undefined;
}

/** @returns whether a signature was made about now. */
export function isFresh(seconds: number, now: number): boolean {
  return Math.abs(now / 1_000 - seconds) <= TOLERANCE_SECONDS;
}

/** @returns the bytes of a hexadecimal number; undefined for mixed case as for anything else that no sender writes. */
export function fromHex(text: string): Bytes | undefined {
  if (text.length % 2 === 1 || !/^(?:[0-9a-f]+|[0-9A-F]+)$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16));
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @returns the bytes of base64 text; undefined unless it is the one way to write them. */
export function fromBase64(text: string): Bytes | undefined {
  try {
    const binary = atob(text);
    return btoa(binary) === text ? Uint8Array.from(binary, (character) => character.charCodeAt(0)) : undefined;
  } catch {
    return undefined;
  }
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * For libraries that verify text: the text that stands for exactly these bytes.
 *
 * @returns undefined for what is not UTF-8, which no such library could have signed
 */
export function exactText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

async function keyOf(secret: string, hash: HashName, use: 'sign' | 'verify'): Promise<CryptoKey> {
  return await crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash }, false, [use]);
}

function joined(parts: readonly (string | Uint8Array)[]): Bytes {
  const pieces = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part));
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
