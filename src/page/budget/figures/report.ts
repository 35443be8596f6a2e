/** Loads what the page shows of an account. */

import { computed, effect, untracked } from '@preact/signals';
import type { UsageReport } from '../../../client/index.ts';
import { type AccountQuota, createAccountQuery, readAccountQuota, setSpentToday } from '../../edge/account.ts';
import { getClient } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';
import { identity } from '../../edge/identity.ts';
import { pollWhileVisible } from '../../edge/poll.ts';
import { budgetName, budgetView } from '../../ui/route.ts';
import { formatDateDaysAgo } from './days.ts';

/** The account that is shown: the one that the URL names to an operator, or one's own. */
export const shownAccount = computed(() => {
  const { account: own, operator } = identity.value;
  const isNamed = operator && (budgetView.value === 'accounts' || budgetView.value === 'requests');
  return (isNamed ? budgetName.value : undefined) ?? own;
});
/** The account or group to which a link is leading. */
export const focusTarget = createTokenSignal<string | undefined>(undefined);
export const reportedQuota = createTokenSignal<AccountQuota | undefined>(undefined);
export const dailySpend = createTokenSignal<DaySpend[]>([]);
export const usageByModel = createTokenSignal<UsageReport | undefined>(undefined);
export const reportFault = createTokenSignal<string | undefined>(undefined);

const REPORT_POLL_MS = 2_000;

/** The spending of one day, by model. */
export interface DaySpend {
  /** `YYYY-MM-DD`, in UTC. */
  day: string;
  /** In US dollars, the most expensive model first. */
  models: { model: string; usd: number }[];
  usd: number;
  /** How fast its requests were; undefined if there were none. */
  speed?: UsageReport['total']['speed'] | undefined;
}

const SPEND_DAYS = 14;

/** Keeps everything up to date while the page is visible. */
export function pollShownAccountReport(): () => void {
  return effect(() => {
    const name = shownAccount.value;
    return untracked(() => pollAccountReport(name));
  });
}

function pollAccountReport(name: string): () => void {
  // Clear the figures of the previous account, so that they are not shown as those of this one.
  reportedQuota.value = undefined;
  dailySpend.value = [];
  usageByModel.value = undefined;
  let drawn: string | undefined;
  const readAccountReport = async (isCurrent: () => boolean) => {
    const stands = await readAccountQuota(name);
    if (!isCurrent()) return;
    reportedQuota.value = stands;
    const { account: own, operator } = identity.value;
    if (name === own && !operator) setSpentToday(stands);
    // The totals change only when a request is settled and at midnight, so read them again only then.
    const standing = `${formatDateDaysAgo(0)} ${stands.month.settled_usd}`;
    if (standing === drawn) return;
    const [days, models] = await Promise.all([
      readDailySpend(name),
      getClient().usage({ group_by: 'model', ...createAccountQuery(name) }),
    ]);
    if (!isCurrent()) return;
    drawn = standing;
    dailySpend.value = days;
    usageByModel.value = models;
  };
  return pollWhileVisible(readAccountReport, REPORT_POLL_MS, reportFault);
}

/** @returns what an account, or everybody, has spent on each day of the last two weeks, today last */
export async function readDailySpend(account?: string): Promise<DaySpend[]> {
  const days = Array.from({ length: SPEND_DAYS }, (_, index) => formatDateDaysAgo(SPEND_DAYS - 1 - index));
  const tomorrow = formatDateDaysAgo(-1);
  const of = account === undefined ? {} : createAccountQuery(account);
  const report = await getClient().usage({ from: days[0] ?? '', to: tomorrow, group_by: 'day', ...of });
  const sums = new Map(report.data.map((sum) => [sum.key, sum]));
  return await Promise.all(
    days.map(async (day, index) => {
      const { cost_usd: usd = 0, speed } = sums.get(day) ?? {};
      if (usd === 0) return { day, usd, models: [], speed };
      const to = days[index + 1] ?? tomorrow;
      const { data } = await getClient().usage({ from: day, to, group_by: 'model', ...of });
      return { day, usd, speed, models: data.map(({ key, cost_usd }) => ({ model: key ?? 'unknown', usd: cost_usd })) };
    }),
  );
}
