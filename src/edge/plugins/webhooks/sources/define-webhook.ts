import { buildWebhookSourceAccount, isAccountName } from '../../../auth/identity/identity.ts';
import { type TaskRequest, taskRequest } from '../../../classify/classify.schema.ts';
import type { DeliveryFunction } from '../../../kit/delivery/deliver.ts';
import { type EventRetrySchedule, SCHEDULE } from '../../../kit/delivery/schedule.ts';
import type { SignatureScheme, VerifySignature } from '../../../kit/delivery/signature.ts';
import { parseVersionRef } from '../../../kit/kv/version-ref.ts';
import { ALERT_SOURCE } from '../../../money/alerts/alert-source.ts';
import type { AgentAnswerDelivery, ClassificationDelivery } from '../webhooks-answers.schema.ts';

/** A function that receives results. If it throws, the delivery has failed and is tried again. */
export type Deliver<Result = ClassificationDelivery> = DeliveryFunction<Result>;

/** A request whose signature is verified. */
export interface VerifiedWebhookRequest<Body = Record<string, unknown>> {
  headers: Headers;
  /** The body as the sender documents it. Only one thing is checked: that it is a JSON object. */
  body: Body;
}

/** The members that every source of webhooks has. */
interface WebhookSourceOptions<Body> {
  /** Its name: `POST /webhooks/<source>`, and `source` of its entry in the setting WEBHOOKS. */
  source: string;
  /** How the sender signs. A plain function is called when the body has been read, and counts as covering only the body. */
  verify: SignatureScheme | VerifySignature;
  /** The largest body, in bytes; MAX_BODY_BYTES is a limit as well. Default 1 MB. */
  maxBodyBytes?: number;
  /** The sender's id of this event, the same each time it is sent; undefined: the digest of the body is the id. */
  id?: (event: VerifiedWebhookRequest<Body>) => string | undefined;
  /**
   * `id`: two requests with the same body are two events if their ids differ. Default: if the signature covers neither id nor
   * time, they are one event, because anyone who has seen one request could send it again with another id.
   */
  dedupe?: 'id';
  /** The text to label. If it returns undefined or throws, the event is ignored. */
  text: (event: VerifiedWebhookRequest<Body>) => string | undefined;
  /** A URL or an id by which the receiver of the result finds the text at its sender. */
  subject?: (event: VerifiedWebhookRequest<Body>) => string | undefined;
  /** The response that the sender's protocol requires, such as to a challenge; undefined for an ordinary event. */
  respond?: (event: VerifiedWebhookRequest<Body>) => Response | undefined;
  /** The account that pays. Default `webhook-<source>`. */
  account?: string;
  /** Changes to the default `SCHEDULE`. */
  schedule?: Partial<EventRetrySchedule>;
}

/**
 * A source whose texts are labelled. How is said by the same members as in `POST /classify`: a stored `classifier`, or
 * `labels` or a `schema` with `instructions`, `fields` and the rest.
 */
interface ClassifiedSourceDefinition<Body> extends WebhookSourceOptions<Body>, TaskRequest {
  agent?: undefined;
  /**
   * Where results go: a function, or a URL whose host is in `DELIVER_HOSTS`. Default: the setting. If the setting names an
   * agent, the agent's answers go there.
   */
  deliver?: string | Deliver;
}

/** A source whose texts an agent works on, each in a separate conversation. */
interface AgentSourceDefinition<Body> extends WebhookSourceOptions<Body> {
  /** A stored agent: `name` or `name@version`. */
  agent: string;
  /** Where its answers go: a function, or a URL whose host is in `DELIVER_HOSTS`. Default: the setting. */
  deliver?: string | Deliver<AgentAnswerDelivery>;
}

/** Defines a source of webhooks: what it sends, who works on it, and where the results go. */
export type WebhookDefinition<Body> = ClassifiedSourceDefinition<Body> | AgentSourceDefinition<Body>;

/** The members of a definition that the edge uses unchanged, or with their defaults. */
type CopiedDefinitionKeys = 'source' | 'maxBodyBytes' | 'id' | 'text' | 'subject' | 'respond' | 'account';

/** A source of webhooks as the edge uses it. */
export interface Webhook extends Required<Pick<WebhookSourceOptions<Record<string, unknown>>, CopiedDefinitionKeys>> {
  signature: Pick<SignatureScheme, 'verify'> & Partial<SignatureScheme>;
  sameBodySameEvent: boolean;
  deliver: string | Deliver<ClassificationDelivery | AgentAnswerDelivery> | undefined;
  schedule: EventRetrySchedule;
  /** The agent that works on its texts; undefined if they are labelled, or if the setting names the agent. */
  agent: string | undefined;
  /** How to label the texts; empty if `agent` is set. */
  task: TaskRequest;
}

/** Labels for messages of any kind: the default for sources that define none. */
export const MESSAGE_LABELS = [
  { name: 'question', description: 'Somebody wants to know something.' },
  { name: 'problem', description: 'Something does not work, or somebody complains.' },
  { name: 'request', description: 'Somebody wants something to be done.' },
  { name: 'other', description: 'None of the others.' },
];

/** The default limit of a body: more than any sender except GitHub sends. Even unverified bodies are read up to this size. */
const MOST_BODY_BYTES = 1024 * 1024;

/** Matches a source's name. It has no underscore, because in an event's id the source ends at the first one. */
const SOURCE = /^[a-z][a-z0-9-]{0,39}$/;
export const SOURCE_NAME_FAULT = `must have up to 40 lower-case letters, digits and hyphens, and not be ${ALERT_SOURCE}`;

/** @returns whether a source that is not shipped can have this name. The edge’s own alerts have one already. */
export function isValidCustomSourceName(name: string): boolean {
  return SOURCE.test(name) && name !== ALERT_SOURCE;
}

/**
 * Defines a source of webhooks for `createApp({ webhooks: […] })`.
 *
 * @throws TypeError for a definition that could not work
 * @example
 * const tickets = defineWebhook<{ ticket: { id: string; text: string } }>({
 *   source: 'tickets',
 *   verify: hmac({ header: 'x-tickets-signature' }),
 *   id: ({ body }) => body.ticket.id,
 *   text: ({ body }) => body.ticket.text,
 *   labels: ['billing', 'technical', 'other'],
 * });
 * export default createApp({ plugins: [webhooks], webhooks: [tickets] });
 */
export function defineWebhook<Body = Record<string, unknown>>(definition: WebhookDefinition<Body>): Webhook {
  const { source, verify, maxBodyBytes = MOST_BODY_BYTES, dedupe, ...read } = definition;
  const { id, text, subject, respond, account, deliver, schedule, agent, ...asked }: LooseWebhookDefinition<Body> =
    read;
  if (!SOURCE.test(source)) {
    throw new TypeError(`The source ${source} must be named with lowercase letters, digits and hyphens.`);
  }
  if (source === ALERT_SOURCE)
    throw new TypeError(`No source can be named ${ALERT_SOURCE}, because alerts use this name.`);
  const parts = [asked.classifier, asked.labels, asked.schema, agent].filter((part) => part !== undefined);
  if (parts.length !== 1) {
    throw new TypeError(`The webhook ${source} requires exactly one of classifier, labels, schema and agent.`);
  }
  if (agent !== undefined && parseVersionRef(agent) === undefined) {
    throw new TypeError(`The webhook ${source} has an invalid agent name: ${agent}.`);
  }
  const task = taskRequest.safeParse(asked);
  if (!task.success)
    throw new TypeError(`The webhook ${source} has an invalid classifier: ${task.error.issues[0]?.message}`);
  if (!Number.isSafeInteger(maxBodyBytes) || maxBodyBytes < 1) {
    throw new TypeError(`The webhook ${source} has an invalid maxBodyBytes. Pass a positive integer.`);
  }
  const signature: Webhook['signature'] = typeof verify === 'function' ? { verify } : verify;
  const payer = account ?? buildWebhookSourceAccount(source);
  if (!isAccountName(payer)) throw new TypeError(`The webhook ${source} has an invalid account name.`);
  const returnUndefined = () => undefined;
  return {
    source,
    signature,
    maxBodyBytes,
    sameBodySameEvent: dedupe !== 'id' && signature.covers === undefined,
    id: castEventReader(id ?? returnUndefined),
    text: castEventReader(text),
    subject: castEventReader(subject ?? returnUndefined),
    respond: castEventReader(respond ?? returnUndefined),
    account: payer,
    // The cast is safe: `agent` determines whether `deliver` is called with labels or with an agent's answer.
    deliver: deliver as Webhook['deliver'],
    agent,
    schedule: { ...SCHEDULE, ...schedule },
    task: task.data,
  };
}

/** A definition of either kind, with all members optional. */
type LooseWebhookDefinition<Body> = Partial<Omit<ClassifiedSourceDefinition<Body>, 'agent' | 'deliver'>> &
  Pick<WebhookSourceOptions<Body>, 'text'> & {
    agent?: string | undefined;
    deliver?: WebhookDefinition<Body>['deliver'];
  };

/**
 * Casts a function of a definition, so that it gets the body in the definition's own type. Only that it is an object is
 * checked.
 */
function castEventReader<Body, Result>(
  read: (event: VerifiedWebhookRequest<Body>) => Result,
): (event: VerifiedWebhookRequest) => Result {
  return (event: VerifiedWebhookRequest<unknown>) => read(event as VerifiedWebhookRequest<Body>);
}

/**
 * @returns the webhooks by their sources
 * @throws TypeError if two have the same source
 */
export function indexWebhooksBySource(webhooks: readonly Webhook[]): ReadonlyMap<string, Webhook> {
  const found = new Map(webhooks.map((webhook) => [webhook.source, webhook]));
  if (found.size < webhooks.length) throw new TypeError('Two webhooks have the same source. Remove one of them.');
  return found;
}
