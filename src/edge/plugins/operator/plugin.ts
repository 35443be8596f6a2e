import type { AccountState } from '../../money/account/account-state.ts';
import { type DueAlert, hasAlertUrl } from '../../money/alerts/alert-outbox.ts';
import { budgetWindows } from '../../money/budget/budget-windows.ts';
import { findReachedThresholds, overHoldAlert } from '../../money/budget/thresholds.ts';
import type { Plugin } from '../plugin.ts';
import { pools } from '../pools/plugin.ts';
import { METRICS_ROUTES } from './metrics.route.ts';
import { OVERVIEW_ROUTES } from './overview.route.ts';

/**
 * Raises the alerts that are due by the account's sums. It costs little if its limits have no `alerts`.
 *
 * @param overHold the id of a request that has just cost more than its hold
 */
function raiseAlerts(state: AccountState, overHold?: string): void {
  const { accountId, limits, budget } = state;
  const { alerts: shares } = limits.limits;
  if (accountId === undefined || (shares === undefined && overHold === undefined)) return;
  const node = { type: 'account' as const, id: accountId };
  const now = budget.last;
  const due: DueAlert[] = [];
  if (shares !== undefined) {
    const limited = budgetWindows(budget, limits.rules).filter(
      ({ name }) => limits.limits[name as 'usd_total'] !== undefined,
    );
    due.push(...findReachedThresholds(node, limited, shares, now));
  }
  if (overHold !== undefined && (shares !== undefined || hasAlertUrl(state.env))) {
    due.push(overHoldAlert(node, overHold, now));
  }
  if (due.length > 0) state.alerts.raise(due, accountId);
}

/** What operators look at: metrics, and when they are alerted. */
export const operator: Plugin = {
  name: 'operator',
  // The sums of all accounts are in the shared budgets' objects.
  needs: [pools],
  account: { summed: raiseAlerts, due: ({ alerts }) => alerts.send() },
  routes: [...METRICS_ROUTES, ...OVERVIEW_ROUTES],
};
