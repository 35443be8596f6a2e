import type { Signal } from '@preact/signals';
import { Select } from '../ui/form.tsx';
import {
  customDays,
  type DayRangeName,
  formatDateDaysAgo,
  formatLocalMinute,
  RANGE_NAMES,
  listedRange as sharedRange,
} from './figures/days.ts';

/** The option in the list of days that stands for the minutes around a time. */
const AROUND_MINUTE = 'around';

interface DaysPickerProps {
  /** Distinguishes several pickers. */
  of: string;
  range?: typeof sharedRange;
  /** The minute around which is looked, where that can be chosen: empty for the days. */
  minute?: Signal<string>;
}

/** Lets the user choose which days are looked at: of most lists the same. */
export function DaysPicker({ of: listName, range = sharedRange, minute }: DaysPickerProps) {
  const isAroundMinute = minute !== undefined && minute.value !== '';
  const chooseRange = (name: string) => {
    if (minute) minute.value = name === AROUND_MINUTE ? formatLocalMinute(new Date()) : '';
    if (name !== AROUND_MINUTE) range.value = name as DayRangeName;
  };
  const setDay = (end: 'first' | 'last', day: string) => {
    if (day === '') return;
    const next = { ...customDays.value, [end]: day };
    // If the first day is later than the last one, select only the day that was chosen now.
    customDays.value = next.first <= next.last ? next : { first: day, last: day };
  };
  return (
    <div class="inline filters">
      <Select
        label={`Date range for ${listName}, in UTC`}
        value={isAroundMinute ? AROUND_MINUTE : range.value}
        options={minute ? [...RANGE_NAMES, [AROUND_MINUTE, 'Around a time…'] as const] : RANGE_NAMES}
        onChoose={chooseRange}
      />
      {isAroundMinute && (
        <input
          type="datetime-local"
          aria-label="Around time"
          title="Five minutes before and after this time, in your time zone"
          value={minute.value}
          onChange={(event) => (minute.value = event.currentTarget.value)}
        />
      )}
      {!isAroundMinute &&
        range.value === 'own' &&
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
