/** The common part of all signature schemes: an HMAC of the raw bytes, compared in constant time. */

import { type Bytes, computeHmac, decodeBase64, encodeUtf8, toBase64 } from '../http/bytes.ts';

/** A request whose signature is not yet verified. */
interface UnverifiedRequest {
  headers: Headers;
  /** The body as it came. */
  bytes: Uint8Array;
  /** Milliseconds since 1970. */
  now: number;
}

/** What is wrong with the headers. `missing`: no signature of the expected form; `stale`: signed too long ago, or in the future. */
type SignatureHeaderFault = 'missing' | 'stale';

/** The result of verifying a signature. `forged`: no signature is right. */
export type SignatureVerificationResult = 'valid' | 'forged' | SignatureHeaderFault;

/** Verifies a request with each secret of its source. There are several while a secret is rotated. */
export type VerifySignature = (
  request: UnverifiedRequest,
  secrets: readonly string[],
) => Promise<SignatureVerificationResult>;

/** How a sender signs. */
export interface SignatureScheme {
  /**
   * Checks the headers before the body is read, so that a request without a signature costs nothing.
   *
   * @param now milliseconds since 1970
   * @returns what is wrong with them; undefined if the body is needed to decide
   */
  precheckHeaders(headers: Headers, now: number): SignatureHeaderFault | undefined;
  verify: VerifySignature;
  /** The headers of the signature and their form, for the error that a request without them receives. */
  form?: string;
  /** What the signature covers beside the body. If nothing, anyone who has seen one request can send copies of it. */
  covers?: 'id' | 'time';
}

/** What the headers of a signed request say. */
export interface ParsedSignatureHeaders {
  /** The signatures of the right length, at most `MAX_SIGNATURES`. */
  signatures: readonly Bytes[];
  /** The text that was signed before the body. */
  signedPrefix: string;
  /** When it was signed, in seconds since 1970, if the scheme says so. */
  seconds?: number;
}

export type HashAlgorithmName = 'SHA-1' | 'SHA-256' | 'SHA-384' | 'SHA-512';

/** How far the time of a signature may be from now. Stripe, Slack and Standard Webhooks all advise this value. */
const TOLERANCE_SECONDS = 300;

/** How many signatures of one request are compared. A sender adds one for each of its secrets. */
const MAX_SIGNATURES = 10;

const HASH_BYTES: Record<HashAlgorithmName, number> = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 };

/**
 * Makes a scheme from a function that reads its headers.
 *
 * @param readClaim reads the headers; it returns undefined if they have no signature of the expected form
 */
export function createSignatureScheme(
  readClaim: (headers: Headers) => ParsedSignatureHeaders | undefined,
  {
    hash = 'SHA-256',
    ...scheme
  }: { hash?: HashAlgorithmName; keyOf?: (secret: string) => Bytes } & Pick<SignatureScheme, 'covers' | 'form'>,
): SignatureScheme {
  const { keyOf = encodeUtf8, ...rest } = scheme;
  const checkSignatureHeaders = (headers: Headers, now: number): SignatureHeaderFault | ParsedSignatureHeaders => {
    const claim = readClaim(headers);
    if (!claim || claim.signatures.length === 0) return 'missing';
    return claim.seconds === undefined || isFreshTimestamp(claim.seconds, now) ? claim : 'stale';
  };
  return {
    ...rest,
    precheckHeaders: (headers, now) => {
      const judged = checkSignatureHeaders(headers, now);
      return typeof judged === 'string' ? judged : undefined;
    },
    verify: async ({ headers, bytes, now }, secrets) => {
      const judged = checkSignatureHeaders(headers, now);
      if (typeof judged === 'string') return judged;
      const content = joinSignedContent(judged.signedPrefix, bytes);
      for (const secret of secrets) {
        // Compute one HMAC per secret, however many signatures a request has: the HMAC of a long body is expensive.
        const own = await computeHmac(content, keyOf(secret), hash);
        if (judged.signatures.some((signature) => areHashesEqual(signature, own))) return 'valid';
      }
      return 'forged';
    },
  };
}

/**
 * Decodes the signatures of a header.
 *
 * @param values the signatures as text; they are read one by one, and only until there are enough
 * @returns the bytes of those that have the right length, at most `MAX_SIGNATURES`
 */
export function decodeSignatures(
  values: Iterable<string>,
  encoding: 'hex' | 'base64' = 'hex',
  hash: HashAlgorithmName = 'SHA-256',
): Bytes[] {
  const bytes = HASH_BYTES[hash];
  const characters = encoding === 'hex' ? 2 * bytes : 4 * Math.ceil(bytes / 3);
  const found: Bytes[] = [];
  for (const value of values) {
    const signature =
      value.length === characters ? (encoding === 'hex' ? parseHex : parseCanonicalBase64)(value) : undefined;
    if (signature?.length === bytes) found.push(signature);
    if (found.length === MAX_SIGNATURES) break;
  }
  return found;
}

/** @returns the HMAC of a text followed by a body */
export async function computeSignature(
  before: string,
  body: string | Uint8Array,
  secret: string | Bytes,
  hash: HashAlgorithmName = 'SHA-256',
): Promise<Bytes> {
  const bytes = typeof body === 'string' ? encodeUtf8(body) : body;
  return await computeHmac(
    joinSignedContent(before, bytes),
    typeof secret === 'string' ? encodeUtf8(secret) : secret,
    hash,
  );
}

/** @returns the seconds of a timestamp in a header; undefined if it is not a plain number */
export function parseTimestampSeconds(timestamp: string | null | undefined): number | undefined {
  return /^\d{1,12}$/.test(timestamp ?? '') ? Number(timestamp) : undefined;
}

/** @returns the bytes of base64 text; undefined if it is not base64, or not its canonical form */
function parseCanonicalBase64(text: string): Bytes | undefined {
  try {
    const bytes = decodeBase64(text);
    return toBase64(bytes) === text ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** @returns the bytes of hexadecimal text; undefined for any other text, and for mixed case, which no sender writes */
function parseHex(text: string): Bytes | undefined {
  if (!/^(?:[0-9a-f]+|[0-9A-F]+)$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16));
}

/** @returns whether a signature was made within the tolerance from now */
function isFreshTimestamp(seconds: number, now: number): boolean {
  return Math.abs(now / 1_000 - seconds) <= TOLERANCE_SECONDS;
}

/** Compares two hashes of equal length in constant time, so that the time does not show where they differ. */
function areHashesEqual(one: Bytes, other: Bytes): boolean {
  let difference = 0;
  for (const [at, byte] of one.entries()) difference |= byte ^ (other[at] ?? 0);
  return difference === 0 && one.length === other.length;
}

function joinSignedContent(before: string, bytes: Uint8Array): Bytes {
  // If nothing is signed before the body, use the body itself. GitHub signs like this and sends the longest bodies, so the copy
  // is avoided for them.
  if (before === '') return bytes as Bytes;
  const start = encodeUtf8(before);
  const content = new Uint8Array(start.length + bytes.length);
  content.set(start);
  content.set(bytes, start.length);
  return content;
}
