/** Lists what the edge has: one way for all lists to load, to be empty, to fail, and to go from page to page. */

import { effect, type Signal, signal, untracked } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { ServedRoutePath } from '../../edge/answers.ts';
import { SmallButton } from '../ui/button.tsx';
import { formatCount } from '../ui/format.ts';
import { TableFrame } from '../ui/table.tsx';
import { readJson } from './client.ts';
import { pollWhileVisible } from './poll.ts';
import { StalePartFault } from './retry-fault.tsx';

/** A column and its content. */
export interface ListColumn<Row> {
  name: string;
  /**
   * `number` is aligned to the right, `text` may take several lines, and `action` is a button, whose heading is only for screen
   * readers.
   */
  kind?: 'number' | 'text' | 'action';
  /** Whether it is left out where the window is narrow. */
  spare?: boolean;
  /** The sort order that its heading selects. */
  sort?: string;
  /** @param times the number of rows that this one stands for, as text: empty for one */
  renderCell(row: Row, times: string): ComponentChildren;
}

/** The definition of a row, beside its cells. */
export interface ListRowDefinition<Row> {
  getKey(row: Row): string;
  /** How the row is highlighted: an error, a running item, or a deleted one. */
  look?(row: Row): 'refused' | 'running' | 'removed' | undefined;
  /** The content of a row. Rows of a page with the same content are one line, with the newest of them. */
  says?(row: Row): string;
  /** The details that open below the row when its first cell is pressed. */
  details?(row: Row): ComponentChildren;
}

type ListQuery = Readonly<Record<string, string | number | undefined>>;

interface PolledListProps<Row, Answer> {
  /** The name of the list, such as `Alerts`, for screen readers and for the error if the list cannot be read. */
  name: string;
  path: ServedRoutePath;
  /** A function is called for each question: “today” is another day after midnight. */
  query?: ListQuery | (() => ListQuery);
  columns: readonly ListColumn<Row>[];
  row: ListRowDefinition<Row>;
  /** The text of an empty list. */
  empty: ComponentChildren;
  /** Takes the rows out of an answer that has all of them. Default: the edge has pages of them. */
  rowsIn?(answer: Answer): readonly Row[];
  /** The text about the whole response, above the rows. @param isPart whether there are other pages of it */
  about?(answer: Answer, isPart: boolean): ComponentChildren;
  /** The selected sort order, if headings can select it. */
  sort?: Signal<string>;
  /** How many rows a page has. */
  size?: number;
}

const ROWS_PER_PAGE = 10;
/** How many rows a page has whose lines may each stand for several. */
const GROUPED_ROWS_PER_PAGE = 100;
const LIST_POLL_MS = 5_000;

/** Shows a list of the edge, up to date while the page is visible, ten rows at a time. */
export function PolledList<Row, Answer = Page<Row>>(props: PolledListProps<Row, Answer>) {
  const { name, path, query = {}, columns, row, empty, about, sort, size = ROWS_PER_PAGE } = props;
  const wanted = JSON.stringify([path, resolveListQuery(query), sort?.value, size]);
  // Do not show the results of another query as those of this one.
  // biome-ignore lint/correctness/useExhaustiveDependencies: `wanted` is the text of everything in `props` that changes the query.
  const pages = useMemo(() => new ListPageLoader(props), [wanted]);
  useEffect(() => pages.pollShownPage(), [pages]);
  const { answer, rows, next } = pages.shownPage.value ?? {};
  const isPart = !pages.isFirstPage || next !== undefined;
  // Keep the headings while another sort order is loading, because the pressed heading has the focus.
  const hasTable = useRef(false);
  hasTable.current = rows ? rows.length > 0 || !pages.isFirstPage : hasTable.current && pages.fault.value === undefined;
  const hasLoaded = useRef(false);
  hasLoaded.current ||= rows !== undefined || pages.fault.value !== undefined;
  return (
    <>
      <StalePartFault name={name} fault={pages.fault} />
      {answer !== undefined && about?.(answer, isPart)}
      {rows === undefined && !hasTable.current && pages.fault.value === undefined && (
        <p class={hasLoaded.current ? 'quiet' : 'quiet loading'}>…</p>
      )}
      {rows?.length === 0 && pages.isFirstPage && <p class="quiet">{empty}</p>}
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
      <PageNavigation name={name} pages={pages} />
    </>
  );
}

/** A line of a list. */
interface GroupedListLine<Row> {
  key: string;
  /** The row that is shown: the first of those that say the same. */
  row: Row;
  rowCount: number;
}

/**
 * @returns the number of rows that a line stands for, as text. If there are several pages, the text adds that it counts only
 *   those of this page
 */
function formatRowCount(times: number, isPart: boolean): string {
  return times === 1 ? '' : `\u00a0×\u00a0${formatCount(times)}${isPart ? ' on this page' : ''}`;
}

/** @returns the lines of rows: those that say the same are one */
function groupEqualRows<Row>(
  rows: readonly Row[],
  { getKey: key, says = key }: ListRowDefinition<Row>,
): GroupedListLine<Row>[] {
  const lines = new Map<string, GroupedListLine<Row>>();
  for (const row of rows) {
    const said = says(row);
    const line = lines.get(said);
    if (line) line.rowCount += 1;
    else lines.set(said, { key: said, row, rowCount: 1 });
  }
  return [...lines.values()];
}

/** Loads a list page by page. */
class ListPageLoader<Row, Answer> {
  readonly shownPage = signal<
    { rows: readonly GroupedListLine<Row>[]; answer: Answer; next: string | undefined } | undefined
  >(undefined);
  readonly fault = signal<string | undefined>(undefined);
  /** The starts of the pages that were opened. The last one is shown. */
  readonly pageStarts = signal<readonly string[]>([]);
  /** The row whose details are shown. */
  readonly openedKey = signal<string | undefined>(undefined);
  readonly #props: PolledListProps<Row, Answer>;

  constructor(props: PolledListProps<Row, Answer>) {
    this.#props = props;
  }

  get isFirstPage(): boolean {
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
        pollWhileVisible(
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
    const parameters = Object.entries({ ...resolveListQuery(query), sort: sort?.value }).filter(
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
        rows: groupEqualRows(rows.slice(first, after), row),
        next: after < rows.length ? String(after) : undefined,
      };
    }
    const after = start === undefined ? {} : { after_id: start };
    const page = await readJson<Page<Row>>(path, {
      query: { ...all, ...after, limit: row.says ? GROUPED_ROWS_PER_PAGE : size },
    });
    const next = page.has_more ? (page.last_id ?? undefined) : undefined;
    return { answer: page as Answer, rows: groupEqualRows(page.data, row), next };
  }
}

function resolveListQuery(query: ListQuery | (() => ListQuery)): ListQuery {
  return typeof query === 'function' ? query() : query;
}

/** Navigates between pages, if there are several. */
function PageNavigation<Row, Answer>({ name, pages }: { name: string; pages: ListPageLoader<Row, Answer> }) {
  const next = pages.shownPage.value?.next;
  const { isFirstPage: isFirst } = pages;
  const nav = useRef<HTMLElement>(null);
  const wasPressed = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a change of these can disable the focused button.
  useEffect(() => {
    const { activeElement: active } = document;
    const isLost = active === document.body || (nav.current?.contains(active) && active?.matches(':disabled'));
    if (!nav.current || !wasPressed.current || !isLost) return;
    wasPressed.current = false;
    focusListHeading(nav.current);
  }, [next, isFirst]);
  if (next === undefined && isFirst) return null;
  const goToPage = (starts: readonly string[]) => {
    wasPressed.current = true;
    pages.pageStarts.value = starts;
    pages.openedKey.value = undefined;
  };
  const { value: starts } = pages.pageStarts;
  return (
    <nav ref={nav} class="row" aria-label={`Pages of ${name.toLowerCase()}`}>
      <SmallButton name="Previous" disabled={isFirst} onClick={() => goToPage(starts.slice(0, -1))} />
      <SmallButton
        name="Next"
        disabled={next === undefined}
        onClick={() => next !== undefined && goToPage([...starts, next])}
      />
      <span class="quiet" role="status">
        Page {pages.pageNumber}
      </span>
    </nav>
  );
}

/** Takes the focus to the heading of the list that is turned. */
function focusListHeading(nav: HTMLElement | null): void {
  const heading = nav?.closest('section, .stack')?.querySelector<HTMLElement>('h2, h3');
  heading?.setAttribute('tabindex', '-1');
  heading?.focus();
}

/** The heading of a column. All of it is pressed to sort by it. */
function ColumnHeading<Row>({ column, sort }: { column: ListColumn<Row>; sort: Signal<string> | undefined }) {
  const { name, kind, sort: order } = column;
  const isSorted = sort !== undefined && order !== undefined;
  const direction = order === 'name' || order === 'group' ? 'ascending' : 'descending';
  const sorted = isSorted ? (sort.value === order ? direction : 'none') : undefined;
  return (
    <th scope="col" class={getColumnClasses(column)} aria-sort={sorted}>
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
  line: GroupedListLine<Row>;
  /** As in `ListColumn`. */
  rowCountText: string;
  definition: ListRowDefinition<Row>;
  columns: readonly ListColumn<Row>[];
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
    const content = column.renderCell(row, times);
    if (index > 0) {
      return (
        <td key={column.name} class={getColumnClasses(column)} data-name={column.name}>
          {content}
        </td>
      );
    }
    return (
      <th key={column.name} scope="row" class={getColumnClasses(column)}>
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

function getColumnClasses({ kind, spare }: Pick<ListColumn<never>, 'kind' | 'spare'>): string | undefined {
  const classes = [kind === 'action' ? '' : (kind ?? ''), spare ? 'spare' : ''].filter(Boolean);
  return classes.length > 0 ? classes.join(' ') : undefined;
}
