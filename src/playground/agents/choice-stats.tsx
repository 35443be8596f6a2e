import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { AgentStats } from '../../agents/agents-answers.schema.ts';
import { poll } from '../edge/poll.ts';
import { Fault } from '../ui/fault.tsx';
import { exactUsd, formatCount, formatDay, formatShare } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { comparedDays, readStats } from './list.ts';

const STATS_EVERY_MS = 10_000;
const ARM_NAMES = { chosen: 'Chosen', control: 'Control', asked: 'As asked' } as const;
const COMPARED = ['chosen', 'control'] as const;

/** Shows what an agent's choice of models has saved: in a sentence, by arm, and by day. */
export function ChoiceStats({ name }: { name: string }) {
  const stats = useSignal<AgentStats | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  useEffect(
    () =>
      poll(
        async (isCurrent) => {
          const read = await readStats(name);
          if (isCurrent()) stats.value = read;
        },
        STATS_EVERY_MS,
        fault,
      ),
    [name, stats, fault],
  );
  const arms = stats.value?.arms ?? [];
  return (
    <section class="stack" aria-labelledby="choice">
      <h2 id="choice">What the choice has saved</h2>
      {fault.value && <Fault text={fault.value} />}
      <p class="quiet">{stats.value ? savedInWords(stats.value) : '…'}</p>
      {arms.length > 0 && (
        <Table
          label="Cost by arm"
          columns={[
            'Arm',
            { number: 'Conversations' },
            { number: 'Each' },
            { number: 'Cost' },
            { number: 'Stepped up', spare: true },
            { number: 'Asked again', spare: true },
            { number: 'Stopped', spare: true },
          ]}
        >
          {arms.map(({ arm, conversations, cost_usd, cost_usd_per_conversation: each, ...counts }) => (
            <tr key={arm}>
              <th scope="row">{ARM_NAMES[arm]}</th>
              <td class="number">{formatCount(conversations)}</td>
              <td class="number">{each === null ? '–' : exactUsd(each)}</td>
              <td class="number">
                <Usd value={cost_usd} />
              </td>
              <td class="number spare">{formatCount(counts.stepped_up)}</td>
              <td class="number spare">{formatCount(counts.asked_again)}</td>
              <td class="number spare">{formatCount(counts.stopped)}</td>
            </tr>
          ))}
        </Table>
      )}
      {stats.value && <CostByDay days={stats.value.days} />}
    </section>
  );
}

function savedInWords({ saved, arms }: AgentStats): string {
  if (saved) {
    const { share, usd } = saved;
    return `${formatShare(share.value)} of the cost (${formatShare(share.low)} to ${formatShare(share.high)} in 95 of 100 cases): ${exactUsd(usd.value)}.`;
  }
  return arms.some(({ arm }) => arm === 'control')
    ? 'Not known before each arm has 100 conversations.'
    : 'Not known: no conversation was answered without the choice. The agent’s “control” says how many are.';
}

/** Shows what a conversation has cost in each arm, by the day on which it was paid. It is a table to screen readers too. */
function CostByDay({ days }: Pick<AgentStats, 'days'>) {
  const bars = comparedDays().map((day) => ({
    day,
    each: COMPARED.map((arm) => {
      const { conversations = 0, cost_usd = 0 } = days.find((one) => one.day === day && one.arm === arm) ?? {};
      return conversations === 0 ? 0 : cost_usd / conversations;
    }),
  }));
  const most = Math.max(...bars.flatMap(({ each }) => each), 0);
  if (most === 0) return null;
  return (
    <>
      <h3>Cost of a conversation by day</h3>
      <table class="charts-css column multiple hide-data show-labels show-primary-axis data-spacing-3 spend-chart">
        <caption class="unseen">US dollars of each conversation, per day and arm, in UTC</caption>
        <thead class="unseen">
          <tr>
            <th scope="col">Day</th>
            {COMPARED.map((arm) => (
              <th key={arm} scope="col">
                {ARM_NAMES[arm]}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {bars.map(({ day, each }, at) => (
            <tr key={day}>
              <th scope="row">
                {(bars.length - 1 - at) % 3 === 0 ? formatDay(day) : <span class="unseen">{formatDay(day)}</span>}
              </th>
              {each.map((usd, arm) => (
                <td key={COMPARED[arm]} style={{ '--size': usd / most, '--color': colorOf(arm) }}>
                  <span class="data">{exactUsd(usd)}</span>
                  {usd > 0 && <span class="tooltip">{`${formatDay(day)}: ${exactUsd(usd)}`}</span>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <ul class="row legend">
        {COMPARED.map((arm, at) => (
          <li key={arm} class="inline">
            <span style={{ background: colorOf(at) }} />
            {ARM_NAMES[arm]}
          </li>
        ))}
      </ul>
    </>
  );
}

function colorOf(arm: number): string {
  return `var(--series-${arm + 1})`;
}
