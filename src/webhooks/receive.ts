/** A webhook as it comes in: believed only once its signature holds. */

import type { Verdict } from '../delivery/signature.ts';
import type { NewEvent } from '../durable/contracts/inbox.ts';
import { Place, room } from '../http/body-room.ts';
import { sha256Hex, utf8 } from '../http/bytes.ts';
import { ApiError, DO_NOT_RETRY, type ErrorOptions } from '../http/errors.ts';
import { parseJson, readBytes, requireJson } from '../http/read-json.ts';
import type { IncomingEvent, Webhook } from './sources/define.ts';

/** What a request comes to. `unreadable` says why an event was ignored that the definition could not read. */
export type Received =
  | { kind: 'event'; event: NewEvent }
  | { kind: 'answer'; response: Response }
  | { kind: 'ignored'; unreadable?: string };

/** The longest that is kept of what a sender says of itself. */
const MOST_SUBJECT = 512;
/** How long a stranger may take up room with one body. */
const MOST_MS = 30_000;
/** An id that can stand in a path and in a header as it is. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * Reads a webhook: type, what the headers tell of its signature, size, signature, form, in this order.
 *
 * @param secrets those of the source
 * @throws ApiError 415 for another content type than JSON, 401 for a signature that is absent, stale or does not hold, 413
 * above the limit, 400 for a body that is signed and no JSON object, 503 where there is no room for a large one
 */
export async function receive(
  request: Request,
  webhook: Webhook,
  secrets: readonly string[],
  { limitBytes, now }: { limitBytes: number; now: number },
): Promise<Received> {
  requireJson(request);
  const { headers } = request;
  const { signature, maxBodyBytes } = webhook;
  const lacking = signature.precheck?.(headers, now);
  if (lacking) throw refusedError(lacking);
  const limit = Math.min(limitBytes, maxBodyBytes);
  const place = new Place(room, true);
  try {
    const bytes = await readBytes(request, limit, (length) => place.grow(length), { isDoubted: true, mostMs: MOST_MS });
    const verdict = await signature.verify({ headers, bytes, now }, secrets);
    if (verdict !== 'valid') throw refusedError(verdict);
    const { json } = parseJson(bytes);
    const digest = `sha256:${await sha256Hex(bytes)}`;
    try {
      return await read(webhook, { headers, body: json }, digest);
    } catch (thrown) {
      // A definition that trips over a payload it does not know has no text for it.
      return { kind: 'ignored', unreadable: thrown instanceof Error ? thrown.name : 'unknown' };
    }
  } finally {
    place.leave();
  }
}

async function read(webhook: Webhook, event: IncomingEvent, digest: string): Promise<Received> {
  const response = webhook.respond(event);
  if (response) return { kind: 'answer', response };
  const text = webhook.text(event);
  if (typeof text !== 'string' || text.trim() === '') return { kind: 'ignored' };
  const { source, account, sameBodySameEvent } = webhook;
  const subject = webhook.subject(event)?.slice(0, MOST_SUBJECT) ?? null;
  return {
    kind: 'event',
    event: {
      id: await eventId(source, webhook.id(event) ?? digest),
      account,
      text,
      subject,
      digest,
      sameBodySameEvent,
    },
  };
}

/**
 * The id of an event here and at whoever gets its result: the sender's behind the source's name, so that no two sources
 * share one. What is no plain id, or looks as if it were made of one that is not, is known by its hash.
 */
async function eventId(source: string, id: string): Promise<string> {
  const plain = PLAIN_ID.test(id) && !id.startsWith('sha256');
  return plain ? `${source}_${id}` : `${source}_sha256-${await sha256Hex(utf8(id))}`;
}

/** @returns the source that an event's id begins with. */
export function sourceOf(eventId: string): string {
  return eventId.slice(0, Math.max(0, eventId.indexOf('_')));
}

function refusedError(verdict: Exclude<Verdict, 'valid'>): ApiError {
  const options: ErrorOptions = { headers: DO_NOT_RETRY, logged: `webhook_signature_${verdict}` };
  switch (verdict) {
    case 'missing':
      return new ApiError('authentication_error', 'This request has no signature that its source would send.', options);
    case 'forged':
      return new ApiError(
        'authentication_error',
        'The signature does not hold: the secret is another one, or the body was changed on its way.',
        options,
      );
    case 'stale':
      return new ApiError('authentication_error', 'The signature is too old, or of the future. Send it anew.', options);
  }
}
