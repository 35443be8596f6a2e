/** Keeps the account's quota status, which is loaded again when something was spent. */

import { signal } from '@preact/signals';
import type { NamedRow } from '../../client/index.ts';
import { inPath } from '../../client/transport.ts';
import type { accountAnswer, z } from '../../edge/answers.ts';
import { edge, readJson } from './client.ts';
import { identity } from './identity.ts';

export type AccountQuota = z.output<typeof accountAnswer>;

export const quota = signal<AccountQuota | undefined>(undefined);
export const prefixes = signal<NamedRow[]>([]);

let asked = 0;

/** @returns the query for an account. An admin may look at one before it has anything. */
export function ofAccount(account: string) {
  return { account, if_absent: 'empty' } as const;
}

export async function readQuota(account: string): Promise<AccountQuota> {
  const { if_absent } = ofAccount(account);
  return await readJson<AccountQuota>(`/accounts/${inPath(account)}`, { query: { if_absent } });
}

/** Loads the quota status of the user's own account. If several loads overlap, the last one counts. */
export async function refreshQuota(): Promise<void> {
  asked += 1;
  const question = asked;
  const answer = await readQuota(identity.value.account);
  if (question === asked) quota.value = answer;
}

export async function refreshPrefixes(): Promise<void> {
  prefixes.value = (await edge().prefixes.list({ limit: 1_000 })).data;
}
