import { decodeBase64, toBase64 } from '../http/bytes.ts';
import { createMisconfiguredError } from '../http/errors.ts';
import { computeSignature, createSignatureScheme, decodeSignatures, parseTimestampSeconds } from './signature.ts';

/** The headers that the specification names. The timestamp is in seconds since 1970. */
const STANDARD_HEADERS = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];

const SECRET_PREFIX = 'whsec_';

/** @returns id, timestamp and signature. Svix, from which the specification comes, still sends them by its own names. */
export function readStandardWebhookHeaders(headers: Headers): (string | null)[] {
  const isSvix = !STANDARD_HEADERS.some((name) => headers.has(name));
  return STANDARD_HEADERS.map((name) => headers.get(isSvix ? name.replace('webhook', 'svix') : name));
}

/** Verifies the signatures of https://www.standardwebhooks.com: `v1,…` over id, timestamp and body. */
export const verifyStandard = createSignatureScheme(
  (headers) => {
    const [id, timestamp, signature] = readStandardWebhookHeaders(headers);
    const seconds = parseTimestampSeconds(timestamp);
    if (!id || seconds === undefined || !signature) return undefined;
    const values = signature.split(' ').filter((value) => value.startsWith('v1,'));
    const signatures = values.map((value) => value.slice(3));
    return { signatures: decodeSignatures(signatures, 'base64'), signedPrefix: `${id}.${timestamp}.`, seconds };
  },
  {
    covers: 'id',
    form: 'webhook-signature: v1,…, with webhook-id and webhook-timestamp',
    keyOf: parseStandardWebhookKey,
  },
);

/**
 * Signs a body that is sent out. Any library of the specification can verify it.
 *
 * @param now milliseconds since 1970
 * @returns the three headers of the specification
 * @throws ApiError 500 for a secret that is not base64
 */
export async function createStandardWebhookHeaders(
  body: string | Uint8Array,
  secret: string,
  id: string,
  now: number,
): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = `v1,${toBase64(await computeSignature(`${id}.${timestamp}.`, body, parseStandardWebhookKey(secret)))}`;
  return new Headers({ 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature });
}

/** @throws ApiError 500 for a secret that is not base64 */
function parseStandardWebhookKey(secret: string): Uint8Array<ArrayBuffer> {
  try {
    return decodeBase64(secret.startsWith(SECRET_PREFIX) ? secret.slice(SECRET_PREFIX.length) : secret);
  } catch {
    throw createMisconfiguredError(
      'The signing secret of a webhook or of DELIVERY_SIGNING_SECRET is not valid base64. Set one like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.',
    );
  }
}
