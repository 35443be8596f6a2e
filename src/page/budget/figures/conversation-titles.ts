/** Keeps how the conversations of one's own account are called. Those of others have only ids. */

import { useEffect } from 'preact/hooks';
import { getClient } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';
import { hasUnrestrictedScope, identity } from '../../edge/identity.ts';
import { shownAccount } from './report.ts';

const MAX_TITLES = 1_000;
/** Ids that callers chose are shorter, and made to be read. */
const MAX_SHOWN_ID_CHARACTERS = 20;
const SHOWN_ID_CHARACTERS = 8;

const titles = createTokenSignal<ReadonlyMap<string, string>>(new Map());

/** Loads the titles of the newest conversations where a list names those of one's own account. */
export function useConversationTitles(): void {
  const { account } = identity.value;
  // GET /conversations
  const isReadable = hasUnrestrictedScope('messages') && shownAccount.value === account;
  useEffect(() => {
    if (!isReadable) return;
    getClient()
      .conversations.list({ limit: MAX_TITLES })
      .then(({ data }) => {
        titles.value = new Map(data.flatMap(({ id, title }) => (title === null ? [] : [[`${account} ${id}`, title]])));
      })
      // Ignore an error here: without titles, the list shows ids.
      .catch(() => {});
  }, [account, isReadable]);
}

/** @returns the title of a conversation; if it has none here, the beginning of its id */
export function getConversationLabel(id: string, account: string): string {
  const short = id.length > MAX_SHOWN_ID_CHARACTERS ? `${id.slice(0, SHOWN_ID_CHARACTERS)}…` : id;
  return titles.value.get(`${account} ${id}`) ?? short;
}
