import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { deliveryRowsOf } from './run-rows.ts';
import { TurnEvents } from './turn-events.ts';

const eventsByConversation = new WeakMap<ConversationContext, TurnEvents>();

/** @returns what sends the events of a conversation, the same for as long as its object is in memory */
export function createTurnEvents(conversation: ConversationContext): TurnEvents {
  return getOrCreate(eventsByConversation, conversation, () => {
    return new TurnEvents(conversation, deliveryRowsOf(conversation.transcript), () =>
      conversation.maintenance.resetAlarm(),
    );
  });
}
