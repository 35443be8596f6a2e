/** Loads what an admin sees of the whole deployment. */

import { signal } from '@preact/signals';
import type { DeploymentReport, Overview } from '../../../edge/answers.ts';
import { tellSpent } from '../../edge/account.ts';
import { readJson } from '../../edge/client.ts';
import { poll, pollInto } from '../../edge/poll.ts';
import { dayAgo } from './days.ts';
import { type DaySpend, spendPerDay } from './report.ts';

/** What everybody has spent; its `limits` are null where accounts share no budget. */
export const deployment = signal<DeploymentReport | undefined>(undefined);
export const deploymentSpend = signal<DaySpend[]>([]);
export const overviewFault = signal<string | undefined>(undefined);
/** What is broken; undefined until it is known. */
export const broken = signal<Overview | undefined>(undefined);
export const brokenFault = signal<string | undefined>(undefined);

const OVERVIEW_EVERY_MS = 10_000;

/** Keeps what everybody has spent up to date while the page is visible. */
export function keepOverview(): () => void {
  let drawn: string | undefined;
  const look = async (isCurrent: () => boolean) => {
    const shared = await readJson<DeploymentReport>('/pools/deployment');
    if (!isCurrent()) return;
    deployment.value = shared;
    tellSpent(undefined, shared);
    // The days change only when something is spent, and at midnight.
    const standing = `${dayAgo(0)} ${shared.total.spent_usd}`;
    if (standing === drawn) return;
    const days = await spendPerDay();
    if (!isCurrent()) return;
    drawn = standing;
    deploymentSpend.value = days;
  };
  return poll(look, OVERVIEW_EVERY_MS, overviewFault);
}

/** Keeps what is broken up to date: also while what was spent cannot be read. */
export function keepBroken(): () => void {
  return pollInto(broken, () => readJson<Overview>('/overview'), OVERVIEW_EVERY_MS, brokenFault);
}
