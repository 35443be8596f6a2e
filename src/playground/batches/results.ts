/** Reads the results of a batch: short rows to look through, and their bytes to download. */
import { signal } from '@preact/signals';
import type { BatchResult } from '../../client/index.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import type { Outcome } from './progress.ts';

/** A result as the table shows it. */
export interface ResultRow {
  id: string;
  outcome: Outcome;
  /** The beginning of the answer, or the error. */
  text: string;
  stopReason: string;
  inputTokens: number | null;
  outputTokens: number | null;
  /** Where its line stands in the bytes of all. */
  from: number;
  to: number;
}

const TEXT_CHARACTERS = 300;
const BLOB_BYTES = 1_048_576;
/** How often the page shows what has come. */
const SHOW_EVERY_MS = 150;

/** The results of one batch. Only short rows are kept in memory; the lines themselves are the browser's to keep. */
export class BatchResults {
  /** Grows while results come; `shown` says how many of them to show. */
  readonly rows: ResultRow[] = [];
  readonly shown = signal(0);
  readonly complete = signal(false);
  readonly fault = signal<string | undefined>(undefined);
  readonly #closed = new AbortController();
  readonly #encoder = new TextEncoder();
  #blobs: Blob[] = [];
  #lines: Uint8Array<ArrayBuffer>[] = [];
  #pieceBytes = 0;
  #bytes = 0;

  /** Reads the results from the beginning. */
  async read(id: string): Promise<void> {
    let shownAt = 0;
    try {
      for await (const result of edge().batches.results(id, { signal: this.#closed.signal })) {
        this.#add(result);
        const now = performance.now();
        if (now - shownAt < SHOW_EVERY_MS) continue;
        shownAt = now;
        this.shown.value = this.rows.length;
        // What has come is drawn before the next lines are read.
        await new Promise((resolve) => setTimeout(resolve));
      }
      this.complete.value = true;
    } catch (thrown) {
      if (!this.#closed.signal.aborted) this.fault.value = sentenceOf(thrown);
    }
    this.shown.value = this.rows.length;
  }

  /** Stops reading. */
  close(): void {
    this.#closed.abort();
  }

  /** @returns all lines, as the edge has sent them */
  blob(): Blob {
    this.#flush();
    return new Blob(this.#blobs, { type: 'application/jsonl' });
  }

  /** @returns the whole result of a row */
  async whole({ from, to }: ResultRow): Promise<BatchResult> {
    return JSON.parse(await this.blob().slice(from, to).text()) as BatchResult;
  }

  #add(result: BatchResult): void {
    const line = this.#encoder.encode(`${JSON.stringify(result)}\n`);
    const from = this.#bytes;
    this.#bytes += line.length;
    this.rows.push({ ...rowOf(result), from, to: this.#bytes });
    this.#lines.push(line);
    this.#pieceBytes += line.length;
    if (this.#pieceBytes >= BLOB_BYTES) this.#flush();
  }

  #flush(): void {
    this.#blobs.push(new Blob(this.#lines));
    this.#lines = [];
    this.#pieceBytes = 0;
  }
}

/** @returns the text of an answer, or what its error says */
export function textOfResult({ result }: BatchResult): string {
  if (result.type === 'errored') return result.error.error.message;
  if (result.type !== 'succeeded') return '';
  return result.message.content.map((block) => (block.type === 'text' ? block.text : `[${block.type}]`)).join('');
}

function rowOf(one: BatchResult): Omit<ResultRow, 'from' | 'to'> {
  const { custom_id, result } = one;
  const text = textOfResult(one);
  const { usage = null, stop_reason = null } = result.type === 'succeeded' ? result.message : {};
  return {
    id: custom_id,
    outcome: result.type,
    text: text.length > TEXT_CHARACTERS ? `${text.slice(0, TEXT_CHARACTERS)}…` : text,
    stopReason: stop_reason ?? '',
    inputTokens:
      usage && usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0),
    outputTokens: usage?.output_tokens ?? null,
  };
}
