import { misconfigured } from '../http/errors.ts';
import { candidates, schemeOf, secondsOf, sign, toBase64 } from './signature.ts';

/** The headers of the specification; the timestamp is seconds since 1970. */
const ID = 'webhook-id';
const TIMESTAMP = 'webhook-timestamp';
const SIGNATURE = 'webhook-signature';

const PREFIX = 'whsec_';

/** Senders that follow https://www.standardwebhooks.com: `v1,…` over id, timestamp and body. */
export const verifyStandard = schemeOf(
  (headers) => {
    const [id, timestamp, given] = [headers.get(ID), headers.get(TIMESTAMP), headers.get(SIGNATURE)];
    const seconds = secondsOf(timestamp);
    if (!id || seconds === undefined || !given) return undefined;
    const values = given.split(' ').filter((value) => value.startsWith('v1,'));
    const signatures = candidates(
      values.map((value) => value.slice(3)),
      'base64',
    );
    return { signatures, before: `${id}.${timestamp}.`, seconds };
  },
  { covers: 'id', keyOf },
);

/**
 * Signs what is sent out, so that any library of the specification verifies it.
 *
 * @param now milliseconds since 1970
 */
export async function signStandard(
  body: string | Uint8Array,
  secret: string,
  id: string,
  now: number,
): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = await sign(`${id}.${timestamp}.`, body, keyOf(secret));
  return new Headers({ [ID]: id, [TIMESTAMP]: timestamp, [SIGNATURE]: `v1,${toBase64(signature)}` });
}

/** @throws ApiError 500 for a secret that is none */
function keyOf(secret: string): Uint8Array<ArrayBuffer> {
  try {
    const binary = atob(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch {
    throw misconfigured(
      'A secret of Standard Webhooks is not base64. It looks like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw.',
    );
  }
}
