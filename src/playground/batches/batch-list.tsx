import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Batch } from '../../client/index.ts';
import { edge } from '../edge/client.ts';
import { UndoNote } from '../edge/undo-note.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Empty } from '../ui/empty.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { chooseSample } from './draft.ts';
import { batches, change, hasOlder, keepBatches, listFault, removeBatch, removedBatches, showMore } from './list.ts';
import { batchStateOf, totalOf } from './progress.ts';

/** Lists the batches of the account, newest first. */
export function BatchList() {
  useEffect(keepBatches, []);
  const rows = batches.value;
  const complaint = listFault.value ?? removedBatches.fault.value;
  return (
    <section class="stack" aria-labelledby="batch-list" aria-busy={rows === undefined}>
      <h2 id="batch-list">Your batches</h2>
      {complaint && <Fault text={complaint} />}
      {rows !== undefined && rows.length === 0 && (
        <Empty example="Fill in twelve tickets" onTry={chooseSample}>
          No batches yet. Those you send stay here until you delete them.
        </Empty>
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
    <tr data-running={runs} data-removed={removedBatches.waiting.value.has(id) || undefined}>
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

/**
 * Cancels a batch that runs, when asked twice, and deletes one that has ended, which can be undone.
 *
 * @param isOpen whether it is the one that the URL names
 */
export function BatchActions({ batch, isOpen = false }: { batch: Batch; isOpen?: boolean }) {
  const asks = useSignal(false);
  const { id, processing_status } = batch;
  if (removedBatches.waiting.value.has(id)) return <UndoNote removals={removedBatches} of={id} title={id} />;
  if (processing_status === 'canceling') return <span class="quiet">ending</span>;
  if (processing_status === 'ended') return <SmallButton name="Delete" onClick={() => removeBatch(id, isOpen)} />;
  if (!asks.value) return <SmallButton name="Cancel" onClick={() => (asks.value = true)} />;
  return (
    <span class="inline">
      <SmallButton
        kind="danger"
        name="Cancel the rest"
        onClick={() => {
          asks.value = false;
          void change(() => edge().batches.cancel(id));
        }}
      />
      <SmallButton name="Keep" onClick={() => (asks.value = false)} />
    </span>
  );
}
