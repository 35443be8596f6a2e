/** What the senders' signature schemes have in common: an HMAC over the raw bytes, compared in constant time. */

import { encoder } from '../http/bytes.ts';

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

/** What the headers alone can lack. `missing`: a signature of the expected form; `stale`: signed too long ago, or ahead. */
export type Shortcoming = 'missing' | 'stale';

/** `forged`: no signature that holds. */
export type Verdict = 'valid' | 'forged' | Shortcoming;

/** Judges a request by any of the secrets of its source: more than one is set while a secret is rotated. */
export type Verify = (request: Unverified, secrets: readonly string[]) => Promise<Verdict>;

/** How a sender signs. */
export interface SignatureScheme {
  /**
   * Judges the headers before the body is read, so that what nobody has signed costs nothing.
   *
   * @param now milliseconds since 1970
   * @returns what they lack; undefined where the body has to tell
   */
  precheck(headers: Headers, now: number): Shortcoming | undefined;
  verify: Verify;
  /** What the signature covers beside the body. Without either, whoever has seen one request can send its copies. */
  covers?: 'id' | 'time';
}

/** What the headers of a signed request say. */
export interface Claim {
  /** Those of the right length, at most `MOST_SIGNATURES`. */
  signatures: readonly Bytes[];
  /** What was signed in front of the body. */
  before: string;
  /** When it was signed, in seconds since 1970, where the scheme says that. */
  seconds?: number;
}

export type HashName = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';

/** How far a sender's clock, and the way here, may be off. It is what Stripe, Slack and Standard Webhooks advise. */
export const TOLERANCE_SECONDS = 300;

/** Signatures of one request that are compared. A sender puts on one for each of its secrets. */
export const MOST_SIGNATURES = 10;

const HASH_BYTES: Record<HashName, number> = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 };

/**
 * Makes a scheme of how its headers are read.
 *
 * @param read takes the headers apart; undefined for those without a signature of the expected form
 */
export function schemeOf(
  read: (headers: Headers) => Claim | undefined,
  {
    hash = 'SHA-256',
    ...scheme
  }: { hash?: HashName; keyOf?: (secret: string) => Bytes } & Pick<SignatureScheme, 'covers'>,
): SignatureScheme {
  const { keyOf = (secret) => encode(secret), ...rest } = scheme;
  const judge = (headers: Headers, now: number): Shortcoming | Claim => {
    const claim = read(headers);
    if (!claim || claim.signatures.length === 0) return 'missing';
    return claim.seconds === undefined || isFresh(claim.seconds, now) ? claim : 'stale';
  };
  return {
    ...rest,
    precheck: (headers, now) => {
      const judged = judge(headers, now);
      return typeof judged === 'string' ? judged : undefined;
    },
    verify: async ({ headers, bytes, now }, secrets) => {
      const judged = judge(headers, now);
      if (typeof judged === 'string') return judged;
      const content = signedContent(judged.before, bytes);
      for (const secret of secrets) {
        // One HMAC, however many signatures a request has: each is as dear as the body is long.
        const own = await hmacOf(content, keyOf(secret), hash);
        if (judged.signatures.some((signature) => isEqual(signature, own))) return 'valid';
      }
      return 'forged';
    },
  };
}

/**
 * @param values the signatures as a header has them, read one after the other only until there are enough
 * @returns those that could be one: of the right length, and as many as are compared
 */
export function candidates(
  values: Iterable<string>,
  encoding: 'hex' | 'base64' = 'hex',
  hash: HashName = 'SHA-256',
): Bytes[] {
  const bytes = HASH_BYTES[hash];
  const characters = encoding === 'hex' ? 2 * bytes : 4 * Math.ceil(bytes / 3);
  const found: Bytes[] = [];
  for (const value of values) {
    const signature = value.length === characters ? (encoding === 'hex' ? fromHex : fromBase64)(value) : undefined;
    if (signature?.length === bytes) found.push(signature);
    if (found.length === MOST_SIGNATURES) break;
  }
  return found;
}

/** @returns the HMAC of a text and a body behind it. */
export async function sign(
  before: string,
  body: string | Uint8Array,
  secret: string | Bytes,
  hash: HashName = 'SHA-256',
): Promise<Bytes> {
  const bytes = typeof body === 'string' ? encode(body) : body;
  return await hmacOf(signedContent(before, bytes), typeof secret === 'string' ? encode(secret) : secret, hash);
}

/** @returns the seconds that a timestamp in a header says; undefined for anything but a plain number. */
export function secondsOf(timestamp: string | null | undefined): number | undefined {
  return /^\d{1,12}$/.test(timestamp ?? '') ? Number(timestamp) : undefined;
}

/** @returns the bytes of base64 text; undefined unless it is the one way to write them. */
function fromBase64(text: string): Bytes | undefined {
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

/** @returns the bytes of a hexadecimal number; undefined for mixed case as for anything else that no sender writes. */
function fromHex(text: string): Bytes | undefined {
  if (!/^(?:[0-9a-f]+|[0-9A-F]+)$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16));
}

/** @returns whether a signature was made about now. */
function isFresh(seconds: number, now: number): boolean {
  return Math.abs(now / 1_000 - seconds) <= TOLERANCE_SECONDS;
}

/** (An encoder's bytes are never shared, which not every type of it says.) */
function encode(text: string): Bytes {
  return encoder.encode(text) as Bytes;
}

/** Compares two hashes of one length in a time that does not tell where they differ. */
function isEqual(one: Bytes, other: Bytes): boolean {
  let difference = 0;
  for (const [at, byte] of one.entries()) difference |= byte ^ (other[at] ?? 0);
  return difference === 0 && one.length === other.length;
}

async function hmacOf(content: Bytes, secret: Bytes, hash: HashName): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, content));
}

function signedContent(before: string, bytes: Uint8Array): Bytes {
  // The longest bodies are signed alone: they are not copied.
  if (before === '') return bytes as Bytes;
  const start = encode(before);
  const whole = new Uint8Array(start.length + bytes.length);
  whole.set(start);
  whole.set(bytes, start.length);
  return whole;
}
