import { toStringOrUndefined } from '../../../kit/json/object.ts';
import { defineWebhook, type VerifiedWebhookRequest } from './define-webhook.ts';
import { verifyStripe } from './signatures.ts';

type StripeObjectField = 'id' | 'object' | 'reason' | 'description' | 'metadata' | 'evidence';

interface StripeObject extends Partial<Record<StripeObjectField, unknown>> {
  refunds?: { data?: StripeObject[] };
}

interface StripeBody {
  id?: unknown;
  data?: { object?: StripeObject };
}

/** The parts of a dispute's evidence that are prose; the others are addresses, dates and ids of files. */
const PROSE = ['uncategorized_text', 'product_description', 'cancellation_rebuttal', 'refund_refusal_explanation'];

/** @returns the dispute or the refund that an event is about; a refunded charge lists its newest refund first */
function findDisputeOrRefund({ body }: VerifiedWebhookRequest<StripeBody>): StripeObject | undefined {
  const object = body.data?.object;
  if (object?.object === 'dispute' || object?.object === 'refund') return object;
  return object?.object === 'charge' ? object.refunds?.data?.[0] : undefined;
}

function formatDisputeOrRefundText(event: VerifiedWebhookRequest<StripeBody>): string | undefined {
  const object = findDisputeOrRefund(event);
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

/** Labels disputes, and refunds that have a reason. */
export const stripe = defineWebhook<StripeBody>({
  source: 'stripe',
  verify: verifyStripe,
  id: ({ body }) => toStringOrUndefined(body.id),
  text: formatDisputeOrRefundText,
  subject: (event) => toStringOrUndefined(findDisputeOrRefund(event)?.id),
  labels: [
    { name: 'fraud', description: 'The payment was not made or allowed by who owns the card.' },
    { name: 'product', description: 'What was bought did not come, or was not as it should be.' },
    { name: 'duplicate', description: 'The same was charged more than once.' },
    { name: 'other', description: 'None of the others.' },
  ],
});
