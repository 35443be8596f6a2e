/** Turns over HTTP: `test/edge/conversations/conversations` has no connection that a client drops or a proxy cuts. */
import { createServer, request as httpRequest, type Server } from 'node:http';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import {
  createBody,
  getJson,
  JSON_HEADERS,
  listMessages,
  MODEL,
  PACED_VARS,
  postConversationMessage,
  readStreamEvents,
  resumeConversationStream,
  waitUntilSettled,
} from '#test/support/conversation-requests.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import type { HistoryRow, ReceivedEvent } from '#test/support/restarting-edge.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

describe('a conversation over HTTP', () => {
  let edge: Edge;
  beforeAll(async () => {
    edge = await startEdge(inject('worker'), PACED_VARS);
  });
  afterAll(async () => await edge.stop());

  test('streams the same events to a client that disconnects at any event and resumes', async () => {
    const whole = await readStreamEvents(
      await postConversationMessage(edge, createBody('drops', 'Tell me about rivers')),
    );
    expect(whole.at(-1)?.event).toBe('message_stop');
    let at = 0;
    const one = async () => {
      while (at < 24) {
        const place = at++;
        const id = `drops${place}`;
        const first = await readStreamEvents(
          await postConversationMessage(edge, createBody(id, 'Tell me about rivers')),
          place + 1,
        );
        const last = first.at(-1);
        const rest = await readStreamEvents(await resumeConversationStream(edge, id, last?.id ?? ''));
        const frames = (events: ReceivedEvent[]) =>
          events.map(({ id, event }) => `${id.replace(/^turn_\w+-/, '')} ${event}`);
        expect(frames([...first, ...rest])).toEqual(frames(whole));
        expect(
          await readStreamEvents(await resumeConversationStream(edge, id, `${last?.id.replace(/-\d+$/, '')}-0`)),
        ).toEqual([...first, ...rest]);
      }
    };
    await Promise.all(Array.from({ length: 6 }, one));
  });

  test('completes a response without a connected client, in the history and in the ledger', async () => {
    const left = new AbortController();
    const response = await postConversationMessage(edge, createBody('left', 'Tell me about bridges'), {
      signal: left.signal,
    });
    await readStreamEvents(response, 3);
    left.abort();
    // Nor does it matter that the caller does not stream.
    const whole = createBody('unstreamed', 'Tell me about bridges', { stream: false });
    const alsoLeft = new AbortController();
    const waiting = postConversationMessage(edge, whole, {
      signal: alsoLeft.signal,
      headers: { 'sluice-simulate': 'tps=20' },
    });
    const running = async () => await (await fetch(`${edge.url}/conversations/unstreamed`)).json();
    await expect.poll(running).toMatchObject({ state: 'running' });
    alsoLeft.abort();
    await expect(waiting).rejects.toThrow();
    await waitUntilSettled(edge);
    for (const id of ['left', 'unstreamed']) {
      const rows = await listMessages(edge, id);
      expect(rows.map(({ status }) => status)).toEqual(['complete', 'complete']);
    }
    const ledger = await getJson<{ data: LedgerRow[] }>(edge, '/usage/requests?limit=1000');
    expect(ledger.data.find(({ conversation }) => conversation === 'left')).toMatchObject({
      status: 'complete',
      estimated: false,
    });
  });

  test('returns the same turn to an official SDK whose connection is cut before the headers', async () => {
    let cuts = 0;
    const proxy: Server = createServer((incoming, outgoing) => {
      const up = httpRequest(
        edge.url + (incoming.url ?? ''),
        { method: incoming.method, headers: incoming.headers },
        (down) => {
          outgoing.writeHead(down.statusCode ?? 500, down.headers);
          down.pipe(outgoing);
        },
      );
      incoming.pipe(up);
      up.on('error', () => outgoing.destroy());
      if (cuts++ === 0) incoming.on('end', () => setTimeout(() => outgoing.socket?.destroy(), 100));
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const address = proxy.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const client = new Anthropic({ apiKey: 'any', baseURL: `http://127.0.0.1:${port}`, maxRetries: 2 });
    const stream = client.messages.stream(
      { model: MODEL, max_tokens: 200, messages: [{ role: 'user', content: 'Once only' }] },
      { headers: { 'sluice-conversation': 'sdk', 'sluice-simulate': 'slow-start=1500' } },
    );
    const message = await stream.finalMessage();
    proxy.closeAllConnections();
    proxy.close();
    expect(cuts).toBe(2);
    const rows = await listMessages(edge, 'sdk');
    expect(rows).toHaveLength(2);
    expect(rows[1]?.content).toEqual(message.content);
    const { data } = await getJson<{ data: LedgerRow[] }>(edge, '/usage/requests?limit=1000');
    expect(data.filter(({ conversation }) => conversation === 'sdk')).toHaveLength(1);
  });

  test('has one history for clients that send all messages each time', async () => {
    const client = new Anthropic({
      apiKey: 'any',
      baseURL: edge.url,
      defaultHeaders: { 'sluice-conversation': 'all' },
    });
    const messages: Anthropic.MessageParam[] = [];
    for (const content of ['One', 'Two', 'Three']) {
      messages.push({ role: 'user', content });
      const answer = await client.messages.create({ model: MODEL, max_tokens: 16_384, messages, system: 'Be brief.' });
      const text = answer.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
      messages.push({ role: 'assistant', content: text });
    }
    const rows = await listMessages(edge, 'all');
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user', 'assistant']);
  });

  test('returns the same 404 to another account as an unknown conversation does', async () => {
    await readStreamEvents(
      await postConversationMessage(edge, createBody('mine', 'Hello'), {
        headers: bearerHeader(await createToken('alice')),
      }),
    );
    const headers = { ...JSON_HEADERS, ...bearerHeader(await createToken('mallory')) };
    const rows = (await (
      await fetch(`${edge.url}/conversations/mine/messages`, { headers: bearerHeader(await createToken('alice')) })
    ).json()) as { data: HistoryRow[] };
    expect(rows.data).toHaveLength(2);
    const post = (text: string) => ({ method: 'POST', headers, body: text });
    const tries: [string, RequestInit][] = [
      ['', { headers }],
      ['', { method: 'PATCH', headers, body: '{"title":"x"}' }],
      ['', { method: 'DELETE', headers }],
      ['/messages', { headers }],
      ['/export', { headers }],
      ['/stream', { headers }],
      ['/stop', post('{}')],
      ['/rewind', post(JSON.stringify({ before: rows.data[0]?.id }))],
      ['/fork', post('{}')],
    ];
    const told = new Set<string>();
    for (const [path, init] of tries) {
      const foreign = await fetch(`${edge.url}/conversations/mine${path}`, init);
      const unknown = await fetch(`${edge.url}/conversations/unknown${path}`, init);
      expect([foreign.status, unknown.status], path).toEqual([404, 404]);
      const message = async (response: Response) =>
        ((await response.json()) as { error: { message: string } }).error.message;
      told.add(await message(foreign));
      told.add(await message(unknown));
    }
    expect([...told]).toEqual(['This conversation does not exist. Check its id and the account.']);
    const list = (await (await fetch(`${edge.url}/conversations`, { headers })).json()) as { data: unknown[] };
    expect(list.data).toEqual([]);
    await readStreamEvents(await postConversationMessage(edge, createBody('mine', 'Hello'), { headers }));
    expect(rows.data).toHaveLength(2);
  });

  test('stores 12 MB of images without loss', async () => {
    const png = pictureOf(3_000_000);
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } };
    const content = [image, image, image, { type: 'text', text: 'What is this? 🖼' }];
    expect(
      (await readStreamEvents(await postConversationMessage(edge, createBody('images', content)))).at(-1)?.event,
    ).toBe('message_stop');
    expect(
      (await readStreamEvents(await postConversationMessage(edge, createBody('images', 'And now?')))).at(-1)?.event,
    ).toBe('message_stop');
    const rows = await listMessages(edge, 'images');
    expect(rows).toHaveLength(4);
    expect(JSON.stringify(rows[0]?.content) === JSON.stringify(content)).toBe(true);
  });
});

/** A PNG of so many bytes; what lies behind its picture is padding. */
function pictureOf(bytes: number): string {
  const buffer = Buffer.alloc(bytes, 7);
  Buffer.from('89504e470d0a1a0a0000000d49484452000000400000004008060000', 'hex').copy(buffer);
  return buffer.toString('base64');
}
