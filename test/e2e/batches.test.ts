/** Batches and files by the official SDKs with nothing but their base URL changed, through the built Worker. */

import AnthropicCurrent, { APIError, BadRequestError, NotFoundError, toFile } from '@anthropic-ai/sdk';
import AnthropicOld from 'anthropic-sdk-0';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { SECRET } from '#test/support/tokens.ts';

const MOST_BATCH_BYTES = 400_000;
const FILE_BYTES = 5_000_000;
const NEVER = { headers: { 'sluice-simulate': 'batch-ms=86400000' } };
/** What is being worked on when a batch is cancelled is completed: in a tenth of this, and nothing has been completed before. */
const LATER = { headers: { 'sluice-simulate': 'batch-ms=90000' } };
const SOON = { headers: { 'sluice-simulate': 'batch-ms=1000' } };
const DOWNLOADABLE = { headers: { 'sluice-simulate': 'downloadable' } };

let server: Edge;
let accounts = 0;

beforeAll(async () => {
  server = await startSimulatingEdge({
    SIGNING_SECRET: SECRET,
    MAX_BATCH_BYTES: String(MOST_BATCH_BYTES),
    MAX_FILE_BYTES: String(FILE_BYTES),
  });
});

afterAll(() => server.stop());

/** What a test needs of an SDK. */
type Client = Pick<AnthropicCurrent, 'messages' | 'files' | 'beta' | 'get' | 'apiKey'>;
type Fetch = typeof fetch;

const SDKS = {
  '1.x': AnthropicCurrent,
  // Its methods have the same forms; of two classes the compiler finds no common one.
  '0.x': AnthropicOld as unknown as typeof AnthropicCurrent,
};

/** A client of an account of its own: what it lists is what it has made. */
async function newClient(version: keyof typeof SDKS, fetchIt?: Fetch): Promise<Client> {
  accounts += 1;
  const account = `sdk-${version}-${accounts}`;
  const minted = await fetch(`${server.url}/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ account, scopes: ['messages'] }),
  });
  const { token } = (await minted.json()) as { token: string };
  return new SDKS[version]({ apiKey: token, baseURL: server.url, ...(fetchIt ? { fetch: fetchIt } : {}) });
}

const ask = (content: string, more: object = {}) => ({
  model: 'claude-haiku-5-5',
  max_tokens: 20,
  messages: [{ role: 'user' as const, content }],
  ...more,
});
const item = (custom_id: string, content = 'Hi', more: object = {}) => ({ custom_id, params: ask(content, more) });

/** Both forms of a call are the same to whoever makes it; only their types differ. */
const FORMS = {
  messages: (client: Client) => client.messages.batches,
  'beta.messages': (client: Client) => client.beta.messages.batches as unknown as AnthropicCurrent.Messages.Batches,
};

async function ended(batches: AnthropicCurrent.Messages.Batches, id: string) {
  await expect.poll(async () => (await batches.retrieve(id)).processing_status, { interval: 500 }).toBe('ended');
  return await batches.retrieve(id);
}

/** @returns what a call fails with */
const failure = async (call: Promise<unknown>) =>
  await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );

/** By day the newer one: that the older one makes a batch shows `start.test.ts`. */
const VERSIONS = (['1.x', '0.x'] as const).slice(0, caseCount(2));

describe.concurrent.each(VERSIONS)('the official SDK %s', (version) => {
  test.each(['messages', 'beta.messages'] as const)(
    'creates a batch with client.%s.batches, follows it, reads its results and deletes it',
    async (form) => {
      const batches = FORMS[form](await newClient(version));
      const requests = [
        item('fine'),
        item('bad', 'sluice-simulate: errored'),
        item('late', 'sluice-simulate: expired'),
        item('off', 'sluice-simulate: canceled'),
      ];
      const made = await batches.create({ requests }, SOON);
      const processing = { processing: 4, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
      expect(made).toMatchObject({
        type: 'message_batch',
        processing_status: 'in_progress',
        request_counts: processing,
        ended_at: null,
        cancel_initiated_at: null,
        archived_at: null,
        results_url: null,
      });
      const never = await batches.create({ requests: [item('never')] }, NEVER);
      const early = await failure(batches.results(never.id));
      expect(String(early)).toContain('Has it finished processing?');
      const done = await ended(batches, made.id);
      expect(done.request_counts).toEqual({ processing: 0, succeeded: 1, errored: 1, canceled: 1, expired: 1 });
      expect(done.results_url).toBe(`${server.url}/v1/messages/batches/${made.id}/results`);
      const results = new Map<string, AnthropicCurrent.Messages.MessageBatchResult>();
      for await (const { custom_id, result } of await batches.results(made.id)) results.set(custom_id, result);
      expect(Object.fromEntries([...results].map(([id, { type }]) => [id, type]))).toEqual({
        fine: 'succeeded',
        bad: 'errored',
        late: 'expired',
        off: 'canceled',
      });
      expect(results.get('fine')).toMatchObject({
        message: { type: 'message', role: 'assistant', usage: { service_tier: 'batch' } },
      });
      expect(await batches.delete(made.id)).toEqual({ id: made.id, type: 'message_batch_deleted' });
      expect(await failure(batches.retrieve(made.id))).toMatchObject({ status: 404, type: 'not_found_error' });
    },
  );

  test('decodes results while they arrive', async () => {
    let bytes = 0;
    const counting: Fetch = async (url, init) => {
      const response = await fetch(url, init);
      if (!String(url).endsWith('/results')) return response;
      const counted = new TransformStream<Uint8Array, Uint8Array>({
        transform(piece, controller) {
          bytes += piece.length;
          controller.enqueue(piece);
        },
      });
      return new Response(response.body?.pipeThrough(counted), response);
    };
    const { batches } = (await newClient(version, counting)).messages;
    const requests = Array.from({ length: 1_500 }, (_, n) => item(`item-${n}`));
    const { id } = await batches.create({ requests }, SOON);
    await ended(batches, id);
    const ids = new Set<string>();
    let atFirst = 0;
    for await (const { custom_id } of await batches.results(id)) {
      if (ids.size === 0) atFirst = bytes;
      ids.add(custom_id);
    }
    expect(ids.size).toBe(1_500);
    expect(atFirst).toBeGreaterThan(0);
    expect(atFirst).toBeLessThan(bytes / 2);
    for await (const { custom_id } of await batches.results(id)) {
      // Whoever has seen enough leaves.
      expect(ids.has(custom_id)).toBe(true);
      break;
    }
  });

  test.each(['messages', 'beta.messages'] as const)('lists client.%s.batches in pages, newest first', async (form) => {
    const batches = FORMS[form](await newClient(version));
    const made: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      made.unshift((await batches.create({ requests: [item('a')] }, NEVER)).id);
    }
    const listed: string[] = [];
    for await (const { id } of batches.list({ limit: 2 })) listed.push(id);
    expect(listed).toEqual(made);
    const page = await batches.list({ limit: 2 });
    expect(page).toMatchObject({ has_more: true, first_id: made[0], last_id: made[1] });
    const before = await batches.list({ before_id: made[2] as string });
    expect(before.data.map(({ id }) => id)).toEqual(made.slice(0, 2));
  });

  test('cancels a batch, and gets an error for deleting it too early', async () => {
    const { batches } = (await newClient(version)).messages;
    const { id } = await batches.create({ requests: [item('a'), item('b')] }, LATER);
    expect(await failure(batches.delete(id))).toMatchObject({ status: 400, type: 'invalid_request_error' });
    const canceled = await batches.cancel(id);
    expect(canceled).toMatchObject({ processing_status: 'canceling', request_counts: { processing: 2 } });
    expect(canceled.cancel_initiated_at).not.toBeNull();
    expect(await batches.cancel(id)).toEqual(canceled);
    const done = await ended(batches, id);
    expect(done.request_counts).toEqual({ processing: 0, succeeded: 0, errored: 0, canceled: 2, expired: 0 });
    await batches.delete(id);
  });

  test('gets 404 for a batch of another account', async () => {
    const own = (await newClient(version)).messages.batches;
    const other = await newClient(version);
    const { id } = await own.create({ requests: [item('a')] }, NEVER);
    const { batches } = other.messages;
    const calls = [
      batches.retrieve(id),
      batches.cancel(id),
      batches.delete(id),
      batches.results(id),
      other.get(`/v1/messages/batches/${id}/results`),
    ];
    for (const thrown of await Promise.all(calls.map(failure))) {
      expect(thrown).toMatchObject({ status: 404, type: 'not_found_error' });
    }
    expect((await batches.list()).data).toEqual([]);
    expect((await own.retrieve(id)).processing_status).toBe('in_progress');
  });

  test('gets an error that explains an invalid batch, and no batch is created', async () => {
    const client = await newClient(version);
    const { batches } = client.messages;
    const refused = async (requests: unknown[]) =>
      (await failure(batches.create({ requests: requests as ReturnType<typeof item>[] }))) as APIError;
    const bad = await refused([item('a'), item('b', 'Hi', { max_tokens: -1 })]);
    expect(bad).toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(bad.message).toMatch(/requests\.1\.params\.max_tokens: .*\(custom_id b\)/);
    expect((await refused([item('a'), item('a')])).message).toContain('requests.1.custom_id: a is not unique');
    expect((await refused([])).status).toBe(400);
    expect((await refused([item('a', 'Hi', { conversation: 'c' })])).message).toContain('conversation');
    const long = await refused([item('a', 'x'.repeat(MOST_BATCH_BYTES))]);
    expect(long).toMatchObject({ status: 413, type: 'request_too_large' });
    const made = await batches.create({ requests: [item('a')] }, NEVER);
    const early = await failure(client.get(`/v1/messages/batches/${made.id}/results`));
    expect(early).toMatchObject({ status: 404, type: 'not_found_error' });
    expect((await batches.list()).data.map(({ id }) => id)).toEqual([made.id]);
  });

  test.each(['files', 'beta.files'] as const)(
    'uploads, lists, describes, reads and deletes files with client.%s',
    async (form) => {
      const client = await newClient(version);
      const files = form === 'files' ? client.files : (client.beta.files as unknown as AnthropicCurrent.Files);
      const bytes = new Uint8Array(FILE_BYTES).map((_, at) => (at * 31 + (at >> 8)) & 0xff);
      const long = await files.upload({ file: await toFile(bytes, 'long.bin') }, DOWNLOADABLE);
      expect(long).toMatchObject({ type: 'file', filename: 'long.bin', size_bytes: FILE_BYTES, downloadable: true });
      const down = new Uint8Array(await (await files.download(long.id)).arrayBuffer());
      // Compared by the runtime: a difference of two such arrays takes minutes to be shown.
      expect(Buffer.compare(down, bytes)).toBe(0);
      const made = [long.id];
      for (let count = 0; count < 4; count += 1) {
        const file = await toFile(new TextEncoder().encode(`No. ${count}`), `${count}.txt`, { type: 'text/plain' });
        made.unshift((await files.upload({ file })).id);
      }
      const listed: string[] = [];
      for await (const { id } of files.list({ limit: 2 })) listed.push(id);
      expect(listed).toEqual(made);
      const [newest = ''] = made;
      expect(await files.retrieveMetadata(newest)).toMatchObject({
        id: newest,
        mime_type: 'text/plain',
        size_bytes: 5,
      });
      expect(await failure(files.download(newest))).toMatchObject({ status: 400, type: 'invalid_request_error' });
      expect(await files.delete(newest)).toEqual({ id: newest, type: 'file_deleted' });
      expect(await failure(files.retrieveMetadata(newest))).toMatchObject({ status: 404, type: 'not_found_error' });
    },
  );

  test('gets 404 for a file of another account, and 413 for a file that is too long', async () => {
    const own = await newClient(version);
    const other = await newClient(version);
    const { id } = await own.files.upload({ file: await toFile(new Uint8Array(10), 'a.bin') }, DOWNLOADABLE);
    const calls = [other.files.retrieveMetadata(id), other.files.download(id), other.files.delete(id)];
    const source = { type: 'file' as const, file_id: id };
    const document = [{ role: 'user' as const, content: [{ type: 'document' as const, source }] }];
    const named = other.beta.messages.create({ ...ask(''), messages: document });
    const batched = other.messages.batches.create({ requests: [item('a', '', { messages: document })] });
    for (const thrown of await Promise.all([...calls, named, batched].map(failure))) {
      expect(thrown).toMatchObject({ status: 404, type: 'not_found_error' });
    }
    expect((await other.files.list()).data).toEqual([]);
    const file = await toFile(new Uint8Array(FILE_BYTES + 100_000), 'too-long.bin');
    expect(await failure(own.files.upload({ file }))).toMatchObject({ status: 413, type: 'request_too_large' });
    expect((await own.files.list()).data.map((one) => one.id)).toEqual([id]);
  });
});

test("errors are instances of the SDK's error classes", async () => {
  const { batches } = (await newClient('1.x')).messages;
  expect(await failure(batches.retrieve('msgbatch_none'))).toBeInstanceOf(NotFoundError);
  expect(await failure(batches.create({ requests: [] }))).toBeInstanceOf(BadRequestError);
  const long = await failure(batches.create({ requests: [item('a', 'x'.repeat(MOST_BATCH_BYTES))] }));
  expect(long).toBeInstanceOf(APIError);
});

test('a file without a declared length is stored whole, and rejected if it is too long', async () => {
  const client = await newClient('1.x');
  const upload = async (bytes: Uint8Array<ArrayBuffer>) => {
    const form = new FormData();
    form.append('file', new Blob([bytes]), 'a.bin');
    const whole = new Response(form);
    const response = await fetch(`${server.url}/v1/files`, {
      method: 'POST',
      headers: {
        'x-api-key': String(client.apiKey),
        'content-type': whole.headers.get('content-type') ?? '',
        'sluice-simulate': 'downloadable',
      },
      body: whole.body,
      // Node sends a stream in chunks.
      duplex: 'half',
    } as RequestInit);
    return { status: response.status, body: (await response.json()) as { id: string; error?: { type: string } } };
  };
  const bytes = new Uint8Array(1_000_000).map((_, at) => (at * 31 + (at >> 8)) & 0xff);
  const { status, body } = await upload(bytes);
  expect(status).toBe(200);
  const down = new Uint8Array(await (await client.files.download(body.id)).arrayBuffer());
  expect(Buffer.compare(down, bytes)).toBe(0);
  const long = await upload(new Uint8Array(FILE_BYTES + 100_000));
  expect(long).toMatchObject({ status: 413, body: { error: { type: 'request_too_large' } } });
  // What comes next on the same connection is answered: nothing of the refused body is left on it.
  const listed = await client.files.list({}, { timeout: 30_000, maxRetries: 0 });
  expect(listed.data.map(({ id }) => id)).toEqual([body.id]);
});
