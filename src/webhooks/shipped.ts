/** What the Worker takes without anybody writing code: what each sender's events say, and how that is labelled. */
import { defineWebhook, type IncomingEvent, type Webhook } from './define.ts';
import { verifyGithub } from './github.ts';
import { verifySlack } from './slack.ts';
import { verifyStandard } from './standard.ts';
import { verifyStripe } from './stripe.ts';

interface Written {
  title?: unknown;
  body?: unknown;
  html_url?: unknown;
}

type GithubBody = Partial<
  Record<'action' | 'issue' | 'pull_request' | 'comment' | 'review' | 'discussion', Written & string>
>;

/** What is done to an issue without writing: labels put on by who gets the results must not come back as events. */
const WRITING = new Set<unknown>(['opened', 'edited', 'created', 'submitted', undefined]);

/** What somebody wrote: the comment, if that is what the event is about. */
function writtenIn({ body }: IncomingEvent<GithubBody>): Written | undefined {
  if (!WRITING.has(body.action)) return undefined;
  return body.comment ?? body.review ?? body.issue ?? body.pull_request ?? body.discussion;
}

/** Issues, pull requests, discussions, and comments on them, as GitHub sends them with the content type JSON. */
const github = defineWebhook<GithubBody>({
  source: 'github',
  verify: verifyGithub,
  // What GitHub itself sends at the most.
  maxBodyBytes: 25 * 1024 * 1024,
  id: ({ headers }) => headers.get('x-github-delivery') ?? undefined,
  text: (event) => {
    const written = writtenIn(event);
    const parts = [written?.title, written?.body].filter((part) => typeof part === 'string' && part.trim() !== '');
    return parts.length === 0 ? undefined : parts.join('\n\n');
  },
  subject: (event) => {
    const url = writtenIn(event)?.html_url;
    return typeof url === 'string' ? url : undefined;
  },
  labels: [
    { name: 'bug', description: 'Something does not work as it should.' },
    { name: 'feature', description: 'Something is wanted that does not exist yet.' },
    { name: 'question', description: 'Somebody wants to know something.' },
    { name: 'documentation', description: 'The documentation is missing, wrong or unclear.' },
    { name: 'other', description: 'None of the others.' },
  ],
});

interface StripeObject {
  id?: unknown;
  object?: unknown;
  reason?: unknown;
  description?: unknown;
  metadata?: unknown;
  evidence?: unknown;
  refunds?: { data?: StripeObject[] };
}

interface StripeBody {
  id?: unknown;
  type?: unknown;
  data?: { object?: StripeObject };
}

/** What of a dispute's evidence is prose; the rest are addresses, dates and the ids of files. */
const PROSE = ['uncategorized_text', 'product_description', 'cancellation_rebuttal', 'refund_refusal_explanation'];

/** The dispute or the refund that an event is about; a refunded charge has its newest refund first. */
function moneyBack({ body }: IncomingEvent<StripeBody>): StripeObject | undefined {
  const object = body.data?.object;
  if (object?.object === 'dispute' || object?.object === 'refund') return object;
  return object?.object === 'charge' ? object.refunds?.data?.[0] : undefined;
}

function disputeText(event: IncomingEvent<StripeBody>): string | undefined {
  const object = moneyBack(event);
  if (typeof object?.reason !== 'string' || object.reason === '') return undefined;
  const lines = [`${object.object === 'dispute' ? 'Dispute' : 'Refund'}, reason: ${object.reason}`];
  if (typeof object.description === 'string') lines.push(object.description);
  const evidence = (object.evidence ?? {}) as Record<string, unknown>;
  const prose = PROSE.map((name) => [name, evidence[name]] as const);
  for (const [name, value] of [...Object.entries(object.metadata ?? {}), ...prose]) {
    if (typeof value === 'string' && value.trim() !== '') lines.push(`${name}: ${value}`);
  }
  return lines.join('\n');
}

/** Disputes, and refunds that have a reason. */
const stripe = defineWebhook<StripeBody>({
  source: 'stripe',
  verify: verifyStripe,
  id: ({ body }) => (typeof body.id === 'string' ? body.id : undefined),
  text: disputeText,
  subject: (event) => {
    const id = moneyBack(event)?.id;
    return typeof id === 'string' ? id : undefined;
  },
  labels: [
    { name: 'fraud', description: 'The payment was not made or allowed by who owns the card.' },
    { name: 'product', description: 'What was bought did not come, or was not as it should be.' },
    { name: 'duplicate', description: 'The same was charged more than once.' },
    { name: 'other', description: 'None of the others.' },
  ],
});

/** What a message from somewhere is about, where nobody has said what to look for. */
const MESSAGE_LABELS = [
  { name: 'question', description: 'Somebody wants to know something.' },
  { name: 'problem', description: 'Something does not work, or somebody complains.' },
  { name: 'request', description: 'Somebody wants something to be done.' },
  { name: 'other', description: 'None of the others.' },
];

interface SlackBody {
  type?: unknown;
  challenge?: unknown;
  event_id?: unknown;
  event?: {
    type?: unknown;
    subtype?: unknown;
    bot_id?: unknown;
    text?: unknown;
    channel?: unknown;
    ts?: unknown;
  };
}

/** What people say: not what bots do, nor that a message was changed or deleted or somebody has joined. */
const SAID = new Set<unknown>([undefined, 'file_share', 'thread_broadcast', 'me_message']);

/** Messages and mentions of the Events API. */
const slack = defineWebhook<SlackBody>({
  source: 'slack',
  verify: verifySlack,
  respond: ({ body }) =>
    body.type === 'url_verification' && typeof body.challenge === 'string'
      ? Response.json({ challenge: body.challenge })
      : undefined,
  id: ({ body }) => (typeof body.event_id === 'string' ? body.event_id : undefined),
  text: ({ body: { event } }) => {
    if (event?.type !== 'message' && event?.type !== 'app_mention') return undefined;
    if (event.bot_id !== undefined || !SAID.has(event.subtype)) return undefined;
    return typeof event.text === 'string' ? event.text : undefined;
  },
  subject: ({ body: { event } }) =>
    typeof event?.channel === 'string' && typeof event.ts === 'string' ? `${event.channel}/${event.ts}` : undefined,
  labels: MESSAGE_LABELS,
});

/** Any sender that follows Standard Webhooks and says what it has to say in `text`, on top or in its `data`. */
const standard = defineWebhook<{ text?: unknown; data?: { text?: unknown } }>({
  source: 'standard',
  verify: verifyStandard,
  id: ({ headers }) => headers.get('webhook-id') ?? undefined,
  text: ({ body: { text, data } }) =>
    [text, data?.text].find((value) => typeof value === 'string') as string | undefined,
  labels: MESSAGE_LABELS,
});

/** A source whose secret is not set is closed. */
export const shippedWebhooks: readonly Webhook[] = [github, stripe, slack, standard];
