/** A stand-in for the batches of the Claude API, which bills as that does and remembers what it has billed. */

import type { Usage } from '#edge/claude/pricing/cost.ts';

/** One batch that it has. */
interface FakeBatch {
  id: string;
  createdAt: number;
  status: 'in_progress' | 'canceling' | 'ended';
  /** The ids of its items, in their order, with the model that each asks for. */
  items: { id: string; model: string; params: Record<string, unknown> }[];
  isCanceled: boolean;
  endsAt: number;
}

export interface FakeBatchApi {
  batches: Map<string, FakeBatch>;
  /** Milliseconds that a batch takes. */
  takesMs: number;
  /** How many complete creates have come. */
  createCount: number;
  /** How often results were asked for. */
  readCount: number;
  handle(method: string, path: string, body: string): Response;
  /** Has a batch end now; without an id, all of them. */
  end(id?: string): void;
  /** What the items of a batch have used: only those that have succeeded. */
  usagesOf(id: string): { model: string; usage: Usage }[];
}

interface FakeBatchOptions {
  takesMs?: number;
  /** Whether it keeps what items ask for. */
  keeps?: boolean;
  /** Its clock. */
  now?: () => number;
  /** Makes the message, or the error, of an item from what that asks for. */
  answer?: (params: object) => { type: string };
}

/** @returns a stand-in with no batches */
export function createFakeBatchApi({
  takesMs = 0,
  keeps = true,
  now = () => Date.now(),
  answer,
}: FakeBatchOptions = {}): FakeBatchApi {
  const batches = new Map<string, FakeBatch>();
  let made = 0;
  const api: FakeBatchApi = {
    batches,
    takesMs,
    createCount: 0,
    readCount: 0,
    handle(method, path, body) {
      const { pathname, searchParams } = new URL(path, 'http://upstream.test');
      const [, id, what] = /^\/v1\/messages\/batches(?:\/([^/]+)(?:\/(\w+))?)?$/.exec(pathname) ?? [];
      for (const batch of batches.values())
        if (batch.status !== 'ended' && now() >= batch.endsAt) batch.status = 'ended';
      if (id === undefined) return method === 'POST' ? create(body) : list(searchParams);
      const batch = batches.get(id);
      if (!batch) return createErrorResponse(404, 'not_found_error', 'No such batch.');
      if (what === 'results') {
        api.readCount += 1;
        return streamResults(batch, answer);
      }
      if (what === 'cancel') {
        if (batch.status === 'ended') return createErrorResponse(400, 'invalid_request_error', 'It has ended.');
        batch.status = 'canceling';
        batch.isCanceled = true;
        return Response.json(toBatchRow(batch));
      }
      if (method === 'DELETE') {
        if (batch.status !== 'ended') return createErrorResponse(400, 'invalid_request_error', 'It has not ended.');
        batches.delete(id);
        return Response.json({ id, type: 'message_batch_deleted' });
      }
      return Response.json(toBatchRow(batch));
    },
    end(id) {
      for (const batch of batches.values()) if (id === undefined || batch.id === id) batch.status = 'ended';
    },
    usagesOf(id) {
      const batch = batches.get(id);
      const ended = (batch?.items ?? []).filter(
        (item) => outcomeOfItem(item.id, batch?.isCanceled ?? false) === 'succeeded',
      );
      return ended.map(({ id: item, model }) => ({ model, usage: usageOf(item) }));
    },
  };

  function create(text: string): Response {
    api.createCount += 1;
    let body: { requests: { custom_id: string; params: Record<string, unknown> }[] };
    try {
      body = JSON.parse(text);
    } catch {
      return createErrorResponse(400, 'invalid_request_error', 'The body is not valid JSON.');
    }
    made += 1;
    const batch: FakeBatch = {
      id: `msgbatch_upstream_${String(made).padStart(4, '0')}`,
      createdAt: now(),
      status: 'in_progress',
      items: body.requests.map(({ custom_id, params }) => ({
        id: custom_id,
        model: String(params.model),
        params: keeps ? params : {},
      })),
      isCanceled: false,
      endsAt: api.takesMs > 0 ? now() + api.takesMs : Number.POSITIVE_INFINITY,
    };
    batches.set(batch.id, batch);
    return Response.json(toBatchRow(batch));
  }

  function list(query: URLSearchParams): Response {
    const limit = Number(query.get('limit') ?? 20);
    const all = [...batches.values()].reverse();
    const after = query.get('after_id');
    const from = after === null ? 0 : all.findIndex(({ id }) => id === after) + 1;
    const page = all.slice(from, from + limit);
    return Response.json({
      data: page.map(toBatchRow),
      has_more: from + limit < all.length,
      first_id: page[0]?.id ?? null,
      last_id: page.at(-1)?.id ?? null,
    });
  }

  return api;
}

/** @returns how an item ends: its id says so. */
function outcomeOfItem(id: string, canceled: boolean): 'succeeded' | 'errored' | 'canceled' | 'expired' {
  if (id.startsWith('err')) return 'errored';
  if (id.startsWith('exp')) return 'expired';
  return canceled && !id.startsWith('fast') ? 'canceled' : 'succeeded';
}

/** @returns what an item has used: not the same for all, and always the same for one. */
function usageOf(id: string): Usage {
  let hash = 7;
  for (let at = 0; at < id.length; at += 1) hash = (hash * 31 + id.charCodeAt(at)) % 1_009;
  return {
    input_tokens: 20 + (hash % 50),
    output_tokens: 5 + (hash % 13),
    cache_read_input_tokens: hash % 3 === 0 ? 12 : 0,
    cache_creation_input_tokens: hash % 5 === 0 ? 8 : 0,
    cache_creation: { ephemeral_5m_input_tokens: hash % 5 === 0 ? 8 : 0, ephemeral_1h_input_tokens: 0 },
    service_tier: 'batch',
  };
}

/** @returns one line of the results. */
function createResultLine(item: FakeBatch['items'][number], canceled: boolean): string {
  const type = outcomeOfItem(item.id, canceled);
  const result =
    type === 'succeeded'
      ? {
          type,
          message: {
            id: `msg_${item.id}`,
            type: 'message',
            role: 'assistant',
            model: item.model,
            content: [{ type: 'text', text: `Answer to ${item.id}` }, ...createFileBlocks(item)],
            ...(hasCodeExecution(item)
              ? { container: { id: `container_${item.id}`, expires_at: '2026-11-21T00:00:00Z' } }
              : {}),
            stop_reason: 'end_turn',
            stop_sequence: null,
            usage: usageOf(item.id),
          },
        }
      : type === 'errored'
        ? { type, error: { type: 'error', error: { type: 'invalid_request_error', message: 'No.' } } }
        : { type };
  return `${JSON.stringify({ custom_id: item.id, result })}\n`;
}

function createAnsweredLine({ id }: FakeBatch['items'][number], answered: { type: string }): string {
  const result =
    answered.type === 'error' ? { type: 'errored', error: answered } : { type: 'succeeded', message: answered };
  return `${JSON.stringify({ custom_id: id, result })}\n`;
}

function hasCodeExecution({ params }: FakeBatch['items'][number]): boolean {
  return JSON.stringify(params.tools ?? []).includes('code_execution');
}

/** An item whose tool runs code makes a file. */
function createFileBlocks(item: FakeBatch['items'][number]): object[] {
  if (!hasCodeExecution(item)) return [];
  const content = [{ type: 'bash_code_execution_output', file_id: `file_${item.id}` }];
  const result = { type: 'bash_code_execution_result', stdout: '', stderr: '', return_code: 0, content };
  return [{ type: 'bash_code_execution_tool_result', tool_use_id: `srvtoolu_${item.id}`, content: result }];
}

function streamResults(batch: FakeBatch, answer: FakeBatchOptions['answer']): Response {
  if (batch.status !== 'ended') return createErrorResponse(400, 'invalid_request_error', 'It has not ended.');
  // In another order than they were sent in.
  const items = [...batch.items].reverse();
  const encoder = new TextEncoder();
  let at = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at >= items.length) return controller.close();
      const some = items
        .slice(at, at + 500)
        .map((item) =>
          answer ? createAnsweredLine(item, answer(item.params)) : createResultLine(item, batch.isCanceled),
        );
      at += 500;
      controller.enqueue(encoder.encode(some.join('')));
    },
  });
  // A gateway may call it anything.
  return new Response(body, { headers: { 'content-type': 'text/html' } });
}

function toBatchRow(batch: FakeBatch) {
  const counts = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
  if (batch.status !== 'ended') counts.processing = batch.items.length;
  else for (const { id } of batch.items) counts[outcomeOfItem(id, batch.isCanceled)] += 1;
  const time = (milliseconds: number) => new Date(milliseconds).toISOString();
  return {
    id: batch.id,
    type: 'message_batch',
    processing_status: batch.status,
    request_counts: counts,
    created_at: time(batch.createdAt),
    expires_at: time(batch.createdAt + 86_400_000),
    ended_at: batch.status === 'ended' ? time(Date.now()) : null,
    cancel_initiated_at: batch.isCanceled ? time(Date.now()) : null,
    archived_at: null,
    results_url: batch.status === 'ended' ? `https://api.anthropic.com/v1/messages/batches/${batch.id}/results` : null,
  };
}

function createErrorResponse(status: number, type: string, message: string): Response {
  return Response.json({ type: 'error', error: { type, message }, request_id: 'req_upstream' }, { status });
}
