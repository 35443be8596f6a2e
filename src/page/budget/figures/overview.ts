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
import { tellSpent } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { poll, pollInto } from '../../edge/poll.ts';
import { exactUsd, formatShare } from '../../ui/format.ts';
import { dayAgo } from './days.ts';
import { patchLimits } from './patch-limits.ts';
import { type DaySpend, spendPerDay } from './report.ts';

export const PERIODS = ['day', 'week', 'month'] as const;
export type Period = (typeof PERIODS)[number];

/** A row of the table: somebody who spends. */
export interface Spender {
  kind: 'account' | 'group';
  id: string;
  group: string | null;
  spent: Record<Period, number>;
  limit: Record<Period, number | null>;
  tightest: AccountSpendRow['tightest'];
  blocked: boolean;
  seen: string | null;
}

/** What everybody has spent; its `limits` are null where accounts share no budget. */
export const deployment = signal<DeploymentReport | undefined>(undefined);
export const deploymentSpend = signal<DaySpend[]>([]);
/** Undefined until they are known. */
export const spenders = signal<Spender[] | undefined>(undefined);
/** The last alerts; undefined until they are known. */
export const alerts = signal<AlertRow[] | undefined>(undefined);
export const overviewFault = signal<string | undefined>(undefined);
export const alertsFault = signal<string | undefined>(undefined);
export const spendersFault = signal<string | undefined>(undefined);

const OVERVIEW_EVERY_MS = 10_000;
const AT_ONCE = 1_000;
const MOST_PAGES = 10;
const MOST_GROUPS = 100;
const ALERTS = 10;

/** Keeps what everybody has spent up to date while the page is visible. */
export function keepOverview(): () => void {
  let drawn: string | undefined;
  const look = async (isCurrent: () => boolean) => {
    const shared = await readJson<DeploymentReport>('/pools/deployment');
    if (!isCurrent()) return;
    deployment.value = shared;
    tellSpent(undefined, shared);
    // The days change only when something is spent, and at midnight.
    const known = `${dayAgo(0)} ${shared.total.spent_usd}`;
    if (known === drawn) return;
    const days = await spendPerDay();
    if (!isCurrent()) return;
    drawn = known;
    deploymentSpend.value = days;
  };
  return poll(look, OVERVIEW_EVERY_MS, overviewFault);
}

/** Keeps the alerts up to date while the page is visible: also while what was spent cannot be read. */
export function keepAlerts(): () => void {
  const read = async () => (await listOf<AlertRow>('/alerts', { limit: ALERTS })).data;
  return pollInto(alerts, read, OVERVIEW_EVERY_MS, alertsFault);
}

/** Keeps the accounts and groups up to date while the page is visible. */
export function keepSpenders(): () => void {
  return pollInto(spenders, everySpender, OVERVIEW_EVERY_MS, spendersFault);
}

/** Sets the limit of a row in a window; null removes it. @throws SluiceError in the words of the edge */
export async function changeLimit({ kind, id }: Spender, period: Period, usd: number | null): Promise<void> {
  const quota = await patchLimits(kind, id, { [`usd_per_${period}`]: usd });
  const limit = byPeriod((one) => quota[one].limit_usd);
  spenders.value = spenders.value?.map((row) => (row.kind === kind && row.id === id ? { ...row, limit } : row));
}

async function everySpender(): Promise<Spender[]> {
  const groups = await everyGroup();
  const rows: Spender[] = [];
  let after: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages += 1) {
    const query = { limit: AT_ONCE, sort: 'spent', ...(after ? { after_id: after } : {}) };
    const page = await listOf<AccountSpendRow>('/accounts', query);
    for (const { spent_usd: spent, limit_usd: limit, last_seen_at: seen, ...row } of page.data)
      rows.push({ ...row, kind: 'account', spent, limit, seen });
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
  return data.map(({ id, ...stands }) => {
    const tightest = tightestOf(stands);
    return {
      kind: 'group' as const,
      id,
      group: null,
      spent: byPeriod((period) => stands[period].spent_usd),
      limit: byPeriod((period) => stands[period].limit_usd),
      tightest,
      blocked: tightest?.limit_usd === 0,
      seen: null,
    };
  });
}

/** @returns the limit of a group that is used up most, or one of 0, which refuses everything; null where it has none */
function tightestOf(stands: PoolQuotaReport): Spender['tightest'] {
  const limits = (['hour', ...PERIODS, 'total'] as const).flatMap((window) => {
    const { limit_usd, spent_usd } = stands[window];
    const limit = window === 'total' ? ('usd_total' as const) : (`usd_per_${window}` as const);
    const resets_at = window === 'total' ? null : stands[window].resets_at;
    return limit_usd === null ? [] : [{ limit, token: null, limit_usd, used_usd: spent_usd, resets_at }];
  });
  const none = limits.find(({ limit_usd }) => limit_usd === 0);
  return none ?? limits.sort((left, right) => usedShare(right) - usedShare(left))[0] ?? null;
}

/** @returns how much of a limit is used, from 0 upwards; all of one that is 0 */
export function usedShare({ limit_usd, used_usd }: { limit_usd: number; used_usd: number }): number {
  return limit_usd === 0 ? 1 : used_usd / limit_usd;
}

const WINDOW_NAMES = {
  usd_per_hour: 'an hour',
  usd_per_day: 'a day',
  usd_per_week: 'a week',
  usd_per_month: 'a month',
  usd_total: 'in all',
} as const;

/** @returns a limit as one says it, with how much of it is used: `$0.0005 a day, 68%` */
export function sayTightest(tightest: Spender['tightest']): string {
  if (!tightest) return 'none';
  const { limit, limit_usd, token } = tightest;
  const whose = token === null ? '' : ' of a token';
  return `${exactUsd(limit_usd)} ${WINDOW_NAMES[limit]}${whose}, ${formatShare(usedShare(tightest))}`;
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
