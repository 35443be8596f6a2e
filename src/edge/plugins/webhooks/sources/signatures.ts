/** Verifies signatures in the forms of the senders for which Sluice comes with a source. */
import { hmac } from '../../../kit/delivery/hmac.ts';
import { createSignatureScheme, decodeSignatures, parseTimestampSeconds } from '../../../kit/delivery/signature.ts';

/** Verifies GitHub's signatures, which cover only the body: neither the delivery's id nor a time. */
export const verifyGithub = hmac({ header: 'x-hub-signature-256', prefix: 'sha256=' });

/** Verifies Slack's signatures: `v0=…` over the version, the timestamp and the body. */
export const verifySlack = createSignatureScheme(
  (headers) => {
    const timestamp = headers.get('x-slack-request-timestamp');
    const seconds = parseTimestampSeconds(timestamp);
    const value = headers.get('x-slack-signature');
    if (seconds === undefined || !value?.startsWith('v0=')) return undefined;
    return { signatures: decodeSignatures([value.slice(3)]), signedPrefix: `v0:${timestamp}:`, seconds };
  },
  { covers: 'time', form: 'x-slack-signature: v0=…, with x-slack-request-timestamp' },
);

/** Verifies Stripe's signatures: `t=…,v1=…`, several `v1` while a secret is rotated. `v0` is for tests and proves nothing. */
export const verifyStripe = createSignatureScheme(
  (headers) => {
    const entries = (headers.get('stripe-signature') ?? '').split(',').map((entry) => entry.trim());
    const listSignatureValues = (name: string) =>
      entries.filter((entry) => entry.startsWith(`${name}=`)).map((entry) => entry.slice(name.length + 1));
    const [timestamp, another] = listSignatureValues('t');
    const seconds = parseTimestampSeconds(timestamp);
    if (seconds === undefined || another !== undefined) return undefined;
    return { signatures: decodeSignatures(listSignatureValues('v1')), signedPrefix: `${timestamp}.`, seconds };
  },
  { covers: 'time', form: 'stripe-signature: t=…,v1=…' },
);
