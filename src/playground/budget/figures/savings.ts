import type { PrefixStats } from '../../../client/index.ts';
import { prefixes, refreshPrefixes } from '../../edge/account.ts';
import { edge } from '../../edge/client.ts';

/** The savings of one prefix. */
export interface Saving {
  name: string;
  total: PrefixStats['total'];
}

export async function savingsOf(): Promise<Saving[]> {
  await refreshPrefixes();
  return await Promise.all(
    prefixes.value.map(async ({ name }) => ({ name, total: (await edge().prefixes.stats(name)).total })),
  );
}
