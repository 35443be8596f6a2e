import { useSignal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { useAction } from '../edge/async-action.ts';
import { announce } from '../ui/announcer.tsx';
import { exactUsd } from '../ui/format.ts';
import { changeLimit, type Period, type Spender } from './figures/overview.ts';

/** Shows a limit that is edited in its place: Enter saves, Escape leaves it as it was, an empty field removes it. */
export function LimitCell({ row, period }: { row: Spender; period: Period }) {
  const editing = useSignal(false);
  const { fault, run } = useAction();
  const button = useRef<HTMLButtonElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const limit = row.limit[period];
  useLayoutEffect(() => {
    if (editing.value) field.current?.select();
  }, [editing.value]);
  const close = () => {
    editing.value = false;
    requestAnimationFrame(() => button.current?.focus());
  };
  const save = async (text: string) => {
    const usd = text.trim() === '' ? null : Number(text);
    if (!(await run(() => changeLimit(row, period, usd)))) return;
    announce(`The limit of ${row.id} is saved.`);
    close();
  };
  if (!editing.value) {
    return (
      <button
        ref={button}
        type="button"
        class="link"
        data-column="limit"
        aria-label={`Change the limit of ${row.id}, ${limit === null ? 'none' : exactUsd(limit)} per ${period}`}
        onClick={() => (editing.value = true)}
      >
        {limit === null ? 'none' : exactUsd(limit)}
      </button>
    );
  }
  return (
    <>
      <input
        ref={field}
        type="number"
        min={0}
        step="any"
        aria-label={`Dollars per ${period} for ${row.id}`}
        aria-invalid={fault.value !== undefined}
        defaultValue={limit === null ? '' : String(limit)}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === 'Enter') void save(event.currentTarget.value);
          else if (event.key === 'Escape') close();
        }}
        onBlur={() => (editing.value = false)}
      />
      {fault.value && (
        <span class="quiet" role="alert" title={fault.value}>
          {fault.value.split('\n', 1)}
        </span>
      )}
    </>
  );
}
