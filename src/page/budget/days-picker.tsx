import { Select } from '../ui/form.tsx';
import { dayAgo, ownDays, RANGE_NAMES, type RangeName, range as sharedRange } from './figures/days.ts';

/** Lets the user choose which days are looked at: of most lists the same. @param of tells several pickers apart */
export function DaysPicker({ of, range = sharedRange }: { of: string; range?: typeof sharedRange }) {
  const set = (end: 'first' | 'last', day: string) => {
    if (day === '') return;
    const next = { ...ownDays.value, [end]: day };
    // Days the wrong way round are one day: the one that was chosen last.
    ownDays.value = next.first <= next.last ? next : { first: day, last: day };
  };
  return (
    <div class="inline filters">
      <Select
        label={`Days of ${of}, in UTC`}
        value={range.value}
        options={RANGE_NAMES}
        onChoose={(name) => (range.value = name as RangeName)}
      />
      {range.value === 'own' &&
        (['first', 'last'] as const).map((end) => (
          <input
            key={end}
            type="date"
            aria-label={end === 'first' ? 'First day, in UTC' : 'Last day, in UTC'}
            max={dayAgo(0)}
            value={ownDays.value[end]}
            onChange={(event) => set(end, event.currentTarget.value)}
          />
        ))}
    </div>
  );
}
