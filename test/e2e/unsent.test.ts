/** Connections that break before a body went up: `test/edge/claude/send.test.ts` cannot break one. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { MODEL } from '#test/support/small-message.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';

/** Longer than a try may take that is taken for one that was never sent, where only the clock tells. */
const LATE_MS = 120;
const wait = () => new Promise((resolve) => setTimeout(resolve, LATE_MS));

const listeners: Server[] = [];
const edges: Edge[] = [];
let inClear: Edge;
let overTls: Edge;
let nowhere: Edge;
let retrying: Edge;
/** What the other side does with a connection. */
let meet: (socket: Socket) => void = () => {};

async function startEdgeTo(url: string, retries = '0'): Promise<Edge> {
  const edge = await startEdge(inject('deployed').code, {
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
    ANTHROPIC_BASE_URL: url,
    UPSTREAM_MAX_RETRIES: retries,
  });
  edges.push(edge);
  return edge;
}

beforeAll(async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    meet(socket);
  });
  listeners.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  [inClear, overTls, nowhere, retrying] = await Promise.all([
    startEdgeTo(`http://127.0.0.1:${port}`),
    startEdgeTo(`https://127.0.0.1:${port}`),
    startEdgeTo('https://no-such-host.invalid'),
    startEdgeTo(`http://127.0.0.1:${port}`, '2'),
  ]);
});

afterAll(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  for (const listener of listeners) listener.close();
});

let accounts = 0;

/** @returns the rows of an account that sends one request, which fails, and the error that it receives */
async function sendFailingRequest(edge: Edge, size = 10): Promise<{ rows: LedgerRow[]; message: string }> {
  const account = `unsent-${++accounts}`;
  const headers = { 'content-type': 'application/json' };
  const messages = [{ role: 'user', content: 'word '.repeat(size) }];
  const body = JSON.stringify({ model: MODEL, max_tokens: 1_000, messages });
  const answer = await fetch(`${edge.url}/v1/messages`, {
    method: 'POST',
    headers: { ...headers, ...bearerHeader(await createToken(account)) },
    body,
  });
  expect(answer.status).toBe(500);
  const root = bearerHeader(await createToken('root', ['admin']));
  const rows = async () => {
    const listed = await fetch(`${edge.url}/usage/requests?account=${account}`, { headers: root });
    return ((await listed.json()) as { data: LedgerRow[] }).data;
  };
  await expect.poll(async () => (await rows()).every(({ status }) => status !== 'held')).toBe(true);
  const { error } = (await answer.json()) as { error: { message: string } };
  return { rows: await rows(), message: error.message };
}

/** @returns the only row in the books of an account that asks once */
async function booked(edge: Edge, size = 10): Promise<LedgerRow> {
  const { rows } = await sendFailingRequest(edge, size);
  expect(rows).toHaveLength(1);
  const [row] = rows;
  if (!row) throw new Error('There is no row.');
  return row;
}

test.each([10, 20_000])('a connection that breaks before %i words of the body are sent costs nothing', async (size) => {
  meet = (socket) => void wait().then(() => socket.resetAndDestroy());
  expect(await booked(overTls, size)).toMatchObject({ status: 'unreachable', cost_usd: 0 });
  meet = (socket) => socket.resetAndDestroy();
  expect(await booked(overTls, size)).toMatchObject({ status: 'unreachable', cost_usd: 0 });
  expect(await booked(nowhere, size)).toMatchObject({ status: 'unreachable', cost_usd: 0 });
});

test('a request that the upstream has received is paid, however early the connection breaks', async () => {
  for (const size of [10, 20_000]) {
    let isWhole = false;
    meet = (socket) => {
      onCompleteRequest(socket, () => {
        isWhole = true;
        socket.resetAndDestroy();
      });
    };
    const { status, cost_usd } = await booked(inClear, size);
    expect([isWhole, status, Math.sign(cost_usd)]).toEqual([true, 'cut', 1]);
  }
});

/** Calls `act` once a connection has received a complete request. */
function onCompleteRequest(socket: Socket, act: () => void): void {
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
    const [, length] = /content-length: (\d+)/i.exec(text) ?? [];
    if (text.length >= text.indexOf('\r\n\r\n') + 4 + Number(length)) act();
  });
}

const OK = 'HTTP/1.1 200 OK\r\n';

test.each([
  ['a header without a colon', `${OK}broken header\r\n\r\n`],
  ['a status that is not a number', 'HTTP/1.1 fine OK\r\n\r\n'],
  ['a length that is not a number', `${OK}content-length: long\r\n\r\n`],
  ['another protocol', 'SSH-2.0-OpenSSH_9.9\r\n'],
])('sends a request once if the response headers cannot be parsed: %s', async (_, headers) => {
  let requests = 0;
  meet = (socket) =>
    onCompleteRequest(socket, () => {
      requests += 1;
      socket.end(headers);
    });
  const { rows, message } = await sendFailingRequest(retrying);
  expect(requests).toBe(1);
  expect(message).toContain('did not return valid response headers');
  expect(rows).toMatchObject([{ status: 'cut', error_type: 'upstream_no_headers', estimated: true }]);
  const [{ cost_usd, hold_usd } = { cost_usd: 0, hold_usd: 0 }] = rows;
  expect(cost_usd).toBeGreaterThan(0);
  expect(cost_usd).toBeLessThanOrEqual(hold_usd);
});

test('an upstream that refuses connections costs nothing', async () => {
  const [server] = listeners;
  server?.close();
  expect(await booked(inClear)).toMatchObject({ status: 'unreachable', cost_usd: 0 });
});
