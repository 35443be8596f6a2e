import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { getDeliveryRows } from './run-rows.ts';
import { TurnWebhookSender } from './turn-events.ts';

const eventsByConversation = new WeakMap<ConversationContext, TurnWebhookSender>();

/** @returns what sends the events of a conversation, the same for as long as its object is in memory */
export function getTurnEventSender(conversation: ConversationContext): TurnWebhookSender {
  return getOrCreate(eventsByConversation, conversation, () => {
    return new TurnWebhookSender(conversation, getDeliveryRows(conversation.transcript), () =>
      conversation.maintenance.resetAlarmToNextDue(),
    );
  });
}
