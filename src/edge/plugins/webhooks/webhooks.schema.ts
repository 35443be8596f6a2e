import * as z from '../../kit/http/zod.ts';

export const eventState = z.addDescription(
  z.enum(['accepted', 'waiting', 'running', 'delivering', 'classified', 'answered', 'delivered', 'parked', 'failed']),
  '`accepted`: the event will be processed. `waiting`: it waits for the next budget window. `running`: an agent is processing ' +
    'it. `delivering`: the result is being delivered. `classified`, `answered`: there is a result but no delivery URL. ' +
    '`delivered`: the result was delivered. `parked`: the last attempt failed. `failed`: the text cannot be processed. Parked ' +
    'and failed events can be replayed.',
);

/** The query of a list of events, except the parameters of every list. */
export const eventsQuery = z.object({
  state: z.optional(eventState),
  undelivered: z.createOptionalField(
    z.literal('true'),
    'Only events that were tried without success: they are tried again, or `parked`.',
  ),
});

export type WebhookEventState = z.output<typeof eventState>;
