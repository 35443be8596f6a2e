/** Keeps what was spent today, which is loaded again when something was spent. */

import type { NamedResourceRow } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { accountAnswer, DeploymentReport, z } from '../../edge/answers.ts';
import { getClient, readJson } from './client.ts';
import { createTokenSignal } from './credential.ts';
import { identity, isRestricted } from './identity.ts';
import { hasPlugin } from './plugins.ts';

export type AccountQuota = z.output<typeof accountAnswer>;

/** In US dollars: by one's own account, with what is set aside, or for an operator by all accounts. */
export const spentToday = createTokenSignal<{ usd: number; byAll: boolean } | undefined>(undefined);
export const prefixes = createTokenSignal<NamedResourceRow[]>([]);

let readCount = 0;

/** @returns the query for an account. An admin may look at one before it has anything. */
export function createAccountQuery(account: string) {
  return { account, if_absent: 'empty' } as const;
}

export async function readAccountQuota(account: string): Promise<AccountQuota> {
  const { if_absent } = createAccountQuery(account);
  return await readJson<AccountQuota>(`/accounts/${encodePathSegment(account)}`, { query: { if_absent } });
}

/**
 * Shows what was spent today. The deployment's report includes each account within a minute, while the user's own account is up
 * to date.
 */
export function setSpentToday(ownQuota?: AccountQuota, all?: DeploymentReport): void {
  const ownUsd = ownQuota ? ownQuota.day.settled_usd + ownQuota.day.held_usd : 0;
  spentToday.value = { usd: Math.max(ownUsd, all?.day.spent_usd ?? 0), byAll: all !== undefined };
}

/**
 * Loads what was spent today. If several loads overlap, the last one counts. A restricted token does not read amounts.
 *
 * @throws SluiceError if none of it can be read
 */
export async function refreshSpentToday(): Promise<void> {
  if (isRestricted()) return;
  readCount += 1;
  const question = readCount;
  const { account, operator } = identity.value;
  // One of the two reports is enough here, so ignore an error of this one. The Budget page shows it.
  const all =
    operator && hasPlugin('pools') ? readJson<DeploymentReport>('/pools/deployment').catch(() => undefined) : undefined;
  const own = readAccountQuota(account).catch(async (thrown: unknown) => {
    if ((await all) === undefined) throw thrown;
    return undefined;
  });
  const both = await Promise.all([own, all]);
  if (question === readCount) setSpentToday(...both);
}

export async function refreshPrefixList(): Promise<void> {
  prefixes.value = (await getClient().prefixes.list({ limit: 1_000 })).data;
}
