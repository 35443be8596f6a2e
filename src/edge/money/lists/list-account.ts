/** Adds accounts to the list of accounts, in which an admin sees all of them and can find a request by its id. */

import { getAccountMark } from '../../auth/account-mark.ts';
import { storeMark } from '../../auth/account-mark-index.ts';
import type { RequestContext } from '../../auth/context.ts';
import { accountList } from '../../kit/kv/name-list.ts';
import { type AccountTarget, callAccount } from '../contracts/call-account.ts';

/** Adds an account to the list of accounts, and records that in the account's object. */
export async function addToAccountList(request: AccountTarget & Pick<RequestContext, 'store'>): Promise<void> {
  const { store, settings, identity } = request;
  const mark = await getAccountMark(identity.account, settings);
  if (mark !== undefined) await storeMark(store, mark, identity.account);
  await accountList.addName(store, identity.account);
  await callAccount(request, (account) => account.markInAccountList());
}

/** Adds an account to the list if an admin has given it something. (It may never have sent a request.) */
export function addNamedAccountToList(request: RequestContext, account: string): void {
  const named = { ...request, identity: { account }, stub: undefined };
  request.waitUntil(
    callAccount(named, (object) => object.isInAccountList()).then(async (isListed) => {
      if (!isListed) await addToAccountList(named);
    }),
  );
}
