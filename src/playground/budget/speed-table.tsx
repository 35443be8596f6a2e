import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { Select } from '../ui/form.tsx';
import { formatCount, formatMs, formatShare } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { chosenDays, daysName } from './figures/days.ts';
import { account } from './figures/report.ts';
import { speedRows } from './figures/speeds.ts';
import { spentOnDays } from './figures/spent-on-days.ts';
import { SpendKey } from './spend-key.tsx';

const SPEED_ROWS = 10;
const SPEED_GROUPS = [
  ['model', 'By model'],
  ['upstream', 'By upstream'],
] as const;
type SpeedGroup = (typeof SPEED_GROUPS)[number][0];

const speedGroup = signal<SpeedGroup>('model');
/** How fast answers were on the chosen days: an admin sees those of all accounts. */
const speeds = spentOnDays(() => ({
  ...chosenDays(),
  group_by: speedGroup.value,
  ...(identity.value.admin ? {} : { account: account.value }),
}));
export const speedFault = speeds.fault;

/** Shows how fast answers were that were streamed. */
export function SpeedTable() {
  useEffect(speeds.keep, []);
  const rows = speedRows(speeds.report.value).slice(0, SPEED_ROWS);
  const by = speedGroup.value;
  return (
    <section class="stack" aria-labelledby="speed">
      <div class="apart">
        <h3 id="speed">How fast answers were</h3>
        <Select
          label="How fast, by"
          value={by}
          options={SPEED_GROUPS}
          onChoose={(key) => {
            speedGroup.value = key as SpeedGroup;
          }}
        />
      </div>
      {speeds.report.value && rows.length === 0 && (
        <p class="quiet">
          {by === 'model'
            ? `No answer was streamed ${daysName()}.`
            : `No answer of several upstreams was streamed ${daysName()}.`}
        </p>
      )}
      {rows.length > 0 && (
        <Table
          label="Speed"
          columns={[
            by === 'model' ? 'Model' : 'Upstream',
            ...['Streams', 'First event', 'Within 1 s', 'Tokens a second'].map((number) => ({ number })),
          ]}
        >
          {rows.map(({ key, streams, firstMs, withinSecond, tokensPerSecond }) => (
            <tr key={key}>
              <th scope="row">
                <SpendKey name={key} isModel={by === 'model'} />
              </th>
              <td class="number">{formatCount(streams)}</td>
              <td class="number">{formatMs(firstMs)}</td>
              <td class="number">{formatShare(withinSecond)}</td>
              <td class="number">{tokensPerSecond === undefined ? '–' : formatCount(Math.round(tokensPerSecond))}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
