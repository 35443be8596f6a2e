import { identity } from '../edge/identity.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { Tabs } from '../ui/tabs.tsx';
import { AccountHead } from './account-head.tsx';
import { reportFault } from './figures/report.ts';
import { requestsFault } from './figures/request-list.ts';
import { FindRequest } from './find-request.tsx';
import { RequestsTable } from './requests-table.tsx';
import { Webhooks } from './webhooks.tsx';

/** Shows an account's requests. An admin finds those of everybody, and what came in by webhooks. */
export function BudgetRequests() {
  const { admin } = identity.value;
  return (
    <>
      <FirstFault of={admin ? [requestsFault, reportFault] : [requestsFault]} />
      {admin && <FindRequest />}
      {admin && <AccountHead />}
      {admin ? <WithWebhooks /> : <RequestsTable />}
    </>
  );
}

/** Shows requests, and the events of webhooks. */
function WithWebhooks() {
  const tabs = [
    { name: 'Sent and refused', content: () => <RequestsTable /> },
    { name: 'Webhooks', content: () => <Webhooks /> },
  ];
  return (
    <section class="stack" aria-label="Requests and webhooks">
      <Tabs label="Requests and webhooks" tabs={tabs} />
    </section>
  );
}
