import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { AccountSpendRow } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { pollIntoSignal } from '../edge/poll.ts';
import { StalePartFault } from '../edge/retry-fault.tsx';
import { formatCount } from '../ui/format.ts';
import { accountsOrder, isOrderChosen } from './figures/accounts-order.ts';
import { focusTarget } from './figures/report.ts';
import { ACCOUNTS_HREF, navigateToRequestsRejectedToday } from './links.tsx';

const MAX_LISTED_ACCOUNTS = 5;
const REJECTED_POLL_MS = 5_000;

/** Lists the accounts with the most rejected requests today, each with a link to these. It shows nothing if there are none. */
export function MostRejectedAccounts() {
  const accounts = useSignal<Page<AccountSpendRow> | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  useEffect(() => {
    const readRejectedAccounts = () =>
      readJson<Page<AccountSpendRow>>('/accounts', { query: { sort: 'refused', limit: MAX_LISTED_ACCOUNTS } });
    return pollIntoSignal(accounts, readRejectedAccounts, REJECTED_POLL_MS, fault);
  }, [accounts, fault]);
  const refused = accounts.value?.data.filter(({ refused_today }) => refused_today > 0) ?? [];
  return (
    <>
      <StalePartFault name="The accounts with most rejections" fault={fault} />
      {refused.length > 0 && (
        <p class="row">
          <span class="quiet">Most rejections today (updated within a minute):</span>
          {refused.map(({ id, refused_today }) => (
            <button key={id} type="button" class="link" onClick={() => navigateToRequestsRejectedToday(id)}>
              {id} × {formatCount(refused_today)}
            </button>
          ))}
          <a
            href={ACCOUNTS_HREF}
            onClick={() => {
              [accountsOrder.value, isOrderChosen.value, focusTarget.value] = ['refused', true, ACCOUNTS_HREF];
            }}
          >
            All accounts by rejections
          </a>
        </p>
      )}
    </>
  );
}
