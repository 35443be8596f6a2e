/** Gives each conversation a draft of its own, which a reload does not lose. */
import { effect, untracked } from '@preact/signals';
import { identity } from '../../edge/identity.ts';
import { conversationId } from '../../ui/route.ts';
import { familyOf } from '../session/branches.ts';
import { partsOf, textOf } from '../session/content.ts';
import { session } from '../session/conversations.ts';
import type { Session } from '../session/session.ts';
import { storeDraft, storedDraft } from '../session/stored-drafts.ts';
import type { Attachment } from './attachments.ts';
import { attachments, draftText, editing, sending } from './draft.ts';

/** What a draft has beside its text. It is kept only while the page is open: files are too large for a tab's storage. */
type Beside = { attachments: Attachment[]; editing: string | undefined };

const besides = new Map<string | undefined, Beside>();
/** Whose draft is in the composer, and which conversation was there then: the one before, until the page has turned. */
let composed: { account: string; family: string | undefined; shown: Session | undefined } | undefined;

/** Stores the draft at each change, and changes it with the conversation. @returns what stops it */
export function keepDrafts(): () => void {
  return effect(() => {
    // By the URL: after a reload the conversation itself is there a moment later, and somebody may type before.
    const id = conversationId.value;
    const shown = session.value;
    const current = shown?.id === id ? shown : undefined;
    const { account } = identity.value;
    const family = id && familyOf(id);
    untracked(() => turnTo(account, family, shown));
    storeDraft(family, [unsentText(current), draftText.value].filter(Boolean).join('\n\n'));
  });
}

function turnTo(account: string, family: string | undefined, shown: Session | undefined): void {
  const before = composed;
  composed = { account, family, shown };
  if (before?.account !== account) besides.clear();
  else if (before.family === family) return;
  else if (before.family === undefined && shown !== before.shown && shown?.loaded.value) {
    // It was created here: what was typed meanwhile belongs to it.
    storeDraft(undefined, '');
    return;
  } else besides.set(before.family, { attachments: attachments.value, editing: editing.value });
  const beside = besides.get(family);
  draftText.value = storedDraft(family);
  attachments.value = beside?.attachments ?? [];
  editing.value = beside?.editing;
}

/** @returns the text of a question that the edge does not have, as far as one knows here */
function unsentText(current: Session | undefined): string {
  const live = current?.live.value;
  const isThere = live !== undefined && current?.arrived.value;
  if (isThere) untracked(() => (sending.value = undefined));
  const unsent = live ? live.asked : (current?.failure.value?.asked ?? sending.value);
  return isThere || unsent === undefined ? '' : textOf(partsOf(unsent));
}
