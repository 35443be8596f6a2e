import { batchId } from '../ui/route.ts';
import { BatchList } from './batch-list.tsx';
import { BatchView } from './batch-view.tsx';
import { NewBatch } from './new-batch.tsx';

/** Shows the account's batches, or the one that the URL names. */
export function Batches() {
  const id = batchId.value;
  if (id !== undefined) {
    return (
      <div class="page batches">
        <BatchView key={id} id={id} />
      </div>
    );
  }
  return (
    <div class="page batches">
      <header class="stack">
        <h1>Batches</h1>
        <p class="lead-more">
          Send many requests at once, for half the price. They are answered within a day, usually within an hour.
        </p>
      </header>
      <NewBatch />
      <BatchList />
    </div>
  );
}
