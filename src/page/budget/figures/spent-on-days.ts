/** Loads what was spent on the chosen days. */
import { effect, signal, untracked } from '@preact/signals';
import type { UsageReport } from '../../../client/index.ts';
import { readJson } from '../../edge/client.ts';
import { pollInto } from '../../edge/poll.ts';

const SPENT_EVERY_MS = 10_000;

/** @returns a report, the dearest first, which is undefined until it is known; why it is not; what keeps it up to date */
export function spentOnDays(
  query: () => { from: string; to: string; group_by: string; account?: string; key?: string; limit?: number },
) {
  const report = signal<UsageReport | undefined>(undefined);
  const fault = signal<string | undefined>(undefined);
  const keep = () =>
    effect(() => {
      query();
      return untracked(() => {
        report.value = undefined;
        // “Today” is another day after midnight.
        const read = () => readJson<UsageReport>('/usage', { query: query() });
        return pollInto(report, read, SPENT_EVERY_MS, fault);
      });
    });
  return { report, fault, keep };
}
