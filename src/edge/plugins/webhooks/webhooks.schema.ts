import * as z from '../../kit/http/zod.ts';

export const eventState = z.addDescription(
  z.enum(['accepted', 'waiting', 'running', 'delivering', 'classified', 'answered', 'delivered', 'parked', 'failed']),
  '`accepted`: to be classified, or answered by an agent; `waiting`: for the budget’s next window; `running`: an agent is ' +
    'at work; `delivering`: its result is on its way; `classified`, `answered`: there is nowhere to deliver it to; ' +
    '`delivered`; `parked`: not tried again after the last attempt; `failed`: this text cannot be worked on. What is parked or ' +
    'failed can be replayed.',
);

/** The query of a list of events, beside the page. */
export const eventsQuery = z.object({
  state: z.optional(eventState),
  undelivered: z.createOptionalField(
    z.literal('true'),
    'Only events that were tried without success: they are tried again, or `parked`.',
  ),
});

export type WebhookEventState = z.output<typeof eventState>;
