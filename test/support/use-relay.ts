/** An edge before an upstream that answers as a test says, and callers that send what they want. */
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, inject } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { type Edge, startEdge } from './edge.ts';
import { type FakeUpstream, startUpstream } from './upstream.ts';

export const KEY = 'sk-ant-api03-the-key-of-the-deployment';
/** A busy machine is itself silent for a second. */
export const IDLE_MS = 2_500;
export const TIMEOUT_MS = 5_000;

export const bytes = new TextEncoder().encode(TEXT_STREAM);
export const halfMessage = bytes.subarray(0, 700);
export const message = {
  type: 'message',
  model: 'claude-haiku-4-5',
  content: [],
  usage: { input_tokens: 1, output_tokens: 1 },
};
export const messageBody = JSON.stringify({
  model: 'claude-haiku-4-5',
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'Hi' }],
});

export let upstream: FakeUpstream;
export let edge: Edge;
/** All that came back over HTTP in this file: the key must not be in it. */
export const returnedText: string[] = [];

/** The settings of an edge in development before the test's upstream. */
export const developmentVars = () => ({
  ANTHROPIC_API_KEY: KEY,
  ANTHROPIC_BASE_URL: upstream.url,
});

/** Starts the upstream and the edge for the tests of a file. */
export function installRelay(): void {
  beforeAll(async () => {
    upstream = await startUpstream(() => {});
    edge = await startEdge(inject('worker'), {
      ...developmentVars(),
      STREAM_IDLE_MS: String(IDLE_MS),
      UPSTREAM_TIMEOUT_MS: String(TIMEOUT_MS),
      MAX_BODY_BYTES: '100000',
    });
  });

  afterAll(async () => {
    await edge.stop();
    await upstream.stop();
  });

  beforeEach(() => {
    upstream.receivedRequests.length = 0;
    upstream.cancelledCount = 0;
    edge.log.length = 0;
  });
}

export const JSON_HEADERS = { 'content-type': 'application/json' };
export const postToMessages = (path: string, init: RequestInit = {}) =>
  fetch(edge.url + path, { method: 'POST', body: messageBody, ...init, headers: { ...JSON_HEADERS, ...init.headers } });

export async function readResponseText(response: Response): Promise<string> {
  const text = await response.text();
  returnedText.push(text, JSON.stringify([...response.headers]));
  return text;
}

interface Envelope {
  type: string;
  error: { type: string; message: string };
}

export async function readError(response: Response): Promise<{ status: number; type: string }> {
  const { error } = JSON.parse(await readResponseText(response)) as Envelope;
  return { status: response.status, type: error.type };
}

/**
 * Sends a request as it is written, with any `Host`. Its caller leaves by `resetAndDestroy()`: a connection that is only
 * closed could be half open, and locally nothing tells the two apart until something is written.
 */
export function sendRaw(path: string, headers: Record<string, string> = {}, method = 'POST'): Socket {
  const socket = connect(Number(new URL(edge.url).port), '127.0.0.1');
  const all = { host: 'localhost', ...JSON_HEADERS, 'content-length': String(messageBody.length), ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${messageBody}`);
  return socket;
}

export const readLog = async () => {
  await expect.poll(() => edge.log.length).toBeGreaterThan(0);
  return edge.log[0];
};
