import { useEffect } from 'preact/hooks';
import type { Overview } from '../../edge/answers.ts';
import { PartFault } from '../edge/retry-fault.tsx';
import { formatCount } from '../ui/format.ts';
import { orderByNeed } from './figures/accounts-order.ts';
import { minuteListed, range } from './figures/days.ts';
import { broken, brokenFault, keepBroken } from './figures/overview.ts';
import { ledTo } from './figures/report.ts';
import { ACCOUNTS, ALERTS, addressOf, SOURCES } from './links.tsx';

const REFUSED = '#/budget/refused';
const FAILED = '#/budget/failed';

/** Says what is broken, each with a link to its list; nothing where nothing is. */
export function Broken() {
  useEffect(keepBroken, []);
  const all = broken.value ? thingsIn(broken.value).filter(({ count }) => count > 0) : [];
  return (
    <>
      <PartFault name="What is broken" of={brokenFault} />
      {all.length > 0 && (
        <section class="panel broken" aria-label="What is broken">
          <ul class="row">
            {all.map(({ count, words, href }) => (
              <li key={words}>
                <a href={href} onClick={() => leadTo(href)}>
                  <strong>{formatCount(count)}</strong> {words}
                </a>
              </li>
            ))}
          </ul>
          <p class="quiet">Of requests and accounts: what was told up to a minute ago.</p>
        </section>
      )}
    </>
  );
}

/** Leads to a list that shows what was counted: that of today, or first whoever can ask for nothing. */
function leadTo(href: string): void {
  if (href === REFUSED || href === FAILED) [range.value, minuteListed.value] = ['today', ''];
  if (href === ACCOUNTS) orderByNeed();
  ledTo.value = href;
}

function thingsIn({ requests, accounts, undelivered_events: events = [], undelivered_alerts: alerts = 0 }: Overview) {
  const { blocked = 0, spent = 0 } = accounts ?? {};
  const undelivered = events.reduce((sum, one) => sum + one.events, 0);
  return [
    { count: requests?.refused ?? 0, words: 'refused today', href: REFUSED },
    { count: requests?.failed ?? 0, words: 'failed today', href: FAILED },
    {
      count: undelivered,
      words: undelivered === 1 ? 'event undelivered' : 'events undelivered',
      href: SOURCES,
    },
    {
      count: alerts,
      words: alerts === 1 ? 'alert undelivered' : 'alerts undelivered',
      href: addressOf(ALERTS),
    },
    { count: blocked + spent, words: sayRefusedAccounts(blocked, spent), href: ACCOUNTS },
  ];
}

/** They stand first in one list, so they are one link. */
function sayRefusedAccounts(blocked: number, spent: number): string {
  if (blocked > 0 && spent > 0) return `accounts can ask for nothing: ${blocked} blocked, ${spent} without budget`;
  if (blocked > 0) return blocked === 1 ? 'account blocked' : 'accounts blocked';
  return spent === 1 ? 'account has no budget left' : 'accounts have no budget left';
}
