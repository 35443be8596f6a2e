import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import { misconfigured } from '../errors.ts';
import { exactText, isFresh, secondsOf, type Verify } from './signature.ts';

/** The headers of the specification; the timestamp is seconds since 1970. */
const ID = 'webhook-id';
const TIMESTAMP = 'webhook-timestamp';
const SIGNATURE = 'webhook-signature';

/** Senders that follow https://www.standardwebhooks.com. */
export const verifyStandard: Verify = async ({ headers, bytes, now }, secrets) => {
  const [id, timestamp, given] = [headers.get(ID), headers.get(TIMESTAMP), headers.get(SIGNATURE)];
  const seconds = secondsOf(timestamp);
  if (!id || timestamp === null || seconds === undefined || !given) return 'missing';
  if (!isFresh(seconds, now)) return 'stale';
  const text = exactText(bytes);
  if (text === undefined) return 'forged';
  const signed = { [ID]: id, [TIMESTAMP]: timestamp, [SIGNATURE]: given };
  return secrets.some((secret) => holds(webhookOf(secret), text, signed)) ? 'valid' : 'forged';
};

function holds(webhook: Webhook, text: string, headers: Record<string, string>): boolean {
  try {
    webhook.verify(text, headers, { jsonParse: false });
    return true;
  } catch (thrown) {
    if (thrown instanceof WebhookVerificationError) return false;
    throw thrown;
  }
}

/**
 * Signs what is sent out, so that any library of the specification verifies it.
 *
 * @param now milliseconds since 1970
 */
export function signStandard(body: string, secret: string, id: string, now: number): Headers {
  const seconds = Math.floor(now / 1_000);
  return new Headers({
    [ID]: id,
    [TIMESTAMP]: String(seconds),
    [SIGNATURE]: webhookOf(secret).sign(id, new Date(seconds * 1_000), body),
  });
}

function webhookOf(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch {
    throw misconfigured(
      'A secret of Standard Webhooks is not base64. It looks like whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La.',
    );
  }
}
