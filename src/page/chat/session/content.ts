import type { Client, ConversationMessage, ListMessagesOptions } from '../../../client/index.ts';

export type MessageContent = ConversationMessage['content'];

const MESSAGES_PER_PAGE = 1_000;

export interface ContentPart {
  type: string;
  [field: string]: unknown;
}

/** @returns the text of a message, without its other blocks */
export function joinTextParts(parts: readonly ContentPart[]): string {
  return parts
    .map((part) => (part.type === 'text' ? String(part.text) : ''))
    .join('\n\n')
    .trim();
}

/**
 * Reads the messages of a conversation, page after page.
 *
 * @param goesOn whether more of them are wanted
 * @throws SluiceError in the words of the edge
 */
export async function readAllMessages(
  { conversations }: Client,
  id: string,
  query: ListMessagesOptions = {},
  goesOn = () => true,
): Promise<ConversationMessage[]> {
  const rows: ConversationMessage[] = [];
  for (let more = true; more && goesOn(); ) {
    const after = rows.at(-1)?.id;
    const place = after === undefined ? {} : { after_id: after };
    const page = await conversations.messages(id, { limit: MESSAGES_PER_PAGE, ...query, ...place });
    rows.push(...page.data);
    more = page.has_more && page.data.length > 0;
  }
  return rows;
}

export function toContentParts(content: MessageContent): ContentPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}
