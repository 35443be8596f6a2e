/** Keeps the list of conversations, and which one is open. */
import { batch, computed, signal } from '@preact/signals';
import type { ConversationRow } from '../../../client/index.ts';
import { edge, modelsFault, token } from '../../edge/client.ts';
import { model } from '../../edge/models.ts';
import { poll } from '../../edge/poll.ts';
import { Removals } from '../../edge/removals.ts';
import { go } from '../../ui/route.ts';
import { familyOf, nextBranchId, oneOfEach, possibleIdsOf } from './branches.ts';
import type { Content } from './content.ts';
import { agent, prefix } from './options.ts';
import { ignoreDeleted } from './outcomes.ts';
import { Session } from './session.ts';
import { titleOf } from './titles.ts';

const conversations = signal<ConversationRow[]>([]);
/** What was deleted a moment ago, and can still be brought back, by family. */
export const removals = new Removals();
/** The conversations as they are listed: copies that were made to ask again are one with their original. */
export const listed = computed(() => oneOfEach(conversations.value));
export const hasMore = signal(false);
/** The conversation that is shown; undefined for a new one. */
export const session = signal<Session | undefined>(undefined);

const CONVERSATIONS_A_PAGE = 50;
const LIST_EVERY_MS = 10_000;
/** The other windows of this browser. They are told that something has changed, and nothing of what. */
const others = new BroadcastChannel('sluice');

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
  const shown = session.peek();
  const row = shown && page.data.find(({ id }) => id === shown.id);
  if (row) await shown.catchUp(row);
}

/** Keeps the list, and what is shown, up to date while the page is visible: another window may have changed it. */
export function keepListed(): () => void {
  const refresh = () =>
    refreshConversations()
      // The list stays as it was; the next refresh may succeed.
      .catch(() => {});
  others.onmessage = () => void refresh();
  const stop = poll(refresh, LIST_EVERY_MS);
  return () => {
    others.onmessage = null;
    stop();
  };
}

/** Refreshes the list after a change, here and in other windows of this browser. */
async function tellChange(): Promise<void> {
  others.postMessage('changed');
  await refreshConversations();
}

/** Loads the whole list, to search in it. */
export async function loadAll(): Promise<void> {
  while (hasMore.value) await loadMore(1_000);
}

export async function loadMore(limit = CONVERSATIONS_A_PAGE): Promise<void> {
  const last = conversations.value.at(-1);
  const page = await edge().conversations.list({ limit, ...(last ? { after_id: last.id } : {}) });
  conversations.value = [...conversations.value, ...page.data];
  hasMore.value = page.has_more;
}

/** Shows a conversation, or an empty page for a new one. */
export function show(id: string | undefined): void {
  if (session.value?.id === id) return;
  session.value?.leave();
  session.value = id === undefined ? undefined : new Session(id, tellChange);
  const opened = session.value;
  void opened?.open();
  refreshConversations()
    // If the list cannot be read, it stays as it was.
    .catch(() => {})
    .then(() => opened?.readBranches(possibleIdsOf(opened.id, conversations.value)))
    .catch((thrown: unknown) => opened?.fail(thrown));
}

/**
 * Asks a question in the conversation that is shown, or in a new one.
 *
 * @throws SluiceError if a new one cannot be created
 */
export async function send(content: Content): Promise<void> {
  if (!session.value && !model.value && agent.value === '' && modelsFault.value) throw new Error(modelsFault.value);
  const current = session.value ?? (await begin(titleOf(content)));
  await current.send(content);
}

/** Creates a conversation and shows it. From now on it keeps its agent, or its prefix. */
export async function begin(title: string, agentName = agent.value): Promise<Session> {
  const report = await edge().conversations.create({
    title,
    // An agent has a model and a prompt of its own.
    ...(agentName === ''
      ? { ...(model.value ? { model: model.value.id } : {}), ...(prefix.value === '' ? {} : { prefix: prefix.value }) }
      : { agent: agentName }),
  });
  const created = new Session(report.id, tellChange);
  created.report.value = report;
  created.loaded.value = true;
  showCreated(created);
  await refreshConversations();
  return created;
}

function showCreated(created: Session): void {
  session.value?.leave();
  // At once: what is between them would be a conversation that is not shown, or one without an address.
  batch(() => {
    session.value = created;
    go('chat', created.id, true);
  });
}

/**
 * Asks a question in place of another one, in a copy of the conversation: what was said there stays.
 *
 * @param before the message that the question replaces
 * @param most the longest answer in tokens, in place of the option
 * @throws SluiceError if it is refused; then the conversation is shown as it was
 */
export async function askInstead(from: Session, before: string, content: Content, most?: number): Promise<void> {
  const created = await from.branch(before, nextBranchId(from.id, conversations.value));
  const shared = created.rows.value.length;
  showCreated(created);
  await created.send(content, most);
  const failure = created.failure.value;
  const status = failure?.error.status ?? 0;
  // A later turn, with the results of tools, may be refused as well: then there is an answer to keep.
  const isEmpty = created.rows.value.length === shared;
  if (!failure || !isEmpty || failure.question === undefined || status < 400 || status >= 500) return;
  await edge().conversations.delete(created.id);
  if (session.value === created) {
    show(from.id);
    go('chat', from.id, true);
  }
  throw failure.error;
}

export async function rename(id: string, title: string): Promise<void> {
  const family = conversations.value.filter((row) => familyOf(row.id) === familyOf(id));
  await Promise.all(family.map((row) => edge().conversations.update(row.id, { title })));
  await refreshConversations();
}

/** Deletes a conversation with its copies, after a moment in which that can be undone. Until then it stays in its place. */
export function remove(id: string): void {
  const family = familyOf(id);
  const current = session.value?.id;
  const isOpen = current !== undefined && familyOf(current) === family;
  const ids = possibleIdsOf(id, conversations.value);
  const finish = async () => {
    // Sent even if the page is closed now.
    const deletions = ids.map((id) =>
      edge()
        .fetch(`/conversations/${encodeURIComponent(id)}`, { method: 'DELETE', keepalive: true })
        .catch(ignoreDeleted),
    );
    await Promise.all(deletions);
    await refreshConversations();
  };
  removals.remove(family, { finish, ...(isOpen ? { leave: () => go('chat', undefined, true) } : {}) });
}

/** Copies a conversation. @param at the message whose turn is the last of the copy; without it everything is copied */
export async function fork(id: string, at?: string): Promise<void> {
  const copy = await edge().conversations.fork(id, at === undefined ? {} : { at });
  await edge().conversations.update(copy.id, { title: `${copy.title ?? 'Conversation'} (fork)` });
  await refreshConversations();
  go('chat', copy.id);
}
