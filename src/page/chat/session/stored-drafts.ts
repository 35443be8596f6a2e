/** Keeps drafts in the tab, so that a reload loses none. They go with the tab, as its token does. */
import { identity } from '../../edge/identity.ts';

/** @param family the conversation with its copies; undefined for a new one */
function keyOf(family: string | undefined): string {
  return `sluice-draft ${identity.peek().account} ${family ?? ''}`;
}

export function storedDraft(family: string | undefined): string {
  return sessionStorage.getItem(keyOf(family)) ?? '';
}

/** Stores a draft. @param text empty removes it */
export function storeDraft(family: string | undefined, text: string): void {
  try {
    if (text === '') sessionStorage.removeItem(keyOf(family));
    else sessionStorage.setItem(keyOf(family), text);
  } catch {
    // The tab has no room for it. It is still in its field.
  }
}
