/** Keeps the list of conversations, and which one is open. */
import { batch, computed } from '@preact/signals';
import type { ConversationRow } from '../../../client/index.ts';
import { getClient, modelsFault } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';
import { identity, isRestricted } from '../../edge/identity.ts';
import { currentModel } from '../../edge/models.ts';
import { pollWhileVisible } from '../../edge/poll.ts';
import { UndoableRemovals } from '../../edge/removals.ts';
import { navigateToSection } from '../../ui/route.ts';
import {
  createNextBranchId,
  getBranchFamilyId,
  listPossibleBranchIds,
  pickLatestConversationPerFamily,
} from './branches.ts';
import type { MessageContent } from './content.ts';
import { chosenAgent, chosenPrefix } from './options.ts';
import { ignoreNotFoundError } from './outcomes.ts';
import { Session } from './session.ts';
import { createTitleFromContent } from './titles.ts';

const conversations = createTokenSignal<ConversationRow[]>([]);
/** The conversations that were just deleted and can still be restored, by family. */
export const conversationRemovals = new UndoableRemovals();
/** The conversations as they are listed: copies that were made to ask again are one with their original. */
export const listedConversations = computed(() => pickLatestConversationPerFamily(conversations.value));
export const hasMoreConversations = createTokenSignal(false);
/** The conversation that is shown; undefined for a new one. */
export const session = createTokenSignal<Session | undefined>(undefined);

const CONVERSATIONS_PER_PAGE = 50;
const CONVERSATIONS_POLL_MS = 10_000;
/** The other windows of this browser. They are notified that something has changed, but not what. */
const otherWindows = new BroadcastChannel('sluice');

let followed: Session | undefined;
// Stop following a conversation that is no longer shown, also because another token is used.
session.subscribe((shown) => {
  if (followed !== shown) followed?.stopListening();
  followed = shown;
});

export async function refreshConversationList(): Promise<void> {
  // Restricted tokens cannot list conversations.
  if (isRestricted()) return;
  const page = await getClient().conversations.list({
    limit: Math.min(1_000, Math.max(CONVERSATIONS_PER_PAGE, conversations.value.length)),
  });
  conversations.value = page.data;
  hasMoreConversations.value = page.has_more;
  const shown = session.peek();
  const row = shown && page.data.find(({ id }) => id === shown.id);
  if (row) await shown.syncWithListRow(row);
}

/** Keeps the list, and what is shown, up to date while the page is visible: another window may have changed it. */
export function pollConversationList(): () => void {
  const refreshListAndSession = () =>
    refreshConversationList()
      // If refreshing fails, the list stays unchanged. The next refresh may succeed.
      .catch(() => {});
  otherWindows.onmessage = () => void refreshListAndSession();
  const stop = pollWhileVisible(refreshListAndSession, CONVERSATIONS_POLL_MS);
  return () => {
    otherWindows.onmessage = null;
    stop();
  };
}

/** Refreshes the list after a change, here and in other windows of this browser. */
async function refreshConversationsInAllWindows(): Promise<void> {
  otherWindows.postMessage('changed');
  await refreshConversationList();
}

/** Loads the whole list, to search in it. */
export async function loadAllConversations(): Promise<void> {
  while (hasMoreConversations.value) await loadMoreConversations(1_000);
}

export async function loadMoreConversations(limit = CONVERSATIONS_PER_PAGE): Promise<void> {
  const last = conversations.value.at(-1);
  const page = await getClient().conversations.list({ limit, ...(last ? { after_id: last.id } : {}) });
  conversations.value = [...conversations.value, ...page.data];
  hasMoreConversations.value = page.has_more;
}

/** Shows a conversation, or an empty page for a new one. */
export function showConversation(id: string | undefined): void {
  if (session.value?.id === id) return;
  session.value = id === undefined ? undefined : new Session(id, refreshConversationsInAllWindows);
  const opened = session.value;
  void opened?.loadAndFollow();
  refreshConversationList()
    // If the list cannot be read, it stays unchanged.
    .catch(() => {})
    .then(() => opened?.readBranchOrigins(listPossibleBranchIds(opened.id, conversations.value)))
    .catch((thrown: unknown) => opened?.showFailure(thrown));
}

/**
 * Sends a question in the displayed conversation, or in a new one.
 *
 * @throws SluiceError if a new one cannot be created
 */
export async function sendInShownConversation(content: MessageContent): Promise<void> {
  if (!session.value && !currentModel.value && chosenAgent.value === '' && modelsFault.value)
    throw new Error(modelsFault.value);
  const current = session.value ?? (await createConversationSession(createTitleFromContent(content)));
  await current.sendQuestion(content);
}

/** Creates a conversation and shows it. From now on it keeps its agent, or its prefix. */
export async function createConversationSession(title: string, agentName = chosenAgent.value): Promise<Session> {
  const report = await getClient().conversations.create({
    ...createAllowedConversationId(),
    title,
    // If an agent is chosen, send neither model nor prefix: the agent has its own.
    ...(agentName === ''
      ? {
          ...(currentModel.value ? { model: currentModel.value.id } : {}),
          ...(chosenPrefix.value === '' ? {} : { prefix: chosenPrefix.value }),
        }
      : { agent: agentName }),
  });
  const created = new Session(report.id, refreshConversationsInAllWindows);
  created.report.value = report;
  created.isLoaded.value = true;
  showCreatedSession(created);
  await refreshConversationList();
  return created;
}

/** @returns an id that a restricted token can use; empty if the token can use any */
function createAllowedConversationId(): { id?: string } {
  const { conversations: [pattern] = [] } = identity.value.only ?? {};
  return pattern === undefined ? {} : { id: pattern.replace(/\*$/, crypto.randomUUID()) };
}

function showCreatedSession(created: Session): void {
  // Make both changes in one batch. Otherwise the page would briefly show a conversation without an address, or an address
  // without its conversation.
  batch(() => {
    session.value = created;
    navigateToSection('chat', created.id, true);
  });
}

/**
 * Sends a question in place of another one, in a copy of the conversation, so that the original stays.
 *
 * @param before the message that the question replaces
 * @param maxAnswerTokens the longest answer in tokens, in place of the option
 * @throws SluiceError if it is rejected; then the conversation is displayed as before
 */
export async function askInConversationCopy(
  from: Session,
  before: string,
  content: MessageContent,
  maxAnswerTokens?: number,
): Promise<void> {
  const created = await from.createBranch(before, createNextBranchId(from.id, conversations.value));
  const shared = created.rows.value.length;
  showCreatedSession(created);
  await created.sendQuestion(content, maxAnswerTokens);
  const failure = created.failure.value;
  const status = failure?.error.status ?? 0;
  // Delete the new conversation only if its first question was rejected. If a later turn with tool results was rejected, keep
  // it, because it contains an answer.
  const isEmpty = created.rows.value.length === shared;
  if (!failure || !isEmpty || failure.question === undefined || status < 400 || status >= 500) return;
  await getClient().conversations.delete(created.id);
  if (session.value === created) {
    showConversation(from.id);
    navigateToSection('chat', from.id, true);
  }
  throw failure.error;
}

export async function renameConversation(id: string, title: string): Promise<void> {
  const family = conversations.value.filter((row) => getBranchFamilyId(row.id) === getBranchFamilyId(id));
  await Promise.all(family.map((row) => getClient().conversations.update(row.id, { title })));
  await refreshConversationList();
}

/** Deletes a conversation with its copies, after a moment in which that can be undone. Until then it stays in its place. */
export function removeConversationWithUndo(id: string): void {
  const family = getBranchFamilyId(id);
  const current = session.value?.id;
  const isOpen = current !== undefined && getBranchFamilyId(current) === family;
  const ids = listPossibleBranchIds(id, conversations.value);
  const deleteConversationFamily = async () => {
    // With `keepalive` the browser sends the request even if the page is closed now.
    const deletions = ids.map((id) =>
      getClient()
        .fetch(`/conversations/${encodeURIComponent(id)}`, { method: 'DELETE', keepalive: true })
        .catch(ignoreNotFoundError),
    );
    await Promise.all(deletions);
    await refreshConversationList();
  };
  conversationRemovals.startRemoval(family, {
    deletePermanently: deleteConversationFamily,
    ...(isOpen ? { leave: () => navigateToSection('chat', undefined, true) } : {}),
  });
}

/** Copies a conversation. @param at the message whose turn is the last of the copy; without it everything is copied */
export async function forkAndShowConversation(id: string, at?: string): Promise<void> {
  const copy = await getClient().conversations.fork(id, at === undefined ? {} : { at });
  await getClient().conversations.update(copy.id, { title: `${copy.title ?? 'Conversation'} (fork)` });
  await refreshConversationList();
  navigateToSection('chat', copy.id);
}
