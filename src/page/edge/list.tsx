/** Lists what the edge has: one way for all lists to load, to be empty, to fail, and to go from page to page. */

import { effect, type Signal, signal, untracked } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { ServedPath } from '../../edge/answers.ts';
import { SmallButton } from '../ui/button.tsx';
import { formatCount } from '../ui/format.ts';
import { TableFrame } from '../ui/table.tsx';
import { readJson } from './client.ts';
import { poll } from './poll.ts';
import { PartFault } from './retry-fault.tsx';

/** A column, and what stands in it. */
export interface Column<Row> {
  name: string;
  /** `number` stands right, `text` may take several lines, and `action` is a button: its heading is for screen readers alone. */
  kind?: 'number' | 'text' | 'action';
  /** Whether it is left out where the window is narrow. */
  spare?: boolean;
  /** The order of the edge that its heading asks for. */
  sort?: string;
  /** @param times how many rows this one stands for, in words: empty for one */
  cell(row: Row, times: string): ComponentChildren;
}

/** What a row is, beside its cells. */
export interface RowDefinition<Row> {
  key(row: Row): string;
  /** How it stands out: what is wrong, what runs, what was deleted. */
  look?(row: Row): 'refused' | 'running' | 'removed' | undefined;
  /** What a row says. The rows of a page that say the same are one line, with the newest of them. */
  says?(row: Row): string;
  /** What a press on its first cell opens below it. */
  details?(row: Row): ComponentChildren;
}

type ListQuery = Readonly<Record<string, string | number | undefined>>;

interface ListProps<Row, Answer> {
  /** What is listed, such as `Alerts`: names the box that scrolls, and is said where it cannot be read. */
  name: string;
  path: ServedPath;
  /** A function is called for each question: “today” is another day after midnight. */
  query?: ListQuery | (() => ListQuery);
  columns: readonly Column<Row>[];
  row: RowDefinition<Row>;
  /** What is said where there is nothing. */
  empty: ComponentChildren;
  /** Takes the rows out of an answer that has all of them. Default: the edge has pages of them. */
  rowsIn?(answer: Answer): readonly Row[];
  /** What is said of the whole answer, above the rows. @param isPart whether there are other pages of it */
  about?(answer: Answer, isPart: boolean): ComponentChildren;
  /** The order that is asked for, where headings choose it. */
  sort?: Signal<string>;
  /** How many rows a page has. */
  size?: number;
}

const ROWS_PER_PAGE = 10;
/** How many rows a page has whose lines may each stand for several. */
const GROUPED_ROWS_PER_PAGE = 100;
const LIST_POLL_MS = 5_000;

/** Shows a list of the edge, up to date while the page is visible, ten rows at a time. */
export function List<Row, Answer = Page<Row>>(props: ListProps<Row, Answer>) {
  const { name, path, query = {}, columns, row, empty, about, sort, size = ROWS_PER_PAGE } = props;
  const wanted = JSON.stringify([path, resolveQuery(query), sort?.value, size]);
  // What is known of another question is not shown as the answer to this one.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the question is a text of all that it is made of.
  const pages = useMemo(() => new ListPages(props), [wanted]);
  useEffect(() => pages.pollShownPage(), [pages]);
  const { answer, rows, next } = pages.shownPage.value ?? {};
  const isPart = !pages.isFirst || next !== undefined;
  // While another order is read the headings stay: whoever has pressed one is still there.
  const hasTable = useRef(false);
  hasTable.current = rows ? rows.length > 0 || !pages.isFirst : hasTable.current && pages.fault.value === undefined;
  return (
    <>
      <PartFault name={name} fault={pages.fault} />
      {answer !== undefined && about?.(answer, isPart)}
      {rows === undefined && !hasTable.current && pages.fault.value === undefined && <p class="quiet">…</p>}
      {rows?.length === 0 && pages.isFirst && <p class="quiet">{empty}</p>}
      {hasTable.current && (
        <TableFrame label={`${name}: table`}>
          <table class="table">
            <thead>
              <tr>
                {columns.map((column) => (
                  <ColumnHeading key={column.name} column={column} sort={sort} />
                ))}
              </tr>
            </thead>
            <tbody aria-busy={rows === undefined}>
              {rows?.map((line) => (
                <ListRow
                  key={line.key}
                  line={line}
                  rowCountText={formatRowCount(line.rowCount, isPart)}
                  definition={row}
                  columns={columns}
                  openedKey={pages.openedKey}
                />
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      <PageTurner name={name} pages={pages} />
    </>
  );
}

/** A line of a list. */
interface ListLine<Row> {
  key: string;
  /** The row that is shown: the first of those that say the same. */
  row: Row;
  rowCount: number;
}

/** @returns how many rows a line stands for, in words. Of a page among several it is not all of them, and says so */
function formatRowCount(times: number, isPart: boolean): string {
  return times === 1 ? '' : `\u00a0×\u00a0${formatCount(times)}${isPart ? ' on this page' : ''}`;
}

/** @returns the lines of rows: those that say the same are one */
function groupIntoLines<Row>(rows: readonly Row[], { key, says = key }: RowDefinition<Row>): ListLine<Row>[] {
  const lines = new Map<string, ListLine<Row>>();
  for (const row of rows) {
    const said = says(row);
    const line = lines.get(said);
    if (line) line.rowCount += 1;
    else lines.set(said, { key: said, row, rowCount: 1 });
  }
  return [...lines.values()];
}

/** Loads a list page by page. */
class ListPages<Row, Answer> {
  readonly shownPage = signal<{ rows: readonly ListLine<Row>[]; answer: Answer; next: string | undefined } | undefined>(
    undefined,
  );
  readonly fault = signal<string | undefined>(undefined);
  /** Where the pages begin that were turned to: the last one is shown. */
  readonly pageStarts = signal<readonly string[]>([]);
  /** The row whose details are shown. */
  readonly openedKey = signal<string | undefined>(undefined);
  readonly #props: ListProps<Row, Answer>;

  constructor(props: ListProps<Row, Answer>) {
    this.#props = props;
  }

  get isFirst(): boolean {
    return this.pageStarts.value.length === 0;
  }

  get pageNumber(): number {
    return this.pageStarts.value.length + 1;
  }

  /** Keeps the page that is shown up to date. @returns what stops it */
  pollShownPage(): () => void {
    return effect(() => {
      const start = this.pageStarts.value.at(-1);
      return untracked(() =>
        poll(
          async (isCurrent) => {
            const shown = await this.#readPage(start);
            if (isCurrent()) this.shownPage.value = shown;
          },
          LIST_POLL_MS,
          this.fault,
        ),
      );
    });
  }

  async #readPage(start: string | undefined) {
    const { path, query = {}, row, sort, rowsIn, size = ROWS_PER_PAGE } = this.#props;
    const parameters = Object.entries({ ...resolveQuery(query), sort: sort?.value }).filter(
      ([, value]) => value !== undefined,
    );
    const all = Object.fromEntries(parameters) as Record<string, string | number>;
    if (rowsIn) {
      const answer = await readJson<Answer>(path, { query: all });
      const rows = rowsIn(answer);
      const first = Number(start ?? 0);
      const after = first + size;
      return {
        answer,
        rows: groupIntoLines(rows.slice(first, after), row),
        next: after < rows.length ? String(after) : undefined,
      };
    }
    const after = start === undefined ? {} : { after_id: start };
    const page = await readJson<Page<Row>>(path, {
      query: { ...all, ...after, limit: row.says ? GROUPED_ROWS_PER_PAGE : size },
    });
    const next = page.has_more ? (page.last_id ?? undefined) : undefined;
    return { answer: page as Answer, rows: groupIntoLines(page.data, row), next };
  }
}

function resolveQuery(query: ListQuery | (() => ListQuery)): ListQuery {
  return typeof query === 'function' ? query() : query;
}

/** Goes from page to page, where there are several. */
function PageTurner<Row, Answer>({ name, pages }: { name: string; pages: ListPages<Row, Answer> }) {
  const next = pages.shownPage.value?.next;
  const { isFirst } = pages;
  const nav = useRef<HTMLElement>(null);
  const wasPressed = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: these are what disables a button, which then loses the focus.
  useEffect(() => {
    const { activeElement: active } = document;
    const isLost = active === document.body || (nav.current?.contains(active) && active?.matches(':disabled'));
    if (!nav.current || !wasPressed.current || !isLost) return;
    wasPressed.current = false;
    focusHeading(nav.current);
  }, [next, isFirst]);
  if (next === undefined && isFirst) return null;
  const turnTo = (starts: readonly string[]) => {
    wasPressed.current = true;
    pages.pageStarts.value = starts;
    pages.openedKey.value = undefined;
  };
  const { value: starts } = pages.pageStarts;
  return (
    <nav ref={nav} class="row" aria-label={`Pages of ${name.toLowerCase()}`}>
      <SmallButton name="Previous" disabled={isFirst} onClick={() => turnTo(starts.slice(0, -1))} />
      <SmallButton
        name="Next"
        disabled={next === undefined}
        onClick={() => next !== undefined && turnTo([...starts, next])}
      />
      <span class="quiet" role="status">
        Page {pages.pageNumber}
      </span>
    </nav>
  );
}

/** Takes the focus to the heading of the list that is turned. */
function focusHeading(nav: HTMLElement | null): void {
  const heading = nav?.closest('section, .stack')?.querySelector<HTMLElement>('h2, h3');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus();
}

/** The heading of a column. All of it is pressed to sort by it. */
function ColumnHeading<Row>({ column, sort }: { column: Column<Row>; sort: Signal<string> | undefined }) {
  const { name, kind, sort: order } = column;
  const isSorted = sort !== undefined && order !== undefined;
  const direction = order === 'name' || order === 'group' ? 'ascending' : 'descending';
  const sorted = isSorted ? (sort.value === order ? direction : 'none') : undefined;
  return (
    <th scope="col" class={classesOf(column)} aria-sort={sorted}>
      {isSorted ? (
        <button type="button" class="sort" onClick={() => (sort.value = order)}>
          {name}
        </button>
      ) : kind === 'action' ? (
        <span class="unseen">{name}</span>
      ) : (
        name
      )}
    </th>
  );
}

interface ListRowProps<Row> {
  line: ListLine<Row>;
  /** As `Column` has it. */
  rowCountText: string;
  definition: RowDefinition<Row>;
  columns: readonly Column<Row>[];
  openedKey: Signal<string | undefined>;
}

function ListRow<Row>({
  line: { key, row },
  rowCountText: times,
  definition: of,
  columns,
  openedKey: opened,
}: ListRowProps<Row>) {
  const isOpen = opened.value === key;
  const look = of.look?.(row);
  const cells = columns.map((column, index) => {
    const content = column.cell(row, times);
    if (index > 0) {
      return (
        <td key={column.name} class={classesOf(column)}>
          {content}
        </td>
      );
    }
    return (
      <th key={column.name} scope="row" class={classesOf(column)}>
        {of.details ? (
          <button
            type="button"
            class="link"
            aria-expanded={isOpen}
            onClick={() => (opened.value = isOpen ? undefined : key)}
          >
            {content}
          </button>
        ) : (
          content
        )}
      </th>
    );
  });
  return (
    <>
      <tr data-look={look}>{cells}</tr>
      {isOpen && of.details && (
        <tr>
          <td colSpan={columns.length} class="opened">
            {of.details(row)}
          </td>
        </tr>
      )}
    </>
  );
}

function classesOf({ kind, spare }: Pick<Column<never>, 'kind' | 'spare'>): string | undefined {
  const classes = [kind === 'action' ? '' : (kind ?? ''), spare ? 'spare' : ''].filter(Boolean);
  return classes.length > 0 ? classes.join(' ') : undefined;
}
