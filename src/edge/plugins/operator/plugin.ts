import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { JustSettledRequest } from '../../money/account/hooks.ts';
import { type AlertToRaise, areAlertsDelivered } from '../../money/alerts/alert-outbox.ts';
import { createOverHoldAlert } from '../../money/alerts/create-alert.ts';
import { findReachedThresholds } from '../../money/alerts/thresholds.ts';
import { createBudgetWindows } from '../../money/budget/budget-windows.ts';
import type { ChangeInTransit } from '../../money/changes/change-outbox.ts';
import type { Plugin } from '../plugin.ts';
import { pools } from '../pools/plugin.ts';
import { eraseNamesInChangeList, getChangeList, sendToChangeList } from './change-list.ts';
import { CHANGE_ROUTES } from './changes.route.ts';
import { ErasedChangeNames } from './erased-changes.ts';
import { findExpensiveRunAlert } from './expensive-runs.ts';
import { METRICS_ROUTES } from './metrics.route.ts';
import { OVERVIEW_ROUTES } from './overview.route.ts';

/**
 * Raises the alerts that are due by the account's sums. It costs little if its limits have no `alerts`.
 *
 * @param settled the request that has changed the sums
 */
function raiseDueAccountAlerts(state: AccountState, settled?: JustSettledRequest): void {
  const { accountId, limits, budget } = state;
  const { alerts: shares } = limits.effectiveLimits;
  if (accountId === undefined) return;
  const node = { type: 'account' as const, id: accountId };
  const now = budget.last;
  const due: AlertToRaise[] = [];
  if (shares !== undefined) {
    const limited = createBudgetWindows(budget, limits.decisionRules).filter(
      ({ name }) => limits.effectiveLimits[name as 'usd_total'] !== undefined,
    );
    due.push(...findReachedThresholds(node, limited, shares, now));
  }
  if (settled?.overHold && (shares !== undefined || areAlertsDelivered(state.env))) {
    due.push(createOverHoldAlert(node, settled.requestId, now));
  }
  const expensive = settled && findExpensiveRunAlert(state, settled);
  if (expensive) due.push(expensive);
  if (due.length > 0) state.alerts.storeAndSendAlerts(due, accountId);
}

/** What operators look at: metrics, changes, and when they are alerted. */
export const operator: Plugin = {
  name: 'operator',
  // Requires `pools`, because the operator's reports read the sums of all accounts, which the pools' objects store.
  needs: [pools],
  account: {
    methods: {
      recordChanges: (state, changes) => getChangeList(state).recordChanges(JSON.parse(changes) as ChangeInTransit[]),
      listChanges: (state, query) => getChangeList(state).listChanges(query),
      eraseChangeNames: (state, account, until) => getChangeList(state).eraseAccountNames(account, until),
    },
    summed: raiseDueAccountAlerts,
    async due(state) {
      await state.changes.sendUnconfirmedChanges();
      if (state.accountId === DEPLOYMENT) getChangeList(state).deleteExpired();
    },
    listKept: (state) => new ErasedChangeNames(state),
    isErasedWithinCall: true,
    async erase({ env }, { account, id: until }) {
      await eraseNamesInChangeList(env, account, Number(until));
      return true;
    },
  },
  changeList: sendToChangeList,
  routes: [...METRICS_ROUTES, ...OVERVIEW_ROUTES, ...CHANGE_ROUTES],
};
