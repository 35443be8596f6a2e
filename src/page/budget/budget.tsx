import { identity } from '../edge/identity.ts';
import { Later, type Load } from '../edge/later.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { type BudgetView, budgetName, budgetView, go } from '../ui/route.ts';
import { Tabs } from '../ui/tabs.tsx';
import { account } from './figures/report.ts';

/** The tabs, each with the views that stand in it. Where there are several, the first is shown at first. */
const TABS: readonly { name: string; views: readonly BudgetView[]; isForAdmins?: boolean }[] = [
  { name: 'Overview', views: ['overview'] },
  { name: 'Accounts', views: ['accounts', 'groups'], isForAdmins: true },
  { name: 'Requests', views: ['requests', 'refused', 'failed', 'webhooks'] },
];

const LOADS = {
  overview: async () => (await import('./overview.tsx')).BudgetOverview,
  accounts: async () => (await import('./accounts.tsx')).BudgetAccounts,
  account: async () => (await import('./account-view.tsx')).AccountView,
  group: async () => (await import('./group-view.tsx')).GroupView,
  requests: async () => (await import('./requests.tsx')).BudgetRequests,
} satisfies Record<string, Load>;

/** Shows what was spent, by whom, and each request. Everybody but an admin has one account only: their own. */
export function Budget() {
  const { admin } = identity.value;
  const tabs = TABS.filter(({ isForAdmins }) => admin || !isForAdmins);
  const load = loadFor(budgetView.value, budgetName.value !== undefined);
  const content = () => (
    <div class="stack budget-view">
      <Later key={load} load={load} />
    </div>
  );
  return (
    <div class="page budget">
      <header class="apart page-head">
        <h1>Budget</h1>
        {!admin && <span class="tag">{account.value}</span>}
      </header>
      <div>
        <Tabs
          label="Budget"
          tabs={tabs.map(({ name }) => ({ name, content }))}
          shown={Math.max(
            0,
            tabs.findIndex(({ views }) => views.includes(budgetView.value)),
          )}
          onChoose={(at) => go('budget', tabs[at]?.views[0] ?? 'overview')}
        />
      </div>
    </div>
  );
}

function loadFor(view: BudgetView, isNamed: boolean): Load {
  if (!identity.value.admin) return view === 'overview' ? LOADS.overview : LOADS.requests;
  switch (view) {
    case 'overview':
      return LOADS.overview;
    case 'accounts':
      return isNamed ? LOADS.account : LOADS.accounts;
    case 'groups':
      return isNamed && hasPlugin('pools') ? LOADS.group : LOADS.accounts;
    default:
      return LOADS.requests;
  }
}
