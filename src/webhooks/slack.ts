import { candidates, schemeOf, secondsOf, sign, toHex } from './signature.ts';

/** `v0=…` over the version, the timestamp and the body. */
export const verifySlack = schemeOf(
  (headers) => {
    const timestamp = headers.get('x-slack-request-timestamp');
    const seconds = secondsOf(timestamp);
    const value = headers.get('x-slack-signature');
    if (seconds === undefined || !value?.startsWith('v0=')) return undefined;
    return { signatures: candidates([value.slice(3)]), before: `v0:${timestamp}:`, seconds };
  },
  { covers: 'time' },
);

/** @returns the headers that Slack sends with a body. */
export async function signSlack(bytes: Uint8Array, secret: string, now: number): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = await sign(`v0:${timestamp}:`, bytes, secret);
  return new Headers({ 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${toHex(signature)}` });
}
