/** Loads what an admin sees of the whole deployment. */

import { signal } from '@preact/signals';
import type { DeploymentReport, Overview } from '../../../edge/answers.ts';
import { setSpentToday } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { poll, pollInto } from '../../edge/poll.ts';
import { formatDayAgo } from './days.ts';
import { type DaySpend, readSpendPerDay } from './report.ts';

/** What everybody has spent; its `limits` are null where accounts share no budget. */
export const deploymentReport = signal<DeploymentReport | undefined>(undefined);
export const deploymentSpend = signal<DaySpend[]>([]);
export const overviewFault = signal<string | undefined>(undefined);
/** What is broken; undefined until it is known. */
export const problems = signal<Overview | undefined>(undefined);
export const problemsFault = signal<string | undefined>(undefined);

const OVERVIEW_POLL_MS = 10_000;

/** Keeps what everybody has spent up to date while the page is visible. */
export function pollOverview(): () => void {
  let drawn: string | undefined;
  const readDeployment = async (isCurrent: () => boolean) => {
    const shared = await readJson<DeploymentReport>('/pools/deployment');
    if (!isCurrent()) return;
    deploymentReport.value = shared;
    setSpentToday(undefined, shared);
    // The days change only when something is spent, and at midnight.
    const standing = `${formatDayAgo(0)} ${shared.total.spent_usd}`;
    if (standing === drawn) return;
    const days = await readSpendPerDay();
    if (!isCurrent()) return;
    drawn = standing;
    deploymentSpend.value = days;
  };
  return poll(readDeployment, OVERVIEW_POLL_MS, overviewFault);
}

/** Keeps what is broken up to date: also while what was spent cannot be read. */
export function pollProblems(): () => void {
  return pollInto(problems, () => readJson<Overview>('/overview'), OVERVIEW_POLL_MS, problemsFault);
}
