import Anthropic, { BadRequestError, NotFoundError, toFile } from '@anthropic-ai/sdk';
import AnthropicZero from 'anthropic-sdk-0';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryStore } from '#simulator/store/store.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { clientOf, simulated, start } from '../api.ts';
import { inPieces } from '../in-pieces.ts';

const DOWNLOADABLE = { headers: { 'sluice-simulate': 'downloadable' } };

function clocked(store?: MemoryStore) {
  const clock = { now: start };
  const simulator = simulated({ now: () => clock.now, faults: true, store });
  return { clock, simulator, client: clientOf(simulator) };
}

test('describes, lists and deletes an uploaded file', async () => {
  const { client } = clocked();
  const file = await client.files.upload({
    file: await toFile(new Uint8Array(1_000), 'a b.pdf', { type: 'application/pdf' }),
  });
  expect(file).toMatchObject({
    type: 'file',
    filename: 'a b.pdf',
    mime_type: 'application/pdf',
    size_bytes: 1_000,
    downloadable: false,
    created_at: new Date(start).toISOString(),
    expires_at: null,
  });
  expect(await client.files.retrieveMetadata(file.id)).toEqual(file);
  expect((await client.files.list()).data).toEqual([file]);
  expect(await client.files.delete(file.id)).toEqual({ id: file.id, type: 'file_deleted' });
  await expect(client.files.delete(file.id)).rejects.toThrow(NotFoundError);
  await expect(client.files.retrieveMetadata(file.id)).rejects.toThrow(NotFoundError);
  expect((await client.files.list()).data).toEqual([]);
});

test('rejects downloading an uploaded file', async () => {
  const { client } = clocked();
  const { id } = await client.files.upload({ file: await toFile(new TextEncoder().encode('hello'), 'a.txt') });
  const refused = client.files.download(id);
  await expect(refused).rejects.toThrow(BadRequestError);
  await expect(refused).rejects.toMatchObject({ errorCode: 'file_not_downloadable' });
});

test('returns every byte of a file, whatever pieces it arrived in', async () => {
  const boundary = '----b0undary';
  const near = fc.constantFrom('\r\n', '\r\n--', `\r\n--${boundary.slice(0, 6)}`, '\r', '--', '\0', 'ä');
  const content = fc.array(fc.oneof(near, fc.string({ unit: 'binary' })), { maxLength: 8 }).map((all) => all.join(''));
  const property = fc.asyncProperty(content, fc.array(fc.nat(20), { minLength: 1 }), async (text, cuts) => {
    const { client, simulator } = clocked();
    const form =
      `--${boundary}\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n3600\r\n--${boundary}\r\n` +
      `Content-Disposition: form-data; name="file"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\n${text}\r\n--${boundary}--\r\n`;
    const bytes = new TextEncoder().encode(form);
    const body = inPieces(bytes, cuts);
    const headers = {
      'x-api-key': 'test-key',
      'anthropic-version': '2023-06-01',
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'sluice-simulate': 'downloadable',
    };
    const init = { method: 'POST', headers, body, duplex: 'half' } as RequestInit;
    const response = await simulator(new Request('https://api.anthropic.com/v1/files', init));
    const { id, size_bytes } = (await response.json()) as { id: string; size_bytes: number };
    const whole = new TextEncoder().encode(text);
    expect(size_bytes).toBe(whole.byteLength);
    expect(new Uint8Array(await (await client.files.download(id)).arrayBuffer())).toEqual(whole);
  });
  await fc.assert(property, { numRuns: caseCount(200) });
});

test('stores a large file in pieces, and deletes all pieces with the file', async () => {
  const store = new MemoryStore();
  const { client } = clocked(store);
  const bytes = new Uint8Array(9 * 1024 * 1024).map((_, at) => at % 251);
  const { id } = await client.files.upload({ file: await toFile(bytes, 'large.bin') }, DOWNLOADABLE);
  expect(await store.listKeys('piece:')).toHaveLength(3);
  const read = new Uint8Array(await (await client.files.download(id)).arrayBuffer());
  expect(Buffer.compare(read, bytes)).toBe(0);
  await client.files.delete(id);
  expect(await store.listKeys('')).toEqual([]);
});

test('a file expires at its requested time', async () => {
  const { client, clock } = clocked();
  const { id, expires_at } = await client.files.upload({
    file: await toFile(new Uint8Array(), 'a'),
    expires_in_seconds: 3600,
  });
  expect(expires_at).toBe(new Date(start + 3_600_000).toISOString());
  clock.now += 3_600_000;
  await expect(client.files.retrieveMetadata(id)).rejects.toMatchObject({ errorCode: 'file_expired' });
  expect((await client.files.list()).data).toEqual([]);
});

test('lists files newest first, in pages, by ids, and only for their owner', async () => {
  const { client, clock, simulator } = clocked();
  const made: string[] = [];
  for (let count = 0; count < 5; count++) {
    clock.now += 1000;
    made.unshift((await client.files.upload({ file: await toFile(new Uint8Array(1), 'a') })).id);
  }
  const ids = async (list: AsyncIterable<{ id: string }>) => {
    const all: string[] = [];
    for await (const { id } of list) all.push(id);
    return all;
  };
  expect(await ids(client.files.list({ limit: 2 }))).toEqual(made);
  expect(await ids(client.beta.files.list({ limit: 2 }))).toEqual(made);
  expect(await ids(client.files.list({ ids: [made[3] ?? '', 'file_none'] }))).toEqual([made[3]]);
  const fetchIt = (url: string | URL | Request, init?: RequestInit) => simulator(new Request(url, init));
  const zero = new AnthropicZero({ apiKey: 'test-key', fetch: fetchIt as typeof fetch });
  expect(await ids(zero.beta.files.list({ limit: 2 }))).toEqual(made);
  const stranger = new Anthropic({ apiKey: 'other', maxRetries: 0, fetch: fetchIt });
  expect(await ids(stranger.files.list())).toEqual([]);
  for (const id of made) await expect(stranger.files.delete(id)).rejects.toThrow(NotFoundError);
});

/** Uploads a form that is to be refused, and to leave nothing behind. @returns the text of the refusal */
async function refusedForm(body: string): Promise<string> {
  const store = new MemoryStore();
  const { simulator } = clocked(store);
  const headers = {
    'x-api-key': 'k',
    'anthropic-version': '2023-06-01',
    'content-type': 'multipart/form-data; boundary=x',
  };
  const response = await simulator(new Request('https://api.test/v1/files', { method: 'POST', headers, body }));
  expect(response.status).toBe(400);
  expect(await store.listKeys('')).toEqual([]);
  return await response.text();
}

test.each([
  ['no file', 'name="other"; filename="a"', 'other: Extra inputs'],
  ['a field in place of a file', 'name="file"', 'file: Expected UploadFile'],
  ['too long a name', `name="file"; filename="${'a'.repeat(501)}"`, 'filename: String should have at most 500'],
])('rejects a form with %s, and stores nothing', async (_, disposition, message) => {
  const text = await refusedForm(`--x\r\nContent-Disposition: form-data; ${disposition}\r\n\r\nabc\r\n--x--\r\n`);
  expect(text).toContain(message);
});

test('stores nothing from a form that is cut', async () => {
  const text = 'a'.repeat(5_000_000);
  await refusedForm(`--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n${text}`);
});
