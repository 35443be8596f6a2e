import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { AccountSpendRow } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { pollInto } from '../edge/poll.ts';
import { PartFault } from '../edge/retry-fault.tsx';
import { formatCount } from '../ui/format.ts';
import { accountsOrder, isOrderChosen } from './figures/accounts-order.ts';
import { ledTo } from './figures/report.ts';
import { ACCOUNTS, showRefusedToday } from './links.tsx';

const MOST_NAMED = 5;
const REFUSED_EVERY_MS = 5_000;

/** Names the accounts that were refused most today. Each leads to its refusals; there is nothing where none was refused. */
export function MostRefused() {
  const accounts = useSignal<Page<AccountSpendRow> | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  useEffect(() => {
    const read = () => readJson<Page<AccountSpendRow>>('/accounts', { query: { sort: 'refused', limit: MOST_NAMED } });
    return pollInto(accounts, read, REFUSED_EVERY_MS, fault);
  }, [accounts, fault]);
  const refused = accounts.value?.data.filter(({ refused_today }) => refused_today > 0) ?? [];
  return (
    <>
      <PartFault name="Who was refused most today" of={fault} />
      {refused.length > 0 && (
        <p class="row">
          <span class="quiet">Refused most today, as told up to a minute ago:</span>
          {refused.map(({ id, refused_today }) => (
            <button key={id} type="button" class="link" onClick={() => showRefusedToday(id)}>
              {id} × {formatCount(refused_today)}
            </button>
          ))}
          <a
            href={ACCOUNTS}
            onClick={() => {
              [accountsOrder.value, isOrderChosen.value, ledTo.value] = ['refused', true, ACCOUNTS];
            }}
          >
            All by refusals
          </a>
        </p>
      )}
    </>
  );
}
