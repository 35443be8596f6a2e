import { Select } from '../ui/form.tsx';
import {
  customDays,
  type DayRangeName,
  formatDateDaysAgo,
  RANGE_NAMES,
  listedRange as sharedRange,
} from './figures/days.ts';

/** Lets the user choose which days are looked at: of most lists the same. @param of tells several pickers apart */
export function DaysPicker({ of: listName, range = sharedRange }: { of: string; range?: typeof sharedRange }) {
  const setDay = (end: 'first' | 'last', day: string) => {
    if (day === '') return;
    const next = { ...customDays.value, [end]: day };
    // If the days are in the wrong order, select the single day that was chosen last.
    customDays.value = next.first <= next.last ? next : { first: day, last: day };
  };
  return (
    <div class="inline filters">
      <Select
        label={`Date range for ${listName}, in UTC`}
        value={range.value}
        options={RANGE_NAMES}
        onChoose={(name) => (range.value = name as DayRangeName)}
      />
      {range.value === 'own' &&
        (['first', 'last'] as const).map((end) => (
          <input
            key={end}
            type="date"
            aria-label={end === 'first' ? 'First day, in UTC' : 'Last day, in UTC'}
            max={formatDateDaysAgo(0)}
            value={customDays.value[end]}
            onChange={(event) => setDay(end, event.currentTarget.value)}
          />
        ))}
    </div>
  );
}
