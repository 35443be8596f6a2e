import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';

/**
 * Batches and files of the fake upstream. It keeps nothing of what comes but its size: who measures what a relay holds must
 * not wait for a machine that has no memory left.
 */

/** What one item of a create must have. */
const MARK = Buffer.from('"custom_id"');
/** A batch ends when somebody posts to this path: what is measured until then is its creation alone. */
export const END_BATCHES = '/bench/end-batches';
export const FILE_BYTES = 100_000_000;
export const FILE_ID = 'file_011BenchBenchBenchBenchB';
export const FORM_BOUNDARY = 'the-bench-sends-a-file';

const PIECE = Buffer.alloc(65_536, 'a line of a long file that is sent piece by piece\n');
const LINES_A_PIECE = 100;

interface Batch {
  id: string;
  items: number;
  createdAt: string;
  endedAt: string | null;
}

const batches = new Map<string, Batch>();

/** Answers a call about batches or files. @returns false for any other call, of which nothing has been read */
export function answerStored(request: IncomingMessage, response: ServerResponse): boolean {
  const { method, url = '' } = request;
  const [path = ''] = url.split('?', 1);
  if (path === END_BATCHES) {
    for (const batch of batches.values()) batch.endedAt ??= new Date().toISOString();
    measure(request, () => json(response, {}));
    return true;
  }
  const [, kind, id, what] = /^\/v1\/(messages\/batches|files)(?:\/([^/]+)(?:\/(\w+))?)?$/.exec(path) ?? [];
  if (kind === undefined) return false;
  if (kind === 'files') {
    if (method === 'POST') measure(request, (bytes) => json(response, file, bytes < FILE_BYTES ? 400 : 200));
    else if (what === 'content') send(response, 'application/octet-stream', fileContent(), FILE_BYTES);
    else json(response, file);
    return true;
  }
  if (method === 'POST' && id === undefined) {
    countItems(request, (items) => json(response, rowOf(make(items))));
    return true;
  }
  const batch = batches.get(id ?? '');
  if (!batch) json(response, { type: 'error', error: { type: 'not_found_error', message: 'no batch' } }, 404);
  else if (what === 'results') send(response, 'application/x-jsonl', results(batch));
  else json(response, rowOf(batch));
  return true;
}

const file = {
  type: 'file',
  id: FILE_ID,
  filename: 'bench.txt',
  mime_type: 'text/plain',
  size_bytes: FILE_BYTES,
  created_at: '2026-11-20T10:00:00Z',
  downloadable: true,
};

function make(items: number): Batch {
  const id = `msgbatch_bench_${batches.size + 1}`;
  const batch: Batch = { id, items, createdAt: new Date().toISOString(), endedAt: null };
  batches.set(id, batch);
  return batch;
}

function rowOf({ id, items, createdAt, endedAt }: Batch) {
  const isEnded = endedAt !== null;
  return {
    id,
    type: 'message_batch',
    processing_status: isEnded ? 'ended' : 'in_progress',
    request_counts: {
      processing: isEnded ? 0 : items,
      succeeded: isEnded ? items : 0,
      errored: 0,
      canceled: 0,
      expired: 0,
    },
    created_at: createdAt,
    expires_at: new Date(Date.parse(createdAt) + 86_400_000).toISOString(),
    ended_at: endedAt,
    cancel_initiated_at: null,
    archived_at: null,
    results_url: null,
  };
}

/** @returns the id of an item that the bench sends. */
export function customIdOf(n: number): string {
  return `item-${String(n).padStart(9, '0')}`;
}

/** One result a line: an answer of some sentences, with all that the API tells of its usage. */
function* results({ items }: Batch): Generator<Buffer> {
  const text = 'The gate opens slowly and the water finds its level again. '.repeat(4);
  for (let from = 0; from < items; from += LINES_A_PIECE) {
    let lines = '';
    for (let n = from; n < Math.min(items, from + LINES_A_PIECE); n += 1) {
      const message = {
        id: `msg_01Bench${String(n).padStart(12, '0')}`,
        type: 'message',
        role: 'assistant',
        model: 'claude-haiku-5-5',
        content: [{ type: 'text', text }],
        stop_reason: 'end_turn',
        stop_sequence: null,
        usage: {
          input_tokens: 230,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 0,
          cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
          output_tokens: 48 + (n % 7),
          service_tier: 'batch',
        },
      };
      lines += `${JSON.stringify({ custom_id: customIdOf(n), result: { type: 'succeeded', message } })}\n`;
    }
    yield Buffer.from(lines);
  }
}

function* fileContent(): Generator<Buffer> {
  for (let left = FILE_BYTES; left > 0; left -= PIECE.length) yield PIECE.subarray(0, left);
}

function countItems(request: IncomingMessage, then: (items: number) => void): void {
  let items = 0;
  let tail = Buffer.alloc(0);
  request.on('data', (piece: Buffer) => {
    const seen = Buffer.concat([tail, piece]);
    for (let at = seen.indexOf(MARK); at >= 0; at = seen.indexOf(MARK, at + MARK.length)) items += 1;
    // The mark is longer than what is kept, so none is counted twice.
    tail = seen.subarray(Math.max(0, seen.length - MARK.length + 1));
  });
  request.once('end', () => then(items));
}

function measure(request: IncomingMessage, then: (bytes: number) => void): void {
  let bytes = 0;
  request.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  request.once('end', () => then(bytes));
}

function json(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function send(response: ServerResponse, type: string, pieces: Iterable<Buffer>, length?: number): void {
  const known = length === undefined ? {} : { 'content-length': length };
  response.writeHead(200, { 'content-type': type, ...known });
  Readable.from(pieces, { objectMode: true }).pipe(response);
}
