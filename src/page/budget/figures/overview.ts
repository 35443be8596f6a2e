/** Loads what an admin sees of the whole deployment: the shared budget and its alerts; accounts and groups. */

import { signal } from '@preact/signals';
import type { Page } from '../../../client/index.ts';
import type {
  AccountSpendRow,
  AlertRow,
  DeploymentReport,
  PoolQuotaReport,
  ServedPath,
} from '../../../edge/answers.ts';
import { readJson } from '../../edge/client.ts';
import { poll } from '../../edge/poll.ts';
import { patchLimits } from './patch-limits.ts';

export const PERIODS = ['day', 'week', 'month'] as const;
export type Period = (typeof PERIODS)[number];

/** A row of the table: somebody who spends. */
export interface Spender {
  kind: 'account' | 'group';
  id: string;
  group: string | null;
  spent: Record<Period, number>;
  limit: Record<Period, number | null>;
  seen: string | null;
}

/** The deployment's shared budget; undefined where it has none. */
export const deployment = signal<PoolQuotaReport | undefined>(undefined);
/** Undefined until they are known. */
export const spenders = signal<Spender[] | undefined>(undefined);
/** The last alerts; undefined until they are known. */
export const alerts = signal<AlertRow[] | undefined>(undefined);
export const overviewFault = signal<string | undefined>(undefined);
export const spendersFault = signal<string | undefined>(undefined);

const OVERVIEW_EVERY_MS = 10_000;
const AT_ONCE = 1_000;
const MOST_PAGES = 10;
const MOST_GROUPS = 100;
const ALERTS = 10;

/** Keeps the shared budget and the alerts up to date while the page is visible. */
export function keepOverview(): () => void {
  const look = async (isCurrent: () => boolean) => {
    const [shared, told] = await Promise.all([sharedBudget(), listOf<AlertRow>('/alerts', { limit: ALERTS })]);
    if (!isCurrent()) return;
    deployment.value = shared;
    alerts.value = told.data;
  };
  return poll(look, OVERVIEW_EVERY_MS, overviewFault);
}

/** Keeps the accounts and groups up to date while the page is visible. */
export function keepSpenders(): () => void {
  const look = async (isCurrent: () => boolean) => {
    const rows = await everySpender();
    if (isCurrent()) spenders.value = rows;
  };
  return poll(look, OVERVIEW_EVERY_MS, spendersFault);
}

/** Sets the limit of a row in a window; null removes it. @throws SluiceError in the words of the edge */
export async function changeLimit({ kind, id }: Spender, period: Period, usd: number | null): Promise<void> {
  const quota = await patchLimits(kind, id, { [`usd_per_${period}`]: usd });
  const limit = byPeriod((one) => quota[one].limit_usd);
  spenders.value = spenders.value?.map((row) => (row.kind === kind && row.id === id ? { ...row, limit } : row));
}

/** @returns the budget that all accounts share; undefined where they share none. */
async function sharedBudget(): Promise<PoolQuotaReport | undefined> {
  const { limits, ...quota } = await readJson<DeploymentReport>('/pools/deployment');
  return limits === null ? undefined : { ...quota, limits };
}

async function everySpender(): Promise<Spender[]> {
  const groups = await everyGroup();
  const rows: Spender[] = [];
  let after: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages += 1) {
    const query = { limit: AT_ONCE, sort: 'spent', ...(after ? { after_id: after } : {}) };
    const page = await listOf<AccountSpendRow>('/accounts', query);
    for (const { id, group, spent_usd, limit_usd, last_seen_at } of page.data)
      rows.push({ kind: 'account', id, group, spent: spent_usd, limit: limit_usd, seen: last_seen_at });
    after = page.last_id ?? undefined;
    if (!page.has_more) break;
  }
  return [...groups.map((group) => ({ ...group, seen: lastSeen(rows, group.id) })), ...rows];
}

/** @returns the names of the groups */
export async function groupNames(): Promise<string[]> {
  return (await listOf<{ id: string }>('/groups', { limit: MOST_GROUPS })).data.map(({ id }) => id);
}

async function everyGroup(): Promise<Spender[]> {
  const { data } = await listOf<PoolQuotaReport & { id: string }>('/groups', { limit: MOST_GROUPS });
  return data.map(({ id, ...stands }) => ({
    kind: 'group' as const,
    id,
    group: null,
    spent: byPeriod((period) => stands[period].spent_usd),
    limit: byPeriod((period) => stands[period].limit_usd),
    seen: null,
  }));
}

function lastSeen(rows: readonly Spender[], group: string): string | null {
  return rows.reduce<string | null>((last, row) => {
    return row.group === group && row.seen !== null && (last === null || row.seen > last) ? row.seen : last;
  }, null);
}

function byPeriod<T>(read: (period: Period) => T): Record<Period, T> {
  return { day: read('day'), week: read('week'), month: read('month') };
}

function listOf<T>(path: ServedPath, query: Record<string, string | number>): Promise<Page<T>> {
  return readJson<Page<T>>(path, { query });
}
