import { fromHex, isFresh, isSigned, secondsOf, sign, toHex, type Verify } from './signature.ts';

/** `v0=…` over the version, the timestamp and the body. */
export const verifySlack: Verify = async ({ headers, bytes, now }, secrets) => {
  const timestamp = headers.get('x-slack-request-timestamp');
  const seconds = secondsOf(timestamp);
  const value = headers.get('x-slack-signature');
  const signature = value?.startsWith('v0=') ? fromHex(value.slice(3)) : undefined;
  if (seconds === undefined || !signature) return 'missing';
  if (!isFresh(seconds, now)) return 'stale';
  return (await isSigned([`v0:${timestamp}:`, bytes], [signature], secrets)) ? 'valid' : 'forged';
};

/** @returns the headers that Slack sends with a body. */
export async function signSlack(bytes: Uint8Array, secret: string, now: number): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = await sign([`v0:${timestamp}:`, bytes], secret);
  return new Headers({ 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${toHex(signature)}` });
}
