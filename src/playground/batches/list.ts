/** Keeps the list of the account's batches. */
import { signal } from '@preact/signals';
import type { Batch } from '../../client/index.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import { poll } from '../edge/poll.ts';
import { Removals } from '../edge/removals.ts';
import { go } from '../ui/route.ts';

const FIRST_ROWS = 20;
/** The most that the edge gives at a time. */
const MOST_AT_ONCE = 1_000;
const AGAIN_WHILE_RUNNING_MS = 5_000;
const AGAIN_MS = 30_000;

/** Undefined until it was loaded. */
export const batches = signal<Batch[] | undefined>(undefined);
export const hasOlder = signal(false);
export const listFault = signal<string | undefined>(undefined);

let wanted = FIRST_ROWS;
let questions = 0;

/** Loads the newest batches. If several loads overlap, the last one counts. */
async function refreshBatches(): Promise<void> {
  questions += 1;
  const question = questions;
  const rows: Batch[] = [];
  let more = false;
  for await (const batch of edge().batches.list({ limit: Math.min(wanted + 1, MOST_AT_ONCE) })) {
    more = rows.length === wanted;
    if (more) break;
    rows.push(batch);
  }
  if (question !== questions) return;
  batches.value = rows;
  hasOlder.value = more;
  listFault.value = undefined;
}

/** Shows older ones too. */
export function showMore(): void {
  wanted += FIRST_ROWS;
  void change();
}

/** Does something with a batch, if anything, and shows how the list is then. */
export async function change(work?: () => Promise<unknown>): Promise<void> {
  try {
    await work?.();
    await refreshBatches();
  } catch (thrown) {
    listFault.value = sentenceOf(thrown);
  }
}

export const removedBatches = new Removals();

/** Deletes a batch that has ended. Until that can no longer be undone it stays in the list. */
export function removeBatch(id: string, isOpen: boolean): void {
  const finish = async () => {
    await edge().fetch(`/v1/messages/batches/${encodeURIComponent(id)}`, { method: 'DELETE', keepalive: true });
    await refreshBatches();
  };
  removedBatches.remove(id, { finish, ...(isOpen ? { leave: () => go('batches') } : {}) });
}

/** Keeps the list up to date while the page is visible. */
export function keepBatches(): () => void {
  const runs = () => batches.value?.some(({ processing_status }) => processing_status !== 'ended');
  return poll(refreshBatches, () => (runs() ? AGAIN_WHILE_RUNNING_MS : AGAIN_MS), listFault);
}
