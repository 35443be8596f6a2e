/** Keeps the list of conversations, and which one is open. */
import { signal } from '@preact/signals';
import type { ConversationRow } from '../../../client/index.ts';
import { edge, token } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { go } from '../../ui/route.ts';
import type { Content } from './content.ts';
import { prefix } from './options.ts';
import { Session } from './session.ts';

export const conversations = signal<ConversationRow[]>([]);
export const hasMore = signal(false);
/** The conversation that is shown; undefined for a new one. */
export const session = signal<Session | undefined>(undefined);

const CONVERSATIONS_A_PAGE = 50;
const TITLE_CHARACTERS = 60;

// Another account has other conversations.
token.subscribe(() => {
  session.peek()?.leave();
  session.value = undefined;
  conversations.value = [];
});

export async function refreshConversations(): Promise<void> {
  const page = await edge().conversations.list({
    limit: Math.min(1_000, Math.max(CONVERSATIONS_A_PAGE, conversations.value.length)),
  });
  conversations.value = page.data;
  hasMore.value = page.has_more;
}

export async function loadMore(): Promise<void> {
  const last = conversations.value.at(-1);
  const page = await edge().conversations.list({ limit: CONVERSATIONS_A_PAGE, ...(last ? { after_id: last.id } : {}) });
  conversations.value = [...conversations.value, ...page.data];
  hasMore.value = page.has_more;
}

/** Shows a conversation, or an empty page for a new one. */
export function show(id: string | undefined): void {
  if (session.value?.id === id) return;
  session.value?.leave();
  session.value = id === undefined ? undefined : new Session(id, refreshConversations);
  void session.value?.open();
  // If the list cannot be read, it stays as it was.
  refreshConversations().catch(() => {});
}

/**
 * Asks a question in the conversation that is shown, or in a new one.
 *
 * @throws SluiceError if a new one cannot be created
 */
export async function send(content: Content): Promise<void> {
  const current = session.value ?? (await begin(titleOf(content)));
  await current.send(content);
}

/** Creates a conversation and shows it. From now on it keeps its prefix. */
export async function begin(title: string, prefixName = prefix.value): Promise<Session> {
  const report = await edge().conversations.create({
    title,
    ...(model.value ? { model: model.value.id } : {}),
    ...(prefixName === '' ? {} : { prefix: prefixName }),
  });
  const created = new Session(report.id, refreshConversations);
  created.report.value = report;
  created.loaded.value = true;
  session.value?.leave();
  session.value = created;
  go('chat', report.id, true);
  await refreshConversations();
  return created;
}

export async function rename(id: string, title: string): Promise<void> {
  await edge().conversations.update(id, { title });
  await refreshConversations();
}

export async function remove(id: string): Promise<void> {
  await edge().conversations.delete(id);
  if (session.value?.id === id) go('chat', undefined, true);
  await refreshConversations();
}

/** Copies a conversation. @param at the message whose turn is the last of the copy; without it everything is copied */
export async function fork(id: string, at?: string): Promise<void> {
  const copy = await edge().conversations.fork(id, at === undefined ? {} : { at });
  await edge().conversations.update(copy.id, { title: `${copy.title ?? 'Conversation'} (fork)` });
  await refreshConversations();
  go('chat', copy.id);
}

function titleOf(content: Content): string {
  const texts =
    typeof content === 'string' ? [content] : content.map((block) => ('text' in block ? String(block.text) : ''));
  const line = texts.join(' ').replace(/\s+/g, ' ').trim();
  if (line === '') return 'Picture';
  return line.length <= TITLE_CHARACTERS ? line : `${line.slice(0, TITLE_CHARACTERS).toWellFormed()}…`;
}
