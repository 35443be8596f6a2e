import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { Batch, BatchResult } from '#client/index.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { bytesOf, envelope, fakeEdge } from './fake-edge.ts';

const id = 'msgbatch_01';
const request = {
  custom_id: 'a',
  params: { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user' as const, content: 'Hi' }] },
};
const counts = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };

function batchOf(fields: Partial<Batch> = {}): Batch {
  return {
    id,
    type: 'message_batch',
    archived_at: null,
    cancel_initiated_at: null,
    created_at: '2026-11-20T10:00:00Z',
    ended_at: null,
    expires_at: '2026-11-21T10:00:00Z',
    processing_status: 'in_progress',
    request_counts: { ...counts, processing: 3 },
    results_url: null,
    cost_usd: null,
    ...fields,
  };
}

const ended = batchOf({ processing_status: 'ended', request_counts: { ...counts, errored: 2, canceled: 1 } });
const results = [
  { custom_id: 'a', result: { type: 'errored', error: envelope('api_error', 'Ein Wörtchen: 🙂') } },
  { custom_id: 'b', result: { type: 'errored', error: envelope('overloaded_error') } },
  { custom_id: 'c', result: { type: 'canceled' } },
];
const lines = `${results.map((row) => JSON.stringify(row)).join('\n')}\n`;

/** An answer that comes in pieces, and then ends, breaks, or waits for ever. */
function inPieces(pieces: readonly Uint8Array[], end: 'end' | 'break' | 'silence' = 'end'): Response {
  const left = [...pieces];
  return new Response(
    new ReadableStream<Uint8Array>({
      pull(controller) {
        const piece = left.shift();
        if (piece) controller.enqueue(piece);
        else if (end === 'end') controller.close();
        else if (end === 'break') controller.error(new TypeError('terminated'));
        else return new Promise(() => {});
        return undefined;
      },
    }),
  );
}

function servingResults(answer: () => Response) {
  return fakeEdge(({ path }) => (path.endsWith('/results') ? answer() : Response.json(ended)));
}

async function gathered(results: AsyncIterable<BatchResult>): Promise<BatchResult[]> {
  const rows: BatchResult[] = [];
  for await (const row of results) rows.push(row);
  return rows;
}

test('the methods of batches send the expected HTTP method, path and body', async () => {
  const { client, sent } = fakeEdge(({ method, path }) =>
    Response.json(
      method === 'GET' && !path.includes('msgbatch') ? { data: [], has_more: false, last_id: null } : batchOf(),
    ),
  );
  const { batches } = client;
  await batches.create({ requests: [request], deliver_url: 'https://a.test/' }, { idempotencyKey: 'key' });
  await batches.dryRun({ requests: [request] });
  await batches.retrieve('a/b');
  for await (const _ of batches.list({ limit: 5 }));
  await batches.cancel(id);
  await batches.delete(id);
  expect(sent.map(({ method, path, body }) => [method, path, body ?? null])).toEqual([
    ['POST', '/v1/messages/batches', { requests: [request], deliver_url: 'https://a.test/' }],
    ['POST', '/v1/messages/batches?dry_run=true', { requests: [request] }],
    ['GET', '/v1/messages/batches/a%2Fb', null],
    ['GET', '/v1/messages/batches?limit=5', null],
    ['POST', `/v1/messages/batches/${id}/cancel`, null],
    ['DELETE', `/v1/messages/batches/${id}`, null],
  ]);
  expect(sent[0]?.headers.get('idempotency-key')).toBe('key');
});

test('list fetches the next page only when it is needed', async () => {
  const { client, sent } = fakeEdge(({ path }) => {
    const after = Number(new URL(path, 'https://edge.test').searchParams.get('after_id') ?? 0);
    const data = [after + 1, after + 2].map((number) => batchOf({ id: String(number) }));
    return Response.json({ data, has_more: after < 4, first_id: data[0]?.id, last_id: data[1]?.id });
  });
  const ids: string[] = [];
  for await (const row of client.batches.list({ limit: 2 })) {
    ids.push(row.id);
    if (row.id === '2') expect(sent.length).toBe(1);
  }
  expect(ids).toEqual(['1', '2', '3', '4', '5', '6']);
  expect(sent.map(({ path }) => path)).toEqual([
    '/v1/messages/batches?limit=2',
    '/v1/messages/batches?limit=2&after_id=2',
    '/v1/messages/batches?limit=2&after_id=4',
  ]);
});

test('create retries with the same idempotency key if the connection is lost, and not after a rejection', async () => {
  const lost = fakeEdge((_, count) => {
    if (count < 3) throw new TypeError('fetch failed');
    return Response.json(batchOf());
  });
  expect((await lost.until(lost.client.batches.create({ requests: [request] }))).id).toBe(id);
  const keys = lost.sent.map(({ headers }) => headers.get('idempotency-key'));
  expect(keys.length).toBe(3);
  expect(new Set(keys).size).toBe(1);
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);

  const refused = fakeEdge(() => Response.json(envelope('rate_limit_error'), { status: 429 }));
  await expect(refused.until(refused.client.batches.create({ requests: [request] }))).rejects.toMatchObject({
    type: 'rate_limit_error',
  });
  expect(refused.sent.length).toBe(1);
});

test('create sends a Blob unchanged', async () => {
  const bodies: unknown[] = [];
  const { client } = fakeEdge(() => Response.json(batchOf()), {
    fetch: async (_, { body, headers }) => {
      bodies.push(body, new Headers(headers).get('content-type'));
      return Response.json(batchOf());
    },
  });
  const blob = new Blob(['{"requests":', '[]}']);
  await client.batches.create(blob);
  expect(bodies).toEqual([blob, 'application/json']);
});

test('results yields the same rows however the bytes are cut into pieces', async () => {
  const bytes = bytesOf(lines);
  for (let at = 0; at <= bytes.length; at += 1) {
    const { client } = servingResults(() => inPieces([bytes.slice(0, at), bytes.slice(at)]));
    expect(await gathered(client.batches.results(id))).toEqual(results);
  }
  await tryAsyncCases(
    caseCount(200),
    fc.array(fc.nat(bytes.length), { maxLength: 40 }),
    fc.boolean(),
    async (places, ended) => {
      // The last line may lack its end.
      const all = ended ? bytes : bytes.slice(0, -1);
      const cuts = [0, ...places.sort((left, right) => left - right), all.length];
      const pieces = cuts.slice(1).map((to, index) => all.slice(cuts[index], to));
      const { client } = servingResults(() => inPieces(pieces));
      expect(await gathered(client.batches.results(id))).toEqual(results);
    },
  );
});

test('results throws a connection_error if the rows are cut off, even at the end of a line', async () => {
  const bytes = bytesOf(lines);
  // At the last byte only the last line's end is missing.
  for (let at = 0; at < bytes.length - 1; at += 1) {
    for (const how of ['end', 'break'] as const) {
      const { client } = servingResults(() => inPieces([bytes.slice(0, at)], how));
      await expect(gathered(client.batches.results(id)), `${how} at ${at}`).rejects.toMatchObject({
        type: 'connection_error',
      });
    }
  }
});

test('results yields each row when it arrives, and closes the connection when the loop ends early', async () => {
  let cancelled = false;
  const first = bytesOf(lines.slice(0, lines.indexOf('\n') + 1));
  const { client } = servingResults(
    () =>
      new Response(
        new ReadableStream<Uint8Array>({
          start: (controller) => controller.enqueue(first),
          cancel: () => {
            cancelled = true;
          },
        }),
      ),
  );
  for await (const row of client.batches.results(id)) {
    expect(row).toEqual(results[0]);
    break;
  }
  expect(cancelled).toBe(true);
});

test('waitFor polls with increasing intervals, reports each status, and resolves with the ended batch', async () => {
  const asked: number[] = [];
  const { client, until } = fakeEdge((_, count) => {
    asked.push(Date.now());
    return Response.json(count < 20 ? batchOf() : ended);
  });
  const told: string[] = [];
  const batch = await until(
    client.batches.waitFor(id, { onProgress: ({ processing_status }) => told.push(processing_status) }),
  );
  expect(batch).toEqual(ended);
  expect(told).toEqual([...Array.from({ length: 19 }, () => 'in_progress'), 'ended']);
  const pauses = asked.slice(1).map((at, index) => at - (asked[index] ?? 0));
  expect(pauses[0]).toBeLessThanOrEqual(250);
  for (const pause of pauses.slice(8)) {
    expect(pause).toBeGreaterThanOrEqual(15_000);
    expect(pause).toBeLessThanOrEqual(30_000);
  }
  // Jitter: many who wait do not ask at the same time.
  expect(new Set(pauses.slice(8)).size).toBeGreaterThan(1);
});

test('waitFor continues after network failures, 502 responses and incomplete bodies, and waits for Retry-After', async () => {
  const asked: number[] = [];
  const { client, until } = fakeEdge((_, count) => {
    asked.push(Date.now());
    if (count === 1) throw new TypeError('fetch failed');
    if (count === 2) return new Response('<html>', { status: 502 });
    if (count === 3) {
      return Response.json(envelope('rate_limit_error'), { status: 429, headers: { 'retry-after': '120' } });
    }
    if (count === 4) return new Response('{"id": "msgb');
    return Response.json(ended);
  });
  expect(await until(client.batches.waitFor(id))).toEqual(ended);
  expect(asked.length).toBe(5);
  expect((asked[3] ?? 0) - (asked[2] ?? 0)).toBeGreaterThanOrEqual(120_000);
});

test('waitFor resolves if it is unknown whether the batch exists', async () => {
  const unknown = batchOf({ unknown: 'Look in the Console.' });
  const { client, until } = fakeEdge(() => Response.json(unknown));
  expect(await until(client.batches.waitFor(id))).toEqual(unknown);
});

test('waitFor retries if a connection gets no response', async () => {
  const { client, until, sent } = fakeEdge(({ signal }, count) =>
    count > 1
      ? Response.json(ended)
      : new Promise<Response>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
  );
  expect(await until(client.batches.waitFor(id))).toEqual(ended);
  expect(sent.length).toBe(2);
});

test.each([
  ['an error that stays', () => Response.json(envelope('not_found_error'), { status: 404 }), 'not_found_error', 1],
  [
    'one that says so',
    () => Response.json(envelope('api_error'), { status: 500, headers: { 'x-should-retry': 'false' } }),
    'api_error',
    1,
  ],
  [
    'an edge that is gone',
    () => {
      throw new TypeError('fetch failed');
    },
    'connection_error',
    21,
  ],
] as const)('waitFor rejects after %s', async (_, answer, type, times) => {
  const { client, until, sent } = fakeEdge(answer);
  await expect(until(client.batches.waitFor(id))).rejects.toMatchObject({ type });
  expect(sent.length).toBe(times);
});

test('waitFor rejects at once when it is aborted between requests or during one', async () => {
  for (const asking of [false, true]) {
    const stop = new AbortController();
    const { client, sent } = fakeEdge(({ signal }) => {
      if (!asking && sent.length === 1) return Response.json(batchOf());
      return new Promise<Response>((_, reject) => {
        if (signal?.aborted) reject(signal.reason);
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
    });
    const waiting = client.batches.waitFor(id, { signal: stop.signal });
    const outcome = expect(waiting).rejects.toMatchObject({ type: 'closed' });
    await vi.advanceTimersByTimeAsync(1);
    stop.abort();
    await outcome;
    expect(vi.getTimerCount()).toBe(0);
  }
});
