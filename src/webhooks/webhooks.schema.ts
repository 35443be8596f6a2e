import * as z from '../http/zod.ts';

/** The states of an event. */
export const eventState = z.described(
  z.enum(['accepted', 'waiting', 'delivering', 'classified', 'delivered', 'parked', 'failed']),
  '`accepted`: to be classified; `waiting`: for the budget’s next window; `delivering`: classified, and on its way; ' +
    '`classified`: there is nowhere to deliver it to; `delivered`; `parked`: given up after the last attempt; ' +
    '`failed`: this text cannot be classified. What is parked or failed can be replayed.',
);

/** Which events a list has, besides the page. */
export const eventsQuery = z.object({ state: z.optional(eventState) });

export type EventState = z.output<typeof eventState>;
