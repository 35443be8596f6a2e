import type { ConversationMessage } from '../../../client/index.ts';

export type Content = ConversationMessage['content'];

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

export function partsOf(content: Content): Part[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}
