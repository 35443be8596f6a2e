import { candidates, schemeOf, secondsOf } from '../../delivery/signature.ts';

/** Verifies Slack's signatures: `v0=…` over the version, the timestamp and the body. */
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
