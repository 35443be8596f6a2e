import { readStandardWebhookHeaders, verifyStandard } from '../../../kit/delivery/standard-webhooks.ts';
import { defineWebhook, MESSAGE_LABELS } from './define-webhook.ts';

/** Labels events of any sender that follows Standard Webhooks and has a `text`, at the top or in `data`. */
export const standard = defineWebhook<{ text?: unknown; data?: { text?: unknown } }>({
  source: 'standard',
  verify: verifyStandard,
  id: ({ headers }) => readStandardWebhookHeaders(headers)[0] ?? undefined,
  text: ({ body: { text, data } }) =>
    [text, data?.text].find((value) => typeof value === 'string') as string | undefined,
  labels: MESSAGE_LABELS,
});
