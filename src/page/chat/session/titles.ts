/** Makes titles from first messages, also for conversations that have none: those that SDKs began. */

import { getClient } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';
import type { MessageContent } from './content.ts';

/** More characters than any window shows. The visible part depends on the width of the window. */
const MAX_TITLE_CHARACTERS = 200;

const generatedTitles = createTokenSignal<ReadonlyMap<string, string>>(new Map());
const titledIds = new Set<string>();

/** @returns the title of a conversation: its own, or the one that its first message gives */
export function getConversationTitle(id: string, title: string | null | undefined): string {
  return title ?? generatedTitles.value.get(id) ?? 'Untitled';
}

/** Makes the title of a conversation that has none. If that fails, it is tried again when it is shown again. */
export async function generateMissingTitle(id: string): Promise<void> {
  if (titledIds.has(id)) return;
  titledIds.add(id);
  try {
    const { data } = await getClient().conversations.messages(id, { limit: 1 });
    const first = data[0];
    if (first) generatedTitles.value = new Map(generatedTitles.peek()).set(id, createTitleFromContent(first.content));
  } catch {
    // Ignore the error: opening the conversation shows it. Allow another attempt.
    titledIds.delete(id);
  }
}

/** @returns the first words of a message */
export function createTitleFromContent(content: MessageContent): string {
  const texts =
    typeof content === 'string' ? [content] : content.map((block) => ('text' in block ? String(block.text) : ''));
  const line = texts.join(' ').replace(/\s+/g, ' ').trim();
  if (line === '') return 'Files';
  return line.length <= MAX_TITLE_CHARACTERS ? line : `${line.slice(0, MAX_TITLE_CHARACTERS).toWellFormed()}…`;
}
