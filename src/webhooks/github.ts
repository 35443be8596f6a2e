import { hmac } from './hmac.ts';
import { sign, toHex } from './signature.ts';

/** GitHub signs the body alone: neither the delivery's id nor a time. */
export const verifyGithub = hmac({ header: 'x-hub-signature-256', prefix: 'sha256=' });

/** @returns the headers that GitHub sends with a body. */
export async function signGithub(
  body: string | Uint8Array,
  secret: string,
  event: string,
  delivery: string,
): Promise<Headers> {
  return new Headers({
    'x-github-event': event,
    'x-github-delivery': delivery,
    'x-hub-signature-256': `sha256=${toHex(await sign('', body, secret))}`,
  });
}
