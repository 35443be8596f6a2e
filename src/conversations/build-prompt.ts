import type { PromptRequest } from '../durable/contracts/conversation.ts';
import type { ConversationContext } from './conversation-context.ts';
import { checkHeld, layHeld } from './history/held-prefix.ts';
import { nextCountRequest } from './history/next-request.ts';
import { prefixReaderOf } from './prefix-holds.ts';
import type { Profile } from './storage/rows.ts';

/**
 * Builds the prompt of a conversation's next turn as it would go up, to be counted.
 *
 * @throws ApiError 400 for what does not continue the history, 413 for what has become too large
 */
export async function buildPrompt(
  context: ConversationContext,
  { prefix: held }: Profile,
  { place, prefix, body }: PromptRequest & { body: string },
): Promise<ReadableStream<Uint8Array>> {
  if (prefix !== undefined) checkHeld(held, prefix);
  const request = nextCountRequest(body, context.transcript, context.settings());
  const { bytes } = held ? (await layHeld(prefixReaderOf(context, place.account), held, request)).body : request;
  return new Blob([bytes]).stream();
}
