import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { Tabs } from '../ui/tabs.tsx';
import { AccountHead } from './account-head.tsx';
import { reportFault } from './figures/report.ts';
import { requestsFault } from './figures/request-list.ts';
import { FindRequest } from './find-request.tsx';
import { FirstFault } from './first-fault.tsx';
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

/** Shows requests and, where there are any webhooks, their events. */
function WithWebhooks() {
  const hasWebhooks = useSignal(false);
  useEffect(() => {
    // The OpenAPI document says which routes this deployment has, so that no missing route is called.
    fetch('/openapi.json')
      .then(async (response) => {
        const { paths } = (await response.json()) as { paths: Record<string, unknown> };
        hasWebhooks.value = '/webhooks/{source}/events' in paths;
      })
      // Without the document that part is left out.
      .catch(() => {});
  }, [hasWebhooks]);
  const tabs = [
    { name: 'Sent and refused', content: () => <RequestsTable /> },
    ...(hasWebhooks.value ? [{ name: 'Webhooks', content: () => <Webhooks /> }] : []),
  ];
  return (
    <section class="stack" aria-label="Requests and webhooks">
      <Tabs label="Requests and webhooks" tabs={tabs} />
    </section>
  );
}
