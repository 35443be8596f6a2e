/** Keeps the batch that is being made: its file, its prompt, its price. */
import { computed, signal } from '@preact/signals';
import type { BatchEstimate } from '../../client/index.ts';
import { newKey } from '../../client/transport.ts';
import { refreshQuota } from '../edge/account.ts';
import { AsyncAction } from '../edge/async-action.ts';
import { edge } from '../edge/client.ts';
import { model } from '../edge/models.ts';
import { announce } from '../ui/announcer.tsx';
import { formatCount } from '../ui/format.ts';
import { go } from '../ui/route.ts';
import { readUpload } from './read-file.ts';
import { requestsOfRows } from './requests-of-rows.ts';
import { SAMPLE } from './sample.ts';
import type { Upload } from './upload.ts';

const MAX_TOKENS = 4_096;

export const upload = signal<Upload | undefined>(undefined);
export const template = signal('');
export const systemText = signal('');
export const answerTokens = signal(MAX_TOKENS);
/** The column of the ids; empty: rows are numbered. */
export const idColumn = signal('');

/** A batch as it would go up, and its price. */
interface Priced {
  count: number;
  body: Blob;
  estimate: BatchEstimate;
  /** Sent with the batch: pressing the button again after a failure makes no second one. */
  key: string;
  /** What it was made from: it is of no use once that has changed. */
  from: string;
}

const lastPriced = signal<Priced | undefined>(undefined);
/** What the body is made from. A file that already has requests goes up as it is. */
const source = computed(() =>
  upload.value?.kind === 'items'
    ? ''
    : JSON.stringify([model.value?.id, template.value, systemText.value, answerTokens.value, idColumn.value]),
);
export const priced = computed(() => (lastPriced.value?.from === source.value ? lastPriced.value : undefined));

const drafting = new AsyncAction();
export const { busy: draftBusy, fault: draftFault } = drafting;

/** Reads a file in place of the one before it. */
export async function choose(file: File): Promise<void> {
  forget();
  await drafting.run(async () => {
    take(await readUpload(file));
  });
}

/** Takes a sample, for users without a file. */
export function chooseSample(): void {
  forget();
  take(SAMPLE.upload);
  template.value = SAMPLE.template;
}

/** Lets go of the file. */
export function forget(): void {
  upload.value = undefined;
  lastPriced.value = undefined;
  draftFault.value = undefined;
}

/** Asks what the batch costs at most. Nothing is sent to Claude. */
export async function price(): Promise<void> {
  const read = upload.value;
  if (!read) return;
  const from = source.value;
  await drafting.run(async () => {
    lastPriced.value = undefined;
    const { count, body } = read.kind === 'items' ? read : await requestsOfRows(read, prompt());
    const estimate = await edge().batches.dryRun(body);
    if (upload.value === read) lastPriced.value = { count, body, estimate, key: newKey(), from };
  });
}

/** Sends the batch whose price is shown, and shows it. */
export async function submit(): Promise<void> {
  const ready = priced.value;
  if (!ready) return;
  await drafting.run(async () => {
    const { id } = await edge().batches.create(ready.body, { idempotencyKey: ready.key });
    forget();
    announce(`A batch of ${formatCount(ready.count)} requests was made.`);
    go('batches', id);
    await refreshQuota();
  });
}

function take(read: Upload): void {
  upload.value = read;
  idColumn.value = '';
  if (read.kind !== 'rows') return;
  template.value = `{{${read.columns[0]}}}`;
  announce(`${formatCount(read.rows.length)} rows were read.`);
}

function prompt() {
  const chosen = model.value;
  if (!chosen) throw new Error('This account may not use any model. Ask the operator of this edge to allow one.');
  return {
    model: chosen.id,
    maxTokens: answerTokens.value,
    system: systemText.value,
    template: template.value,
    idColumn: idColumn.value === '' ? undefined : idColumn.value,
  };
}
