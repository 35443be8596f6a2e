import { candidates, schemeOf, secondsOf } from '../../delivery/signature.ts';

/** Verifies Stripe's signatures: `t=…,v1=…`, several `v1` while a secret is rotated. `v0` is for tests and proves nothing. */
export const verifyStripe = schemeOf(
  (headers) => {
    const entries = (headers.get('stripe-signature') ?? '').split(',').map((entry) => entry.trim());
    const valuesOf = (name: string) =>
      entries.filter((entry) => entry.startsWith(`${name}=`)).map((entry) => entry.slice(name.length + 1));
    const [timestamp, another] = valuesOf('t');
    const seconds = secondsOf(timestamp);
    if (seconds === undefined || another !== undefined) return undefined;
    return { signatures: candidates(valuesOf('v1')), before: `${timestamp}.`, seconds };
  },
  { covers: 'time' },
);
