/** Keeps what was spent today, which is loaded again when something was spent. */

import { signal } from '@preact/signals';
import type { NamedRow } from '../../client/index.ts';
import { inPath } from '../../client/transport.ts';
import type { accountAnswer, DeploymentReport, z } from '../../edge/answers.ts';
import { edge, readJson } from './client.ts';
import { identity } from './identity.ts';

export type AccountQuota = z.output<typeof accountAnswer>;

/** In US dollars, with what is set aside: by one's own account, or for an admin by the whole deployment. */
export const spentToday = signal<number | undefined>(undefined);
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

/** Loads what was spent today. If several loads overlap, the last one counts. */
export async function refreshSpent(): Promise<void> {
  asked += 1;
  const question = asked;
  const { account, admin } = identity.value;
  // The deployment hears of each account within a minute: what oneself has spent is known before. Why it cannot be read, Budget says.
  const all = admin ? readJson<DeploymentReport>('/pools/deployment').catch(() => undefined) : undefined;
  const [{ day }, everybody] = await Promise.all([readQuota(account), all]);
  if (question === asked) spentToday.value = Math.max(day.settled_usd + day.held_usd, everybody?.day.spent_usd ?? 0);
}

export async function refreshPrefixes(): Promise<void> {
  prefixes.value = (await edge().prefixes.list({ limit: 1_000 })).data;
}
