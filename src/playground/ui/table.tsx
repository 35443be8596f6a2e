import type { ComponentChildren } from 'preact';

/** A column of numbers, which stand right in it: its cells have the class `number`. */
interface NumberColumn {
  number: string;
  /** Whether it is left out where the window is narrow: its cells have the class `spare`. */
  spare?: boolean;
}

/** A column of words that is left out where the window is narrow: its cells have the class `spare`. */
interface SpareColumn {
  spare: string;
}

type TableColumn = string | NumberColumn | SpareColumn;

interface TableProps {
  /** The headings of the columns, in their order. */
  columns: readonly TableColumn[];
  /** What the buttons in the last column do; its heading is for screen readers alone. */
  action?: string;
  /** The name of a table that has nothing to focus in it: with a name, the keyboard can reach it and scroll it. */
  label?: string;
  /** The rows: `tr` elements. */
  children: ComponentChildren;
}

/** Shows rows under headings, in a frame that scrolls sideways where the window is narrow. */
export function Table({ columns, action, label, children }: TableProps) {
  const table = (
    <table class="table">
      <thead>
        <tr>
          {columns.map((column) => {
            const { name, classes } = headOf(column);
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
  );
  if (label === undefined) return <div class="table-frame">{table}</div>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls.
    <section class="table-frame" tabIndex={0} aria-label={label}>
      {table}
    </section>
  );
}

function headOf(column: TableColumn): { name: string; classes: string | undefined } {
  if (typeof column === 'string') return { name: column, classes: undefined };
  if (!('number' in column)) return { name: column.spare, classes: 'spare' };
  return { name: column.number, classes: column.spare ? 'number spare' : 'number' };
}
