import type { AccountState } from '../../money/account/account-state.ts';
import { type AlertToRaise, areAlertsDelivered } from '../../money/alerts/alert-outbox.ts';
import { createBudgetWindows } from '../../money/budget/budget-windows.ts';
import { createOverHoldAlert, findReachedThresholds } from '../../money/budget/thresholds.ts';
import type { Plugin } from '../plugin.ts';
import { pools } from '../pools/plugin.ts';
import { METRICS_ROUTES } from './metrics.route.ts';
import { OVERVIEW_ROUTES } from './overview.route.ts';

/**
 * Raises the alerts that are due by the account's sums. It costs little if its limits have no `alerts`.
 *
 * @param overHold the id of a request that has just cost more than its hold
 */
function raiseDueAccountAlerts(state: AccountState, overHold?: string): void {
  const { accountId, limits, budget } = state;
  const { alerts: shares } = limits.effectiveLimits;
  if (accountId === undefined || (shares === undefined && overHold === undefined)) return;
  const node = { type: 'account' as const, id: accountId };
  const now = budget.last;
  const due: AlertToRaise[] = [];
  if (shares !== undefined) {
    const limited = createBudgetWindows(budget, limits.decisionRules).filter(
      ({ name }) => limits.effectiveLimits[name as 'usd_total'] !== undefined,
    );
    due.push(...findReachedThresholds(node, limited, shares, now));
  }
  if (overHold !== undefined && (shares !== undefined || areAlertsDelivered(state.env))) {
    due.push(createOverHoldAlert(node, overHold, now));
  }
  if (due.length > 0) state.alerts.storeAndSendAlerts(due, accountId);
}

/** What operators look at: metrics, and when they are alerted. */
export const operator: Plugin = {
  name: 'operator',
  // The sums of all accounts are in the shared budgets' objects.
  needs: [pools],
  account: { summed: raiseDueAccountAlerts, due: ({ alerts }) => alerts.sendUnconfirmedAlerts() },
  routes: [...METRICS_ROUTES, ...OVERVIEW_ROUTES],
};
