import { isBudgetViewAvailable } from '../edge/available-views.ts';
import { identity } from '../edge/identity.ts';
import { type ComponentLoader, LazyComponent } from '../edge/lazy-component.tsx';
import { type BudgetViewName, budgetName, budgetView, navigateToSection } from '../ui/route.ts';
import { loadStylesheet } from '../ui/stylesheet.ts';
import { Tabs } from '../ui/tabs.tsx';
import { shownAccount } from './figures/report.ts';

/** The tabs, each with the views that stand in it. The first view is shown at first. */
const BUDGET_TABS: readonly { name: string; views: readonly [BudgetViewName, ...BudgetViewName[]] }[] = [
  { name: 'Overview', views: ['overview'] },
  { name: 'Accounts', views: ['accounts', 'groups'] },
  { name: 'Requests', views: ['requests', 'refused', 'failed'] },
  { name: 'Webhooks', views: ['webhooks'] },
];

const CHARTS_STYLESHEET = '/page/charts.css';

const VIEW_LOADERS = {
  overview: () => loadWithCharts(async () => (await import('./overview.tsx')).BudgetOverview),
  accounts: async () => (await import('./accounts.tsx')).BudgetAccounts,
  account: () => loadWithCharts(async () => (await import('./account-view.tsx')).AccountView),
  group: async () => (await import('./group-view.tsx')).GroupFromUrl,
  requests: async () => (await import('./requests.tsx')).BudgetRequests,
  webhooks: async () => (await import('./webhooks.tsx')).Webhooks,
} satisfies Record<string, ComponentLoader>;

/** Shows what was spent, by whom, and each request. Everybody but an operator has one account only: their own. */
export function Budget() {
  const { operator } = identity.value;
  const tabs = BUDGET_TABS.filter(({ views: [first] }) => isBudgetViewAvailable(first));
  const load = getViewLoader(budgetView.value, budgetName.value !== undefined);
  const renderBudgetView = () => (
    <div class="stack budget-view">
      <LazyComponent key={load} load={load} />
    </div>
  );
  return (
    <div class="page budget">
      <header class="apart page-head">
        <h1>Budget</h1>
        {!operator && <span class="tag">{shownAccount.value}</span>}
      </header>
      <div>
        <Tabs
          label="Budget"
          tabs={tabs.map(({ name }) => ({ name, renderContent: renderBudgetView }))}
          shown={Math.max(
            0,
            tabs.findIndex(({ views }) => views.includes(budgetView.value)),
          )}
          onChoose={(at) => navigateToSection('budget', tabs[at]?.views[0] ?? 'overview')}
        />
      </div>
    </div>
  );
}

/** Loads a view with a chart. Its style is loaded before it is shown, so that nothing moves. */
async function loadWithCharts(load: ComponentLoader): ReturnType<ComponentLoader> {
  const [view] = await Promise.all([load(), loadStylesheet(CHARTS_STYLESHEET)]);
  return view;
}

function getViewLoader(view: BudgetViewName, isNamed: boolean): ComponentLoader {
  switch (view) {
    case 'overview':
      return VIEW_LOADERS.overview;
    case 'accounts':
      return isNamed ? VIEW_LOADERS.account : VIEW_LOADERS.accounts;
    case 'groups':
      return isNamed ? VIEW_LOADERS.group : VIEW_LOADERS.accounts;
    case 'webhooks':
      return VIEW_LOADERS.webhooks;
    default:
      return VIEW_LOADERS.requests;
  }
}
