import type { Context } from 'hono';
import { accountList, operatorList } from '../kit/kv/name-list.ts';
import { getAllAccountMarks } from './account-mark.ts';
import { findAccountByMark, storeMark } from './account-mark-index.ts';
import type { AppEnv } from './context.ts';

/**
 * Yields the accounts that a mark in an id may belong to: the account for which the mark was noted, then the caller's own, then
 * every listed account with this mark.
 */
export async function* iterateAccountsOfMark(c: Context<AppEnv>, mark: string): AsyncGenerator<string> {
  const { STORE } = c.env;
  const noted = await findAccountByMark(STORE, mark);
  const tried = new Set([...(noted === null ? [] : [noted]), c.get('identity').account]);
  yield* tried;
  // Search both lists: an account that has used only operator tokens may be missing from the list of accounts that have sent
  // requests to a model.
  for (const list of [operatorList, accountList])
    for await (const account of list.iterateNames(STORE)) {
      if (tried.has(account) || !(await getAllAccountMarks(account, c.get('settings'))).includes(mark)) continue;
      tried.add(account);
      c.get('entry').keepAliveFor(storeMark(STORE, mark, account));
      yield account;
    }
}
