import type { Account } from './account.ts';

/** The binding that accounts' objects are reached by. */
export interface AccountBinding {
  ACCOUNT: DurableObjectNamespace<Account>;
}

/**
 * Reaches an account's object.
 *
 * @param settings `JURISDICTION` is part of the object's id: another one is another, empty account
 */
export function accountStub(
  env: AccountBinding,
  settings: { JURISDICTION?: string | undefined },
  accountId: string,
): DurableObjectStub<Account> {
  const namespace = settings.JURISDICTION
    ? env.ACCOUNT.jurisdiction(settings.JURISDICTION as DurableObjectJurisdiction)
    : env.ACCOUNT;
  return namespace.get(namespace.idFromName(accountId));
}
