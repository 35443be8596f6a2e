import { toStringOrUndefined } from '../../../kit/json/object.ts';
import { defineWebhook, MESSAGE_LABELS } from './define-webhook.ts';
import { verifySlack } from './signatures.ts';

interface SlackBody extends Partial<Record<'type' | 'challenge' | 'event_id', unknown>> {
  event?: Partial<Record<'type' | 'subtype' | 'bot_id' | 'text' | 'channel' | 'ts', unknown>>;
}

/** Subtypes of messages that people wrote. Other subtypes report changed or deleted messages, or new members. */
const SAID = new Set<unknown>([undefined, 'file_share', 'thread_broadcast', 'me_message']);

/** Labels messages and mentions of Slack's Events API. */
export const slack = defineWebhook<SlackBody>({
  source: 'slack',
  verify: verifySlack,
  respond: ({ body }) =>
    body.type === 'url_verification' && typeof body.challenge === 'string'
      ? Response.json({ challenge: body.challenge })
      : undefined,
  // Slack sends a mention twice, as `message` and as `app_mention`, with different event ids. Use the channel and the timestamp
  // as the id, because they are the same in both.
  id: ({ body: { event_id, event } }) =>
    event?.channel && event.ts ? `${event.channel}-${event.ts}`.replace('.', '-') : toStringOrUndefined(event_id),
  text: ({ body: { event } }) => {
    if (event?.type !== 'message' && event?.type !== 'app_mention') return undefined;
    if (event.bot_id !== undefined || !SAID.has(event.subtype)) return undefined;
    return toStringOrUndefined(event.text);
  },
  subject: ({ body: { event } }) =>
    typeof event?.channel === 'string' && typeof event.ts === 'string' ? `${event.channel}/${event.ts}` : undefined,
  labels: MESSAGE_LABELS,
});
