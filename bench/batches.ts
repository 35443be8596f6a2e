/** What a batch of 100,000 items costs: CPU of making and of settling it, and what the isolate holds meanwhile; and files. */
import { setTimeout as sleep } from 'node:timers/promises';
import { END_BATCHES, FILE_BYTES, FILE_ID, FORM_BOUNDARY } from './batch-api.ts';
import { type Contender, metered } from './contenders.ts';
import { Inspector } from './inspector.ts';
import { nextMessage, startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import type { Uploaded, UploadOrder } from './uploads.ts';

const ITEMS = 100_000;
const ITEM_BYTES = 1_000;
/** The compiler has seen by then what is hot. */
const WARMING_ITEMS = 5_000;
/** Each makes and settles a whole batch: more would take longer than all else that is measured. */
const MOST_ROUNDS = 3;
/** In bytes; a MB is 1,000,000 of them. */
const MOST_ABOVE_START = 40e6;
/** Milliseconds of CPU an item. */
const CPU_CEILINGS = { created: 0.1, settled: 0.1 };
const ASKED_EVERY_MS = 500;
const SETTLED_WITHIN_MS = 300_000;
const PATH = '/v1/messages/batches';

/** The bytes of the items are all that the default allows; what stands between them is more. */
const contender: Contender = { ...metered, name: 'batches', vars: { ...metered.vars, MAX_BATCH_BYTES: '101000000' } };

/** What an isolate holds while something is done, in bytes. */
interface MemoryFigures {
  idleBytes: number;
  peakBytes: number;
}

export interface BatchFigures {
  /** Milliseconds of CPU an item; undefined where it cannot be read. */
  cpu: Record<keyof typeof CPU_CEILINGS, Spread> | undefined;
  memory: Record<'created' | 'settled' | 'uploaded' | 'chunked' | 'downloaded', MemoryFigures>;
}

/** The CPU is that of a runtime without an inspector, the memory that of another one with it. */
export async function measureBatches(bundle: Bundle, upstream: string, rounds: number): Promise<BatchFigures> {
  const cpu = await measureCpu(bundle, upstream, Math.min(rounds, MOST_ROUNDS));
  return { cpu, memory: await measureMemory(bundle, upstream) };
}

async function measureCpu(bundle: Bundle, upstream: string, rounds: number): Promise<BatchFigures['cpu']> {
  const server = await startServer(contender, bundle, upstream);
  const client = new BatchClient(server, upstream);
  await client.create(WARMING_ITEMS);
  await client.settle();
  const samples = { created: [] as number[], settled: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, work] of [
      ['created', () => client.create(ITEMS)],
      ['settled', () => client.settle()],
    ] as const) {
      const before = server.cpuMs();
      await work();
      const after = server.cpuMs();
      if (before !== undefined && after !== undefined) samples[name].push((after - before) / ITEMS);
    }
  }
  client.stop();
  await server.stop();
  if (samples.created.length === 0) return undefined;
  return { created: spread(samples.created), settled: spread(samples.settled) };
}

async function measureMemory(bundle: Bundle, upstream: string): Promise<BatchFigures['memory']> {
  const server = await startServer(contender, bundle, upstream, { inspected: true });
  const client = new BatchClient(server, upstream);
  // What is made once, by whatever comes first, is none of theirs.
  await client.create(1);
  await client.settle();
  const inspector = await Inspector.connect(server.inspector as URL);
  const peakDuring = async (work: () => Promise<void>): Promise<MemoryFigures> => {
    const idleBytes = await inspector.alive(() => fetch(`${server.origin}/health`));
    const { peakBytes } = await inspector.peakDuring(work);
    return { idleBytes, peakBytes };
  };
  const memory = {
    created: await peakDuring(() => client.create(ITEMS)),
    settled: await peakDuring(() => client.settle()),
    uploaded: await peakDuring(() => client.upload()),
    chunked: await peakDuring(() => client.upload(true)),
    downloaded: await peakDuring(() => client.download()),
  };
  inspector.close();
  client.stop();
  await server.stop();
  return memory;
}

/** Makes and settles batches at one server. */
class BatchClient {
  readonly #server: Server;
  readonly #upstream: string;
  readonly #uploads = startChild(new URL('uploads.ts', import.meta.url));
  /** Of the newest batch. */
  #items = 0;

  constructor(server: Server, upstream: string) {
    this.#server = server;
    this.#upstream = upstream;
  }

  async create(items: number): Promise<void> {
    this.#items = items;
    await this.#send({ path: PATH, method: 'POST', body: { kind: 'batch', items, bytes: ITEM_BYTES } });
  }

  /** Has the upstream end all batches, and waits until the newest one is settled. */
  async settle(): Promise<void> {
    await fetch(this.#upstream + END_BATCHES, { method: 'POST' });
    const until = performance.now() + SETTLED_WITHIN_MS;
    while (performance.now() < until) {
      const answer = await fetch(`${this.#server.origin}${PATH}?limit=1`, { headers: metered.headers(0, 0) });
      const { data } = (await answer.json()) as { data: { id: string }[] };
      const id = data[0]?.id;
      if (id === undefined) throw new Error('the account has no batch');
      const read = await fetch(`${this.#server.origin}${PATH}/${id}`, { headers: metered.headers(0, 0) });
      const { processing_status, request_counts } = (await read.json()) as {
        processing_status: string;
        request_counts: { succeeded: number };
      };
      if (processing_status === 'ended') {
        if (request_counts.succeeded === this.#items) return;
        throw new Error(`${request_counts.succeeded} of ${this.#items} items are settled`);
      }
      await sleep(ASKED_EVERY_MS);
    }
    throw new Error('the batch is not settled');
  }

  async upload(isLengthUnknown = false): Promise<void> {
    const type = `multipart/form-data; boundary=${FORM_BOUNDARY}`;
    const body = { kind: 'file', bytes: FILE_BYTES } as const;
    await this.#send({ path: '/v1/files', method: 'POST', body, headers: { 'content-type': type }, isLengthUnknown });
  }

  async download(): Promise<void> {
    await this.#send({ path: `/v1/files/${FILE_ID}/content`, method: 'GET', body: { kind: 'none' } });
  }

  stop(): void {
    this.#uploads.disconnect();
  }

  async #send(order: Pick<UploadOrder, 'path' | 'method' | 'body'> & Partial<UploadOrder>): Promise<void> {
    const headers = { ...metered.headers(0, 0), ...order.headers };
    const whole: UploadOrder = { origin: this.#server.origin, requests: 1, holds: false, ...order, headers };
    this.#uploads.send(whole);
    const answer = await nextMessage<{ result: Uploaded } | { error: string }>(this.#uploads);
    if ('error' in answer) throw new Error(`${order.path}: ${answer.error}`);
    const [status] = answer.result.last;
    if (status !== 200) throw new Error(`${order.path}: the answer has status ${status}`);
  }
}

function isHigh({ idleBytes, peakBytes }: MemoryFigures): boolean {
  return peakBytes - idleBytes > MOST_ABOVE_START;
}

/** @returns whether a ceiling is exceeded. */
export function isOver({ cpu, memory }: BatchFigures): boolean {
  const isSlow = cpu && (cpu.created.median > CPU_CEILINGS.created || cpu.settled.median > CPU_CEILINGS.settled);
  return isSlow === true || Object.values(memory).some(isHigh);
}

export function batchTable({ cpu, memory }: BatchFigures): string {
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  const spent = (title: string, name: keyof typeof CPU_CEILINGS) => {
    if (!cpu) return [];
    const { median, min, max } = cpu[name];
    const ceiling = CPU_CEILINGS[name];
    const text = `${number(median)} (${number(min)}–${number(max)})`;
    return [[`  ${title}`, text, verdict(String(ceiling), median > ceiling)]];
  };
  const held = (title: string, figures: MemoryFigures) => [
    `  ${title}`,
    `${mb(figures.peakBytes - figures.idleBytes)} above ${mb(figures.idleBytes)}`,
    verdict(mb(MOST_ABOVE_START), isHigh(figures)),
  ];
  return align([
    [`a batch of ${ITEMS} items of ${ITEM_BYTES} bytes`, '', 'ceiling'],
    ...spent('CPU an item created, ms', 'created'),
    ...spent('CPU an item settled, ms', 'settled'),
    held('MB held, created', memory.created),
    held('MB held, settled', memory.settled),
    held(`MB held, a file of ${mb(FILE_BYTES)} MB up`, memory.uploaded),
    held('MB held, the same in chunks', memory.chunked),
    held('MB held, the same down', memory.downloaded),
  ]);
}
