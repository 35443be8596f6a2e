/** Receives a webhook: nothing in it is trusted before its signature is verified. */

import { runInSteps } from '../../kit/async/run-in-steps.ts';
import type { SignatureVerificationResult } from '../../kit/delivery/signature.ts';
import { BodyMemoryShare, bodyMemory } from '../../kit/http/body-memory.ts';
import { encodeUtf8, sha256Hex } from '../../kit/http/bytes.ts';
import { type ApiError, createNonRetryableError } from '../../kit/http/errors.ts';
import { parseJsonInSteps, readBodyBytes, requireJsonContentType } from '../../kit/http/read-json.ts';
import type { NewEvent } from './contracts/inbox.ts';
import type { VerifiedWebhookRequest, Webhook } from './sources/define-webhook.ts';

/**
 * The result of reading a request. `unreadable` is the name of the error that the definition threw, if it could not read it.
 */
export type WebhookReceiveResult =
  | { kind: 'event'; event: NewEvent }
  | { kind: 'answer'; response: Response }
  | { kind: 'ignored'; unreadable?: string };

/** The longest subject that is kept, in characters. */
const MOST_SUBJECT = 512;
/** Milliseconds for which a body may take up memory before its signature is verified. */
const MOST_MS = 30_000;
/** Matches an id that can be used in a path and in a header without encoding. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * Reads a webhook. It checks in this order: content type, headers of the signature, size, signature, JSON.
 *
 * @param secrets the secrets of the source
 * @throws ApiError 415 for another content type than JSON, 401 for a signature that is absent, stale or wrong, 413 above
 * the limit, 400 for a signed body that is not a JSON object, 503 if there is no memory for a large body
 */
export async function verifyAndReadWebhook(
  request: Request,
  webhook: Webhook,
  secrets: readonly string[],
  { limitBytes, now }: { limitBytes: number; now: number },
): Promise<WebhookReceiveResult> {
  requireJsonContentType(request);
  const { headers } = request;
  const { signature, maxBodyBytes } = webhook;
  const lacking = signature.precheckHeaders?.(headers, now);
  if (lacking) throw createSignatureError(lacking, signature.form);
  const limit = Math.min(limitBytes, maxBodyBytes);
  const share = new BodyMemoryShare(bodyMemory, true);
  try {
    const bytes = await readBodyBytes(request, limit, (length) => share.reserveBytes(length), {
      isDoubted: true,
      mostMs: MOST_MS,
      onIncomingBody: (body) => share.setIncomingBody(body),
    });
    const verdict = await signature.verify({ headers, bytes, now }, secrets);
    if (verdict !== 'valid') throw createSignatureError(verdict, signature.form);
    const { json } = await runInSteps(parseJsonInSteps(bytes));
    const digest = `sha256:${await sha256Hex(bytes)}`;
    try {
      return await extractEvent(webhook, { headers, body: json }, digest);
    } catch (thrown) {
      // Ignore an event that the source's definition cannot read: its payload may have a form that the definition does not
      // expect.
      return { kind: 'ignored', unreadable: thrown instanceof Error ? thrown.name : 'unknown' };
    }
  } finally {
    share.releaseMemory();
  }
}

async function extractEvent(
  webhook: Webhook,
  event: VerifiedWebhookRequest,
  digest: string,
): Promise<WebhookReceiveResult> {
  const response = webhook.respond(event);
  if (response) return { kind: 'answer', response };
  const text = webhook.text(event);
  if (typeof text !== 'string' || text.trim() === '') return { kind: 'ignored' };
  const { source, account, sameBodySameEvent } = webhook;
  const subject = webhook.subject(event)?.slice(0, MOST_SUBJECT) ?? null;
  return {
    kind: 'event',
    event: {
      id: await createEventId(source, webhook.id(event) ?? digest),
      account,
      text,
      subject,
      digest,
      sameBodySameEvent,
    },
  };
}

/**
 * Makes the id of an event, for this edge and for the receiver of its result: the source's name, then the sender's id,
 * so that two sources never share one. A sender's id that is not plain, or looks like a hash, is replaced by its hash.
 */
async function createEventId(source: string, id: string): Promise<string> {
  const plain = PLAIN_ID.test(id) && !id.startsWith('sha256');
  return plain ? `${source}_${id}` : `${source}_sha256-${await sha256Hex(encodeUtf8(id))}`;
}

/** @returns the name of the source at the beginning of an event's id; empty if there is none */
export function parseSourceOfEventId(eventId: string): string {
  return eventId.slice(0, Math.max(0, eventId.indexOf('_')));
}

/** Why a request is rejected that has a signature. */
const REFUSALS = {
  forged:
    'The signature is invalid, because the secret differs or the body was changed. Set the same secret at the sender and in this deployment.',
  stale: 'The signature’s time is too old or in the future. Check the sender’s clock, and send the event again.',
};

function createSignatureError(verdict: Exclude<SignatureVerificationResult, 'valid'>, form?: string): ApiError {
  const logged = `webhook_signature_${verdict}`;
  const message =
    verdict === 'missing'
      ? `This request has no signature of this source${form === undefined ? '' : ` in the form \`${form}\``}. Check the webhook’s settings at the sender.`
      : REFUSALS[verdict];
  return createNonRetryableError('authentication_error', message, { logged });
}
