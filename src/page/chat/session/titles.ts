/** Makes titles from first messages, also for conversations that have none: those that SDKs began. */
import { signal } from '@preact/signals';
import { edge } from '../../edge/client.ts';
import type { Content } from './content.ts';

/** More than any window shows: where a title ends is decided by its room. */
const TITLE_CHARACTERS = 200;

const titles = signal<ReadonlyMap<string, string>>(new Map());
const titled = new Set<string>();

/** @returns the title of a conversation: its own, or the one that its first message gives */
export function titleFor(id: string, title: string | null | undefined): string {
  return title ?? titles.value.get(id) ?? 'Untitled';
}

/** Makes the title of a conversation that has none. If that fails, it is tried again when it is shown again. */
export async function makeTitle(id: string): Promise<void> {
  if (titled.has(id)) return;
  titled.add(id);
  try {
    const { data } = await edge().conversations.messages(id, { limit: 1 });
    const first = data[0];
    if (first) titles.value = new Map(titles.peek()).set(id, titleOf(first.content));
  } catch {
    // What is wrong with it is told where it is opened.
    titled.delete(id);
  }
}

/** @returns the first words of a message */
export function titleOf(content: Content): string {
  const texts =
    typeof content === 'string' ? [content] : content.map((block) => ('text' in block ? String(block.text) : ''));
  const line = texts.join(' ').replace(/\s+/g, ' ').trim();
  if (line === '') return 'Files';
  return line.length <= TITLE_CHARACTERS ? line : `${line.slice(0, TITLE_CHARACTERS).toWellFormed()}…`;
}
