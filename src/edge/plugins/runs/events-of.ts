import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { getOrMake } from '../../kit/cache/get-or-make.ts';
import { deliveriesIn } from './run-rows.ts';
import { TurnEvents } from './turn-events.ts';

const eventsByConversation = new WeakMap<ConversationContext, TurnEvents>();

/** @returns what sends the events of a conversation, the same for as long as its object is in memory */
export function turnEventsOf(conversation: ConversationContext): TurnEvents {
  return getOrMake(eventsByConversation, conversation, () => {
    return new TurnEvents(conversation, deliveriesIn(conversation.transcript), () => conversation.maintenance.rest());
  });
}
