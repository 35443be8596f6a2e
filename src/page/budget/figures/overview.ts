/** Loads what an admin sees of the whole deployment. */

import type { DeploymentReport, OverviewResponse } from '../../../edge/answers.ts';
import { setSpentToday } from '../../edge/account.ts';
import { deploymentRejection, readJson } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';
import { pollIntoSignal, pollWhileVisible } from '../../edge/poll.ts';
import { formatDateDaysAgo } from './days.ts';
import { type DaySpend, readDailySpend } from './report.ts';

/** The spending of the whole deployment; its `limits` are null if accounts share no budget. */
export const deploymentReport = createTokenSignal<DeploymentReport | undefined>(undefined);
export const deploymentSpend = createTokenSignal<DaySpend[]>([]);
export const overviewFault = createTokenSignal<string | undefined>(undefined);
/** The current problems; undefined until they are known. */
export const problems = createTokenSignal<OverviewResponse | undefined>(undefined);
export const problemsFault = createTokenSignal<string | undefined>(undefined);

const OVERVIEW_POLL_MS = 10_000;

/** Reads what everybody has spent. @throws SluiceError */
export async function readDeploymentReport(): Promise<void> {
  deploymentReport.value = await readJson<DeploymentReport>('/pools/deployment');
}

/** Keeps what everybody has spent up to date, without the days. */
export function pollDeploymentReport(): () => void {
  return pollWhileVisible(readDeploymentReport, OVERVIEW_POLL_MS, overviewFault);
}

/** Keeps what everybody has spent up to date while the page is visible. */
export function pollDeploymentSpend(): () => void {
  let drawn: string | undefined;
  const readDeploymentSpend = async (isCurrent: () => boolean) => {
    const shared = await readJson<DeploymentReport>('/pools/deployment');
    if (!isCurrent()) return;
    deploymentReport.value = shared;
    setSpentToday(undefined, shared);
    // The daily totals change only with new spending and at midnight, so read them again only then.
    const standing = `${formatDateDaysAgo(0)} ${shared.total.spent_usd}`;
    if (standing === drawn) return;
    const days = await readDailySpend();
    if (!isCurrent()) return;
    drawn = standing;
    deploymentSpend.value = days;
  };
  return pollWhileVisible(readDeploymentSpend, OVERVIEW_POLL_MS, overviewFault);
}

/** Keeps what is broken up to date: also while what was spent cannot be read. */
export function pollDeploymentProblems(): () => void {
  return pollIntoSignal(problems, readProblems, OVERVIEW_POLL_MS, problemsFault);
}

/** Reads the problems. The banner above the page, which the page otherwise only loads once, then shows whether the key works now. */
async function readProblems(): Promise<OverviewResponse> {
  const overview = await readJson<OverviewResponse>('/overview');
  const rejections = overview.incidents?.filter(({ kind }) => kind === 'key_refused');
  if (rejections) {
    const [first] = rejections;
    const words = rejections.map(({ todo, subject }) => (subject === null ? todo : `${todo} The error: ${subject}`));
    deploymentRejection.value = first ? { since: first.since, todo: words.join(' ') } : {};
  }
  return overview;
}
