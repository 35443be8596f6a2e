import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import type { BatchResult } from '../../client/index.ts';
import { sentenceOf } from '../edge/client.ts';
import { SmallButton } from '../ui/button.tsx';
import { Code } from '../ui/code.tsx';
import { Dialog } from '../ui/dialog.tsx';
import { Fault } from '../ui/fault.tsx';
import { FilterField, Select } from '../ui/form.tsx';
import { formatCount } from '../ui/format.ts';
import { Pager } from '../ui/pager.tsx';
import { saveFile } from '../ui/save-file.ts';
import { Table } from '../ui/table.tsx';
import { resultsCsv } from './download.ts';
import type { BatchResults, ResultRow } from './results.ts';

const RESULTS_AT_ONCE = 50;

/** Shows results, a page at a time, and saves them all. */
export function ResultsTable({ id, results }: { id: string; results: BatchResults }) {
  const outcome = useSignal('');
  const filter = useSignal('');
  const first = useSignal(0);
  const whole = useSignal<BatchResult | undefined>(undefined);
  const shown = results.shown.value;
  const wanted = filter.value.trim().toLowerCase();
  const rows = useMemo(
    () =>
      results.rows
        .slice(0, shown)
        .filter(
          (row) =>
            (outcome.value === '' || row.outcome === outcome.value) &&
            (wanted === '' || row.id.toLowerCase().includes(wanted) || row.text.toLowerCase().includes(wanted)),
        ),
    [results, shown, outcome.value, wanted],
  );
  const complete = results.complete.value;
  // A first page is drawn at once: rows that come one by one would push what stands below them down.
  const isDrawn = complete || shown >= RESULTS_AT_ONCE || results.fault.value !== undefined;
  const saveCsv = () => {
    void resultsCsv(results.blob())
      .then((csv) => saveFile(`${id}.csv`, csv))
      .catch((thrown: unknown) => {
        results.fault.value = sentenceOf(thrown);
      });
  };
  return (
    <section class="stack" aria-labelledby="results" aria-busy={!complete}>
      <div class="apart">
        <div class="inline">
          <h2 id="results">Results</h2>
          <span class="quiet" role="status">
            {complete ? '' : `${formatCount(shown)} so far…`}
          </span>
        </div>
        <div class="inline filters">
          <FilterField label="Filter by id or text" value={filter} first={first} />
          <Select
            label="Outcome"
            value={outcome.value}
            options={[['', 'All outcomes'], 'succeeded', 'errored', 'canceled', 'expired']}
            onChoose={(one) => {
              outcome.value = one;
              first.value = 0;
            }}
          />
        </div>
      </div>
      {results.fault.value && <Fault text={results.fault.value} />}
      {isDrawn && (
        <>
          <Table
            label="Results, request by request"
            columns={['Id', 'Outcome', 'Answer', 'In', 'Out', 'Ended']}
            action="Show"
          >
            {rows.slice(first.value, first.value + RESULTS_AT_ONCE).map((row) => (
              <ResultLine key={row.from} row={row} show={async () => (whole.value = await results.whole(row))} />
            ))}
          </Table>
          <Pager first={first} count={rows.length} size={RESULTS_AT_ONCE} />
          <p class="row">
            <SmallButton
              name="Download JSONL"
              disabled={!complete}
              onClick={() => saveFile(`${id}.jsonl`, results.blob())}
            />
            <SmallButton name="Download CSV" disabled={!complete} onClick={saveCsv} />
          </p>
        </>
      )}
      {whole.value && (
        <Dialog title={whole.value.custom_id} onClose={() => (whole.value = undefined)}>
          <Code code={JSON.stringify(whole.value.result, null, 2)} language="json" />
        </Dialog>
      )}
    </section>
  );
}

function ResultLine({ row, show }: { row: ResultRow; show(): Promise<unknown> }) {
  const { id, outcome, text, inputTokens, outputTokens, stopReason } = row;
  return (
    <tr>
      <th scope="row">{id}</th>
      <td>{outcome}</td>
      <td class="answer-cell clipped">{text}</td>
      <td>{inputTokens === null ? '' : formatCount(inputTokens)}</td>
      <td>{outputTokens === null ? '' : formatCount(outputTokens)}</td>
      <td>{stopReason}</td>
      <td>
        <SmallButton name="Show" onClick={() => void show()} />
      </td>
    </tr>
  );
}
