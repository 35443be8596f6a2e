import type { Bindings } from '../env.ts';
import { isAccount } from '../schemas/identity.ts';
import type { Delivered } from '../schemas/webhooks.ts';
import { SCHEDULE, type Schedule } from './schedule.ts';
import type { Verify } from './signature.ts';

/** A request whose signature holds. */
export interface IncomingEvent<Body = Record<string, unknown>> {
  headers: Headers;
  /** As the sender documents it; nothing but that it is a JSON object has been checked. */
  body: Body;
}

/** Takes a result in code. What it throws is a delivery that failed, and is tried again. */
export type Deliver = (
  result: Delivered,
  context: {
    /** The same however often the same result is delivered. */
    id: string;
    env: Bindings;
    /** Aborted when the time for a delivery is over. */
    signal: AbortSignal;
  },
) => Promise<void>;

/** How a text is labelled: as in the body of `POST /classify`. */
interface Labelling {
  /** A stored classifier, `name` or `name@version`: the account's own before the deployment's. Or: */
  classifier?: string;
  labels?: readonly (string | { name: string; description?: string; examples?: string[] })[];
  instructions?: string;
  /** A JSON schema of an object: more to extract. */
  fields?: Record<string, unknown>;
  multi?: boolean;
  allow_none?: boolean;
  model?: string;
  votes?: number;
}

/** A source of webhooks, as it is defined. */
export interface WebhookDefinition<Body> extends Labelling {
  /** Its name: `POST /webhooks/<source>`, and the settings `<SOURCE>_WEBHOOK_SECRET`, `<SOURCE>_WEBHOOK_DELIVER_URL`. */
  source: string;
  verify: Verify;
  /** What the sender calls this event, however often it is sent; undefined takes the digest of the body. */
  id?: (event: IncomingEvent<Body>) => string | undefined;
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
export interface Webhook extends Omit<WebhookDefinition<never>, 'id' | 'text' | 'subject' | 'respond'> {
  id: (event: IncomingEvent) => string | undefined;
  text: (event: IncomingEvent) => string | undefined;
  subject: (event: IncomingEvent) => string | undefined;
  respond: (event: IncomingEvent) => Response | undefined;
  account: string;
  schedule: Schedule;
}

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
  const { source, classifier, labels, schedule } = definition;
  if (!SOURCE.test(source)) {
    throw new TypeError(`A source is named by lower-case letters, digits and hyphens: ${source} is not.`);
  }
  if ((classifier === undefined) === (labels === undefined)) {
    throw new TypeError(`The webhook ${source} needs a classifier or labels, not both.`);
  }
  const account = definition.account ?? `webhook-${source}`;
  if (!isAccount(account)) throw new TypeError(`The webhook ${source} has an account that is no name.`);
  const none = () => undefined;
  // What a sender's body looks like is the definition's to say; that it is an object has been seen.
  const functions = definition as unknown as Webhook;
  return {
    ...functions,
    id: functions.id ?? none,
    subject: functions.subject ?? none,
    respond: functions.respond ?? none,
    account,
    schedule: { ...SCHEDULE, ...schedule },
  };
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
