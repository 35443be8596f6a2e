import { fromHex, isFresh, isSigned, secondsOf, sign, toHex, type Verify } from './signature.ts';

/** `t=…,v1=…`: several `v1` while a secret is rolled; `v0` is made for tests and proves nothing. */
export const verifyStripe: Verify = async ({ headers, bytes, now }, secrets) => {
  const entries = (headers.get('stripe-signature') ?? '').split(',').map((entry) => entry.trim().split('='));
  const valuesOf = (name: string) => entries.filter(([key]) => key === name).map(([, value]) => value ?? '');
  const [timestamp, another] = valuesOf('t');
  const seconds = secondsOf(timestamp);
  const signatures = valuesOf('v1').flatMap((value) => fromHex(value) ?? []);
  if (seconds === undefined || another !== undefined || signatures.length === 0) return 'missing';
  if (!isFresh(seconds, now)) return 'stale';
  return (await isSigned([`${timestamp}.`, bytes], signatures, secrets)) ? 'valid' : 'forged';
};

/** @returns the header that Stripe sends with a body. */
export async function signStripe(bytes: Uint8Array, secret: string, now: number): Promise<Headers> {
  const timestamp = String(Math.floor(now / 1_000));
  return new Headers({
    'stripe-signature': `t=${timestamp},v1=${toHex(await sign([`${timestamp}.`, bytes], secret))}`,
  });
}
