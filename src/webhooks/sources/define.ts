import { type TaskAsked, taskAsked } from '../../classification/classify.schema.ts';
import type { Deliver } from '../../delivery/deliver.ts';
import { SCHEDULE, type Schedule } from '../../delivery/schedule.ts';
import type { SignatureScheme, Verify } from '../../delivery/signature.ts';
import { isAccount, sourceAccount } from '../../identity/identity.ts';

/** A request whose signature holds. */
export interface IncomingEvent<Body = Record<string, unknown>> {
  headers: Headers;
  /** As the sender documents it; nothing but that it is a JSON object has been checked. */
  body: Body;
}

/**
 * A source of webhooks, as it is defined. What labels is as in the body of `POST /classify`: a stored `classifier`, or
 * `labels` or a `schema` with `instructions`, `fields` and the rest.
 */
export interface WebhookDefinition<Body> extends TaskAsked {
  /** Its name: `POST /webhooks/<source>`, and the settings `<SOURCE>_WEBHOOK_SECRET`, `<SOURCE>_WEBHOOK_DELIVER_URL`. */
  source: string;
  /** How the sender signs; a function alone judges once the body has been read, and is taken to cover the body alone. */
  verify: SignatureScheme | Verify;
  /** The largest body, if it is not more than MAX_BODY_BYTES. Default 1 MB. */
  maxBodyBytes?: number;
  /** What the sender calls this event, however often it is sent; undefined takes the digest of the body. */
  id?: (event: IncomingEvent<Body>) => string | undefined;
  /**
   * `id`: two events with the same body are two, if their ids differ. Default: they are one where the signature covers
   * neither id nor time, since whoever has seen one request could send it again under any id.
   */
  dedupe?: 'id';
  /** What is to be labelled; undefined, or that it throws, ignores the event. */
  text: (event: IncomingEvent<Body>) => string | undefined;
  /** What the receiver of the result finds the text by: an address, an id. */
  subject?: (event: IncomingEvent<Body>) => string | undefined;
  /** What the sender's protocol wants to hear instead of anything else. */
  respond?: (event: IncomingEvent<Body>) => Response | undefined;
  /** Who pays. Default `webhook-<source>`. */
  account?: string;
  /** Where results go: a function, or a URL whose host is in `DELIVER_HOSTS`. Default: the setting. */
  deliver?: string | Deliver;
  /** Where it differs from `SCHEDULE`. */
  schedule?: Partial<Schedule>;
}

/** A source of webhooks as the edge uses it. */
export interface Webhook {
  source: string;
  signature: Pick<SignatureScheme, 'verify'> & Partial<SignatureScheme>;
  maxBodyBytes: number;
  /** Whether two events with the same body are one. */
  sameBodySameEvent: boolean;
  id: (event: IncomingEvent) => string | undefined;
  text: (event: IncomingEvent) => string | undefined;
  subject: (event: IncomingEvent) => string | undefined;
  respond: (event: IncomingEvent) => Response | undefined;
  account: string;
  deliver: string | Deliver | undefined;
  schedule: Schedule;
  /** What labels. */
  asked: TaskAsked;
}

/** More than any sender but GitHub sends; what comes without a signature that holds is read up to it. */
const MOST_BODY_BYTES = 1024 * 1024;

/** Also the first part of an event's id, whose second begins behind an underscore. */
const SOURCE = /^[a-z][a-z0-9-]{0,39}$/;

/**
 * Defines a source of webhooks for `createApp({ webhooks: […] })` and `createConsumer({ webhooks: […] })`.
 *
 * @example
 * defineWebhook<{ ticket: { id: string; text: string } }>({
 *   source: 'tickets',
 *   verify: hmac({ header: 'x-tickets-signature' }),
 *   id: ({ body }) => body.ticket.id,
 *   text: ({ body }) => body.ticket.text,
 *   labels: ['billing', 'technical', 'other'],
 * })
 * @throws TypeError for a definition that could not work
 */
export function defineWebhook<Body = Record<string, unknown>>(definition: WebhookDefinition<Body>): Webhook {
  const { source, verify, maxBodyBytes = MOST_BODY_BYTES, dedupe, ...read } = definition;
  const { id, text, subject, respond, account, deliver, schedule, ...asked } = read;
  if (!SOURCE.test(source)) {
    throw new TypeError(`A source is named by lower-case letters, digits and hyphens: ${source} is not.`);
  }
  const given = [asked.classifier, asked.labels, asked.schema].filter((part) => part !== undefined);
  if (given.length !== 1) {
    throw new TypeError(`The webhook ${source} needs a classifier, labels or a schema: one of them.`);
  }
  const task = taskAsked.safeParse(asked);
  if (!task.success) throw new TypeError(`The webhook ${source} cannot label: ${task.error.issues[0]?.message}`);
  if (!Number.isSafeInteger(maxBodyBytes) || maxBodyBytes < 1) {
    throw new TypeError(`The webhook ${source} has a maxBodyBytes that is no number of bytes.`);
  }
  const signature: Webhook['signature'] = typeof verify === 'function' ? { verify } : verify;
  const payer = account ?? sourceAccount(source);
  if (!isAccount(payer)) throw new TypeError(`The webhook ${source} has an account that is no name.`);
  const none = () => undefined;
  return {
    source,
    signature,
    maxBodyBytes,
    sameBodySameEvent: dedupe !== 'id' && signature.covers === undefined,
    id: taking(id ?? none),
    text: taking(text),
    subject: taking(subject ?? none),
    respond: taking(respond ?? none),
    account: payer,
    deliver,
    schedule: { ...SCHEDULE, ...schedule },
    asked: task.data,
  };
}

/** What a sender's body looks like is the definition's to say; that it is an object has been seen. */
function taking<Body, Result>(read: (event: IncomingEvent<Body>) => Result): (event: IncomingEvent) => Result {
  return (event: IncomingEvent<unknown>) => read(event as IncomingEvent<Body>);
}

/**
 * @returns the sources by their names
 * @throws TypeError if two have the same
 */
export function bySource(webhooks: readonly Webhook[]): ReadonlyMap<string, Webhook> {
  const found = new Map(webhooks.map((webhook) => [webhook.source, webhook]));
  if (found.size < webhooks.length) throw new TypeError('Two webhooks have the same source.');
  return found;
}
