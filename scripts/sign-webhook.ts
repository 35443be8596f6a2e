/** Signs events as their senders do, for trying webhooks and for tests. */
import type { HmacOptions } from '../src/edge/kit/delivery/hmac.ts';
import { computeSignature } from '../src/edge/kit/delivery/signature.ts';
import { toBase64, toHex } from '../src/edge/kit/http/bytes.ts';

/** @returns the headers that GitHub sends with a body */
export async function signGithub(
  body: string | Uint8Array,
  secret: string,
  event: string,
  delivery: string,
): Promise<Headers> {
  return new Headers({
    'x-github-event': event,
    'x-github-delivery': delivery,
    'x-hub-signature-256': `sha256=${toHex(await computeSignature('', body, secret))}`,
  });
}

/** @returns the header that Stripe sends with a body */
export async function signStripe(bytes: Uint8Array, secret: string, now: number): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  return new Headers({
    'stripe-signature': `t=${timestamp},v1=${toHex(await computeSignature(`${timestamp}.`, bytes, secret))}`,
  });
}

/** @returns the headers that Slack sends with a body */
export async function signSlack(bytes: Uint8Array, secret: string, now: number): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = await computeSignature(`v0:${timestamp}:`, bytes, secret);
  return new Headers({ 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${toHex(signature)}` });
}

/** @returns the header with the signature of a body, as such a sender sends it. */
export async function signHmac(bytes: Uint8Array, secret: string, options: HmacOptions): Promise<Headers> {
  const { header, algorithm, encoding = 'hex', prefix = '' } = options;
  const signature = await computeSignature('', bytes, secret, algorithm);
  return new Headers({ [header]: prefix + (encoding === 'hex' ? toHex : toBase64)(signature) });
}
