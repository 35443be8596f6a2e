import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { Cost } from './cost.tsx';
import { keepScrollBoxFocusable } from './scroll-box.ts';

/** A column of numbers, which stand right in it: its cells have the class `number`. */
interface NumberColumn {
  number: string;
  /** Whether it is left out where the window is narrow: its cells have the class `spare`. */
  spare?: boolean;
}

/** A column of words that is left out where the window is narrow: its cells have the class `spare`. */
interface HideableTableColumn {
  spare: string;
}

type TableColumn = string | NumberColumn | HideableTableColumn;

interface TableProps {
  /** The headings of the columns, in their order. */
  columns: readonly TableColumn[];
  /** What the buttons in the last column do; its heading is for screen readers alone. */
  action?: string;
  /** The name of the box that scrolls. */
  label: string;
  /** The rows: `tr` elements. */
  children: ComponentChildren;
}

/** Shows rows under headings, in a frame that scrolls sideways where the window is narrow. */
export function Table({ columns, action, label, children }: TableProps) {
  return (
    <TableFrame label={label}>
      <table class="table">
        <thead>
          <tr>
            {columns.map((column) => {
              const { name, classes } = getColumnHeading(column);
              return (
                <th key={name} scope="col" class={classes}>
                  {name}
                </th>
              );
            })}
            {action && (
              <th scope="col">
                <span class="unseen">{action}</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </TableFrame>
  );
}

interface TableFrameProps {
  /** The name of the box that scrolls. */
  label: string;
  class?: string;
  children: ComponentChildren;
}

/** Lets a table scroll sideways where it is too narrow, by the keyboard too. */
export function TableFrame({ label, class: name = '', children }: TableFrameProps) {
  const ref = useRef<HTMLElement>(null);
  // Run before the first painting, so that the keyboard can reach a wide table from the start.
  useLayoutEffect(() => (ref.current ? keepScrollBoxFocusable(ref.current) : undefined), []);
  return (
    <section ref={ref} class={`table-frame scroll-box ${name}`} aria-label={label}>
      {children}
    </section>
  );
}

/** The cell of a table that has the cost of a request, or the sum of some. */
export function CostCell({ value }: { value: number }) {
  return (
    <td class="number">
      <Cost value={value} />
    </td>
  );
}

function getColumnHeading(column: TableColumn): { name: string; classes: string | undefined } {
  if (typeof column === 'string') return { name: column, classes: undefined };
  if (!('number' in column)) return { name: column.spare, classes: 'spare' };
  return { name: column.number, classes: column.spare ? 'number spare' : 'number' };
}
