import { identity } from '../edge/identity.ts';
import { Later, type Load } from '../edge/later.tsx';
import { BUDGET_VIEWS, type BudgetView, budgetView } from '../ui/route.ts';
import { Tabs } from '../ui/tabs.tsx';
import { account, goToView } from './figures/report.ts';

const VIEW_NAMES: Record<BudgetView, string> = { overview: 'Overview', accounts: 'Accounts', requests: 'Requests' };
const VIEWS: Record<BudgetView, Load> = {
  overview: async () => (await import('./overview.tsx')).BudgetOverview,
  accounts: async () => (await import('./accounts.tsx')).BudgetAccounts,
  requests: async () => (await import('./requests.tsx')).BudgetRequests,
};

/** Shows what was spent, by whom, and each request. Everybody but an admin has one account only: their own. */
export function Budget() {
  const { admin } = identity.value;
  const views = BUDGET_VIEWS.filter((view) => admin || view !== 'accounts');
  const tabs = views.map((view) => ({
    name: VIEW_NAMES[view],
    content: () => (
      <div class="stack budget-view">
        <Later key={view} load={VIEWS[view]} />
      </div>
    ),
  }));
  return (
    <div class="page budget">
      <header class="apart page-head">
        <h1>Budget</h1>
        {!admin && <span class="tag">{account.value}</span>}
      </header>
      <div>
        <Tabs
          label="Budget"
          tabs={tabs}
          shown={Math.max(0, views.indexOf(budgetView.value))}
          onChoose={(at) => goToView(views[at] ?? 'overview')}
        />
      </div>
    </div>
  );
}
