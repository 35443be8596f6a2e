/** Loads what an admin sees of the whole deployment: the shared budget, accounts and groups, alerts. */
import { signal } from '@preact/signals';
import type { AlertRow } from '../../../alerts/alerts-answers.schema.ts';
import type { Page } from '../../../client/index.ts';
import type { AccountSpendRow, DeploymentReport, PoolQuotaReport } from '../../../pools/pools-answers.schema.ts';
import type { AccountQuota } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { poll } from '../../edge/poll.ts';

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
export const spenders = signal<Spender[]>([]);
/** The last alerts; undefined until they are known. */
export const alerts = signal<AlertRow[] | undefined>(undefined);
export const overviewFault = signal<string | undefined>(undefined);

const OVERVIEW_EVERY_MS = 10_000;
const AT_ONCE = 1_000;
const MOST_PAGES = 10;
const MOST_GROUPS = 100;
const ALERTS = 10;

/** Keeps the overview up to date while the page is visible. */
export function keepOverview(): () => void {
  const look = async (isCurrent: () => boolean) => {
    const [shared, told, rows] = await Promise.all([
      sharedBudget(),
      listOf<AlertRow>('/alerts', { limit: ALERTS }),
      everySpender(),
    ]);
    if (!isCurrent()) return;
    deployment.value = shared;
    alerts.value = told.data;
    spenders.value = rows;
  };
  return poll(look, OVERVIEW_EVERY_MS, overviewFault);
}

/** Sets the limit of a row in a window; null removes it. @throws SluiceError in the words of the edge */
export async function changeLimit({ kind, id }: Spender, period: Period, usd: number | null): Promise<void> {
  const name = `usd_per_${period}` as const;
  const path = `/${kind}s/${encodeURIComponent(id)}`;
  if (kind === 'account') {
    const quota = await readJson<AccountQuota>(`${path}/limits`, { method: 'PATCH', body: { [name]: usd } });
    replaceRow(kind, id, {
      spent: byPeriod((one) => quota[one].settled_usd),
      limit: byPeriod((one) => quota[one].limit_usd),
    });
    return;
  }
  const { limits } = await readJson<PoolQuotaReport>(path);
  const { [name]: _, ...others } = limits;
  const body = usd === null ? others : { ...others, [name]: usd };
  const quota = await readJson<PoolQuotaReport>(`${path}/limits`, { method: 'PUT', body });
  replaceRow(kind, id, { limit: byPeriod((one) => quota[one].limit_usd) });
}

function replaceRow(kind: Spender['kind'], id: string, change: Partial<Spender>): void {
  spenders.value = spenders.value.map((row) => (row.kind === kind && row.id === id ? { ...row, ...change } : row));
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
    rows.push(...page.data.map(accountSpender));
    after = page.last_id ?? undefined;
    if (!page.has_more) break;
  }
  return [...groups.map((group) => ({ ...group, seen: lastSeen(rows, group.id) })), ...rows];
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

function accountSpender({ id, group, spent_usd, limit_usd, last_seen_at }: AccountSpendRow): Spender {
  return { kind: 'account', id, group, spent: spent_usd, limit: limit_usd, seen: last_seen_at };
}

function lastSeen(rows: readonly Spender[], group: string): string | null {
  return rows.reduce<string | null>((last, row) => {
    return row.group === group && row.seen !== null && (last === null || row.seen > last) ? row.seen : last;
  }, null);
}

function byPeriod<T>(read: (period: Period) => T): Record<Period, T> {
  return { day: read('day'), week: read('week'), month: read('month') };
}

function listOf<T>(path: string, query: Record<string, string | number>): Promise<Page<T>> {
  return readJson<Page<T>>(path, { query });
}
