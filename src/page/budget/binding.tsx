import type { ComponentChildren } from 'preact';
import type { AccountSpendRow, BindingLimit } from '../../edge/answers.ts';
import type { AccountQuota } from '../edge/account.ts';
import { exactUsd, formatCount, formatReset, formatShare } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { limitTitle, NEARLY, ownerOf, sayBinding, usedShare } from './figures/limit-names.ts';
import { Gauge, partOf } from './gauge.tsx';

const BUCKETS = [
  ['requests', 'requests_per_minute'],
  ['input_tokens', 'input_tokens_per_minute'],
  ['output_tokens', 'output_tokens_per_minute'],
  ['count_requests', 'count_requests_per_minute'],
] as const;

/** Shows which limits bind an account, the tightest first; what refuses is red. Windows without a limit have no card. */
export function Binding({ stands }: { stands: AccountQuota | undefined }) {
  if (!stands) return <p class="quiet">…</p>;
  const { binds, blocked, limits, running_requests: running, day } = stands;
  const zero = Object.entries(limits).find(
    ([name, limit]) => name !== 'usd_total' && (limit === 0 || (name === 'models' && String(limit) === '')),
  )?.[0];
  return (
    <section id="quota" aria-label="What binds" class="stack">
      {blocked && (
        <p class="state" data-look="refused">
          Blocked:{' '}
          {zero ? `the limit “${limitTitle(zero)}” ${zero === 'models' ? 'is empty' : 'is 0'}` : 'a limit is 0'}, so
          every request is refused.
        </p>
      )}
      <BindingCards binds={binds} spent={day.settled_usd}>
        {BUCKETS.map(([key, name]) => {
          const meter = stands[key];
          if (!meter) return null;
          const used = Math.max(0, meter.limit - meter.remaining);
          const refuses = meter.limit === 0;
          return (
            <Gauge
              key={key}
              title={limitTitle(name)}
              value={formatCount(Math.floor(used))}
              of={`of ${formatCount(meter.limit)}`}
              full={refuses ? 1 : partOf(used, meter.limit)}
              held={0}
              refuses={refuses}
              note={refuses ? 'refuses every one' : 'refills continuously'}
            />
          );
        })}
      </BindingCards>
      {running > 0 && (
        <p class="quiet">
          {running} {running === 1 ? 'request is' : 'requests are'} running.
        </p>
      )}
    </section>
  );
}

interface BindingCardsProps {
  binds: readonly BindingLimit[];
  /** What is said where there is no limit: US dollars, of today or, of a shared budget, of this month. */
  spent: number;
  /** Whether it is clear whose limits they are. */
  isOwn?: boolean;
  children?: ComponentChildren;
}

/** Shows a card for each limit in dollars. */
export function BindingCards({ binds, spent, isOwn = false, children }: BindingCardsProps) {
  return (
    <ul class="gauges">
      {binds.map((limit) => (
        <BindingCard
          key={`${limit.by} ${limit.id} ${limit.limit}`}
          limit={isOwn ? { ...limit, by: 'account' } : limit}
        />
      ))}
      {binds.length === 0 && (
        <Gauge
          title={isOwn ? 'Spent this month' : 'Spent today'}
          value={<Usd isSum value={spent} />}
          of="no limit in dollars"
          full={undefined}
          held={0}
          note=""
        />
      )}
      {children}
    </ul>
  );
}

function BindingCard({ limit }: { limit: BindingLimit }) {
  const { limit_usd: most, used_usd: used, prepaid: isPrepaid = false, resets_at, refuses } = limit;
  const whose = ownerOf(limit);
  const resets = resets_at === null ? 'does not reset' : `resets ${formatReset(resets_at)}`;
  const title = isPrepaid ? 'Credit' : `${limitTitle(limit.limit)}${whose && `, ${whose}`}`;
  // A shared budget refuses before all of it is used: “used up” is not said beside 99.5%.
  const spent = used < most ? 'too little is left' : 'used up';
  const note = refuses ? `${spent}: ${isPrepaid ? 'give credit' : resets}` : isPrepaid ? 'prepaid' : resets;
  return (
    <Gauge
      title={title}
      value={<Usd isSum of={most} value={isPrepaid ? Math.max(0, most - used) : used} />}
      of={`${isPrepaid ? 'left ' : ''}of ${exactUsd(most)}${isPrepaid ? ' prepaid' : ''} · ${formatShare(usedShare(limit))}${isPrepaid ? ' used' : ''}`}
      full={most === 0 ? 1 : partOf(used, most)}
      held={0}
      refuses={refuses}
      note={note}
    />
  );
}

interface BindingCellProps {
  row: Pick<AccountSpendRow, 'tightest' | 'blocked'>;
  /** Whether it is clear whose limit it is. */
  isOwn?: boolean;
}

/** Says in a row what binds an account: that it is blocked, or its tightest limit. */
export function BindingCell({ row, isOwn = false }: BindingCellProps) {
  const { tightest, blocked } = row;
  if (blocked)
    return (
      <span class="state" data-look="refused">
        blocked: a limit allows nothing
      </span>
    );
  if (!tightest) return <span class="quiet">no limit in dollars</span>;
  const look = tightest.refuses ? 'refused' : usedShare(tightest) >= NEARLY ? 'nearly' : undefined;
  return (
    <span class={look && 'state'} data-look={look}>
      {sayBinding(isOwn ? { ...tightest, by: 'account' } : tightest)}
    </span>
  );
}
