import { getOrMake } from '../../kit/cache/get-or-make.ts';
import type { ConversationContext } from '../../talk/object/parts.ts';
import { deliveriesIn } from './run-rows.ts';
import { TurnEvents } from './turn-events.ts';

const made = new WeakMap<ConversationContext, TurnEvents>();

/** @returns what sends the events of a conversation, the same for as long as its object is in memory */
export function turnEventsOf(context: ConversationContext): TurnEvents {
  return getOrMake(made, context, () => {
    return new TurnEvents(context, deliveriesIn(context.transcript), () => context.maintenance.rest());
  });
}
