/** Verifies that a person, and no program, has opened a page: an answer of Cloudflare Turnstile. */

import type { Settings } from '../../config/settings.ts';
import {
  type ApiError,
  createInvalidRequestError,
  createMisconfiguredError,
  createNonRetryableError,
  createRetryableError,
} from '../../kit/http/errors.ts';
import { isObject } from '../../kit/json/object.ts';
import { isTurnstileTestSecret } from './visitor-settings.ts';

/** The `action` that the visitors' widgets must have. */
const ACTION = 'sluice';
const VERIFY_URL = 'https://challenges.cloudflare.com/turnstile/v0/siteverify';
const VERIFY_MS = 5_000;
const VERIFY_AGAIN_S = 5;

/** Turnstile's verdict on a widget's response. Every field may be missing. */
interface TurnstileResponse {
  success?: unknown;
  hostname?: unknown;
  action?: unknown;
  challenge_ts?: unknown;
  'error-codes'?: unknown;
}

/**
 * Verifies a response of Turnstile's widget.
 *
 * @param response the token that the widget has given to the page
 * @param id a UUID that is the same for the same token, so that the verification can be repeated if its result was lost
 * @returns when the widget was solved; milliseconds since 1970
 * @throws ApiError 400 for a token that is not valid, has expired, or belongs to another page; 503 if Turnstile cannot be
 *   reached; 500 for a secret that Turnstile rejects
 */
export async function verifyTurnstileToken(
  { response, id, address }: { response: string; id: string; address: string | null },
  { TURNSTILE_SECRET: secret = '', VISITORS, development }: Settings,
): Promise<number> {
  const verdict = await postToTurnstile({
    secret,
    response,
    idempotency_key: id,
    remoteip: address ?? undefined,
  });
  if (verdict.success !== true) throw createTurnstileRejectionError(verdict);
  const solvedAt = Date.parse(String(verdict.challenge_ts));
  // Skip these checks for a test secret: its responses contain neither the real hostname nor the action.
  // https://developers.cloudflare.com/turnstile/reference/testing/
  if (!development || !isTurnstileTestSecret(secret)) {
    const hosts = (VISITORS?.only.origins ?? []).map((origin) => new URL(origin).hostname);
    if (!hosts.includes(String(verdict.hostname)) || verdict.action !== ACTION) {
      throw createInvalidRequestError(
        `turnstile: this response belongs to another page or another action. The widget needs the action \`${ACTION}\`, on a page of ${hosts.join(', ')}.`,
      );
    }
  }
  return Number.isFinite(solvedAt) ? solvedAt : Date.now();
}

async function postToTurnstile(body: Record<string, string | undefined>): Promise<TurnstileResponse> {
  try {
    const signal = AbortSignal.timeout(VERIFY_MS);
    const headers = { 'content-type': 'application/json' };
    // Do not follow redirects, because they would send the secret to another host.
    const answer = await fetch(VERIFY_URL, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      redirect: 'manual',
      signal,
    });
    // Read the body of a 4xx, too: Turnstile returns the error codes of an invalid request there.
    const verdict: unknown = answer.status < 500 ? await answer.json() : undefined;
    if (!isObject(verdict)) throw new TypeError(`It answered ${answer.status}.`);
    return verdict;
  } catch (cause) {
    throw createTurnstileUnreachableError(cause);
  }
}

function createTurnstileUnreachableError(cause: unknown): ApiError {
  const message = 'Turnstile could not be reached to verify the response. Send the same response again in a moment.';
  return createRetryableError(message, 'turnstile_unreachable', { seconds: VERIFY_AGAIN_S, cause });
}

function createTurnstileRejectionError({ 'error-codes': codes = [] }: TurnstileResponse): ApiError {
  const reasons = Array.isArray(codes) ? codes.map(String) : [];
  if (reasons.includes('internal-error')) return createTurnstileUnreachableError(reasons.join(', '));
  if (reasons.some((code) => code.endsWith('-input-secret'))) {
    return createMisconfiguredError(
      'Turnstile rejects TURNSTILE_SECRET. The operator must set the secret of the widget on the visitors’ pages.',
    );
  }
  return createNonRetryableError(
    'invalid_request_error',
    'turnstile: this response is invalid, has expired or was already used. Reset the widget, and send its next response.',
  );
}
