import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Batch } from '../../client/index.ts';
import { edge } from '../edge/client.ts';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { batches, change, hasOlder, keepBatches, listFault, showMore } from './list.ts';
import { batchStateOf, totalOf } from './progress.ts';

/** Lists the batches of the account, newest first. */
export function BatchList() {
  useEffect(keepBatches, []);
  const rows = batches.value;
  return (
    <section class="stack" aria-labelledby="batch-list" aria-busy={rows === undefined}>
      <h2 id="batch-list">Your batches</h2>
      {listFault.value && <Fault text={listFault.value} />}
      {rows !== undefined && rows.length === 0 && (
        <p class="quiet">No batches yet. Those you send stay here until you delete them.</p>
      )}
      {rows !== undefined && rows.length > 0 && (
        <Table label="Sent batches" columns={['Created', 'Batch', 'Requests', 'State']} action="Cancel or delete">
          {rows.map((batch) => (
            <BatchRow key={batch.id} batch={batch} />
          ))}
        </Table>
      )}
      {hasOlder.value && (
        <p class="row">
          <SmallButton name="Show older" onClick={showMore} />
        </p>
      )}
    </section>
  );
}

function BatchRow({ batch }: { batch: Batch }) {
  const { id, created_at, processing_status } = batch;
  const runs = processing_status !== 'ended';
  return (
    <tr data-running={runs}>
      <td>{formatMoment(created_at)}</td>
      <th scope="row">
        <a href={`#/batches/${encodeURIComponent(id)}`}>{id}</a>
      </th>
      <td>{formatCount(totalOf(batch))}</td>
      <td>{batchStateOf(batch)}</td>
      <td>
        <BatchActions batch={batch} />
      </td>
    </tr>
  );
}

/** Cancels a batch that runs, and deletes one that has ended: both only when asked twice. */
export function BatchActions({ batch, onDeleted = () => {} }: { batch: Batch; onDeleted?: () => void }) {
  const asks = useSignal(false);
  const { id, processing_status } = batch;
  if (processing_status === 'canceling') return <span class="quiet">ending</span>;
  const [name, sure, work] =
    processing_status === 'ended'
      ? ([
          'Delete',
          'Delete for good',
          async () => {
            await edge().batches.delete(id);
            onDeleted();
          },
        ] as const)
      : (['Cancel', 'Cancel the rest', () => edge().batches.cancel(id)] as const);
  if (!asks.value) return <SmallButton name={name} onClick={() => (asks.value = true)} />;
  return (
    <span class="inline">
      <SmallButton
        kind="danger"
        name={sure}
        onClick={() => {
          asks.value = false;
          void change(work);
        }}
      />
      <SmallButton name="Keep" onClick={() => (asks.value = false)} />
    </span>
  );
}
