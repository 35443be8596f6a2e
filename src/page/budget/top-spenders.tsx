import { signal } from '@preact/signals';
import type { UsageReport } from '../../client/index.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { Cost, chooseCostDecimals } from '../ui/cost.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount, formatPercentage } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { describeSelectedDays, getSelectedDayRange, spendersRange } from './figures/days.ts';
import { sumAllInputTokens } from './figures/input-tokens.ts';
import { describeRequestCount } from './figures/request-count.ts';
import { FocusHeading } from './focus-heading.tsx';
import { AccountLink, GroupLink, navigateToAccount, SPENDERS_TARGET } from './links.tsx';
import { SpendKeyLabel } from './spend-key.tsx';

type SpenderRow = UsageReport['data'][number];
/** A row with the cost of all rows, and the decimals that costs are shown with. */
type SpenderListRow = SpenderRow & { all: number; decimals: number };
/** The most expensive values. All others are in the total. */
const MAX_SPENDERS = 500;

/** What the spending of all accounts can be grouped by. */
const SPENDER_GROUPS = {
  account: { name: 'Account', title: 'Spending by account' },
  model: { name: 'Model', title: 'Spending by model' },
  tag: { name: 'Tag', title: 'Spending by tag' },
  agent: { name: 'Agent', title: 'Spending by agent' },
  group: { name: 'Group', title: 'Spending by group' },
  token: { name: 'Token', title: 'Spending by token' },
} as const;
type SpenderGrouping = keyof typeof SPENDER_GROUPS;

const spenderGroup = signal<SpenderGrouping>('account');
/** The name of the tags that are listed, such as `feature`; empty for all tags. */
const listedTagName = createTokenSignal('');

/** Shows an admin what all accounts have spent on the chosen days, and on what. The name of an account opens its own view. */
export function TopSpenders() {
  const group = spenderGroup.value;
  const { title } = SPENDER_GROUPS[group];
  return (
    <section class="stack" aria-labelledby="who-spent">
      <div class="apart">
        <FocusHeading id="who-spent" target={SPENDERS_TARGET}>
          {title}
        </FocusHeading>
        <div class="inline filters">
          <Select
            label="Group the deployment’s spending by"
            value={group}
            options={listSpenderGroupings().map(
              (key) => [key, `By ${SPENDER_GROUPS[key].name.toLowerCase()}`] as const,
            )}
            onChoose={(key) => {
              spenderGroup.value = key as SpenderGrouping;
              listedTagName.value = '';
            }}
          />
          <DaysPicker of="spending by account" range={spendersRange} />
        </div>
      </div>
      <PolledList<SpenderListRow, UsageReport>
        name={title}
        path="/usage"
        query={() => ({ group_by: group, limit: MAX_SPENDERS, ...getSelectedDayRange(spendersRange) })}
        rowsIn={({ data, total }) =>
          data
            .filter(({ key }) => group !== 'tag' || isTagListed(key, listedTagName.value))
            .map((row) => ({ ...row, all: total.cost_usd, decimals: chooseCostDecimals(total) }))
        }
        about={(report) => <SpendersNote report={report} />}
        columns={createSpenderColumns(group)}
        row={{ getKey: ({ key }) => String(key) }}
        empty={
          group === 'account'
            ? `No account spent anything ${describeSelectedDays(spendersRange)}.`
            : `Nothing was spent ${describeSelectedDays(spendersRange)}.`
        }
      />
    </section>
  );
}

function listSpenderGroupings(): SpenderGrouping[] {
  const all = Object.keys(SPENDER_GROUPS) as SpenderGrouping[];
  return all.filter((group) => group !== 'agent' || hasPlugin('agents'));
}

/** Says what all values have cost together, and what caching has saved. Of tags, it lets the user choose a name. */
function SpendersNote({ report: { data, total, group_by } }: { report: UsageReport }) {
  const tagNames = group_by === 'tag' ? [...new Set(data.flatMap(({ key }) => parseTagName(key) ?? []))].sort() : [];
  if (total.requests === 0) return null;
  return (
    <div class="apart">
      <p class="quiet">
        <Usd isSum value={total.cost_usd} after={` in ${describeRequestCount(total)}`} />
        {total.saved_usd > 0 && (
          <>
            . Caching saved <Usd isSum value={total.saved_usd} />
          </>
        )}
        {total.saved_usd < 0 && (
          <>
            . Caching cost <Usd isSum value={-total.saved_usd} /> more than it saved
          </>
        )}
        .
      </p>
      {tagNames.length > 1 && (
        <Select
          label="Name of the tags"
          value={listedTagName.value}
          options={[['', 'All tags'] as const, ...tagNames.map((name) => [name, name] as const)]}
          onChoose={(name) => (listedTagName.value = name)}
        />
      )}
    </div>
  );
}

/** @returns the name of a tag such as `feature=search`; undefined for a row of another kind */
function parseTagName(key: string | null): string | undefined {
  const [name, value] = key?.split('=', 2) ?? [];
  return value === undefined ? undefined : name;
}

function isTagListed(key: string | null, name: string): boolean {
  return name === '' || parseTagName(key) === name;
}

function createSpenderColumns(group: SpenderGrouping): readonly ListColumn<SpenderListRow>[] {
  return [
    {
      name: SPENDER_GROUPS[group].name,
      kind: 'text',
      renderCell: (row) => <SpenderKey group={group} row={row} />,
    },
    { name: 'Requests', kind: 'number', spare: true, renderCell: ({ requests }) => formatCount(requests) },
    {
      name: 'Input tokens',
      kind: 'number',
      spare: true,
      renderCell: ({ usage }) => formatCount(sumAllInputTokens(usage)),
    },
    { name: 'Output tokens', kind: 'number', spare: true, renderCell: ({ usage }) => formatCount(usage.output_tokens) },
    {
      name: 'Cost',
      kind: 'number',
      renderCell: ({ cost_usd, decimals }) => <Cost value={cost_usd} decimals={decimals} />,
    },
    {
      name: 'Saved by caching',
      kind: 'number',
      spare: true,
      renderCell: ({ saved_usd, decimals }) => saved_usd !== 0 && <Cost value={saved_usd} decimals={decimals} />,
    },
    {
      name: 'Share',
      kind: 'number',
      renderCell: ({ cost_usd, all }) => (all === 0 ? '' : formatPercentage(cost_usd / all)),
    },
  ];
}

function SpenderKey({ group, row: { key, account } }: { group: SpenderGrouping; row: SpenderRow }) {
  if (key === null) return <span class="quiet">none</span>;
  switch (group) {
    case 'account':
      return (
        <button type="button" class="link" onClick={() => navigateToAccount(key, spendersRange.value)}>
          <SpendKeyLabel name={key} />
        </button>
      );
    case 'group':
      return <GroupLink group={key} />;
    case 'token':
      return (
        <>
          <code>{key}</code>
          {account !== undefined && (
            <>
              {' '}
              of <AccountLink account={account} />
            </>
          )}
        </>
      );
    default:
      return <SpendKeyLabel name={key} isModel={group === 'model'} />;
  }
}
