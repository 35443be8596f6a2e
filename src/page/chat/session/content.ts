import type { Client, ConversationMessage, HistoryRequest } from '../../../client/index.ts';

export type Content = ConversationMessage['content'];

const MESSAGES_PER_PAGE = 1_000;

export interface Part {
  type: string;
  [field: string]: unknown;
}

/** @returns the text of a message, without its other blocks */
export function textOf(parts: readonly Part[]): string {
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
export async function readHistory(
  { conversations }: Client,
  id: string,
  query: HistoryRequest = {},
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

export function toParts(content: Content): Part[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}
