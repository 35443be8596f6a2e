/** What tests of two releases ask of an edge, and the Claude API behind it. */
import type { ServerResponse } from 'node:http';
import { expect } from 'vitest';
import { signGithub } from '../../scripts/sign-webhook.ts';
import { bearer, SECRET, tokenOf } from './tokens.ts';
import { type FakeUpstream, type Received, startUpstream } from './upstream.ts';
import { webhookVars } from './webhook-vars.ts';
import { simulatorWithoutThinking } from './without-thinking.ts';

export const MODEL = 'claude-haiku-5-5';
const WEBHOOK_SECRET = 'a-webhook-secret-of-the-tests-that-is-long-enough';
/** A message that says this gets the beginning of an answer, and no more. */
export const ENDLESS = 'Speak without an end';

/** A tool of the edge. Its calls wait for approval. */
const PAY = {
  name: 'pay',
  description: 'Pays an order.',
  input_schema: { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] },
  run: { url: 'https://tools.example.com/pay', approval: 'always' },
};

export interface Page<T> {
  data: T[];
}

/** Starts the API. */
export async function startApi(): Promise<FakeUpstream> {
  const simulate = simulatorWithoutThinking();
  return await startUpstream((request, response) => void answer(simulate, request, response));
}

async function answer(
  simulate: (request: Request) => Promise<Response>,
  { method, path, headers, body }: Received,
  response: ServerResponse,
): Promise<void> {
  const sent = new Headers(headers as Record<string, string>);
  const hasBody = method !== 'GET' && method !== 'HEAD';
  const told = await simulate(
    new Request(`https://api.test${path}`, { method, headers: sent, ...(hasBody && { body: String(body) }) }),
  );
  const text = await told.text();
  response.writeHead(told.status, Object.fromEntries(told.headers));
  if (path === '/v1/messages') {
    const last = (JSON.parse(String(body)) as { messages: unknown[] }).messages.at(-1);
    if (JSON.stringify(last).includes(ENDLESS)) {
      response.write(text.slice(0, text.indexOf('event: content_block_stop')));
      return;
    }
  }
  response.end(text);
}

/** The settings of an edge before this API. */
export const varsOf = (api: FakeUpstream) => ({
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: api.url,
  GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
  TOOL_HOSTS: 'tools.example.com',
  TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
  ...webhookVars('github'),
});

/** An edge with what is asked of it, as an account that uses it and as its operator. */
export async function asking({ url }: { url: string }) {
  const credentials = {
    alice: await tokenOf('alice', ['messages', 'classify', 'prefixes', 'tools']),
    root: await tokenOf('root', ['admin']),
  };
  const send = async (who: keyof typeof credentials, method: string, path: string, body?: unknown) =>
    await fetch(url + path, {
      method,
      headers: { 'content-type': 'application/json', ...bearer(credentials[who]) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const told = async (who: keyof typeof credentials, method: string, path: string, body?: unknown): Promise<string> => {
    const response = await send(who, method, path, body);
    const text = await response.text();
    expect(response.ok, `${method} ${path}: ${response.status} ${text}`).toBe(true);
    return text;
  };
  const ask = async <T>(who: keyof typeof credentials, method: string, path: string, body?: unknown): Promise<T> => {
    const text = await told(who, method, path, body);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  };
  const headersOf = (who: keyof typeof credentials) => bearer(credentials[who]);
  return { url, headersOf, send, told, ask };
}
export type Asking = Awaited<ReturnType<typeof asking>>;

export const message = (content: string, more: object = {}) => ({
  model: MODEL,
  max_tokens: 50,
  messages: [{ role: 'user', content }],
  ...more,
});

/** Sends a webhook's event, once. */
export async function sendEvent({ url }: { url: string }, n: number): Promise<void> {
  const event = JSON.stringify({ action: 'opened', issue: { title: `Bug ${n}`, body: 'It crashes.', html_url: '' } });
  const headers = await signGithub(event, WEBHOOK_SECRET, 'issues', `event-${n}`);
  headers.set('content-type', 'application/json');
  const taken = await fetch(`${url}/webhooks/github`, { method: 'POST', headers, body: event });
  expect(taken.ok, await taken.text()).toBe(true);
}

/** @returns how far each event has come */
export async function statesOf({ ask }: Asking): Promise<string[]> {
  return (await ask<Page<{ state: string }>>('root', 'GET', '/webhooks/github/events')).data.map(({ state }) => state);
}

/** Reads a stream up to the first words. @returns the reader, and what has come */
export async function readBegun(response: Response) {
  const reader = response.body?.getReader();
  let seen = '';
  while (!seen.includes('content_block_delta')) {
    const piece = await reader?.read();
    expect(piece?.done, seen).toBe(false);
    seen += new TextDecoder().decode(piece?.value);
  }
  return { reader, seen };
}

interface Turn {
  id: string;
  status: string;
  paused: string | null;
}

const turnOf = async ({ ask }: Asking, id: string, turn: string) =>
  await ask<Turn>('alice', 'GET', `/conversations/${id}/turns/${turn}`);

/** Begins a run in the background, and waits until its call waits for approval. */
export async function beginPaying(asking: Asking, id: string): Promise<void> {
  const asked = message('Call pay for order 7.', { conversation: id, tools: [PAY], max_tokens: 200, background: true });
  const { id: turn } = await asking.ask<Turn>('alice', 'POST', '/v1/messages', asked);
  await expect.poll(async () => (await turnOf(asking, id, turn)).paused).toBe('approval');
}

/** Denies what waits in a conversation, and waits until its run has ended. */
export async function denyPaying(asking: Asking, id: string): Promise<void> {
  const { data } = await asking.ask<Page<{ id: string }>>('alice', 'GET', `/conversations/${id}/approvals`);
  expect(data).toHaveLength(1);
  const path = `/conversations/${id}/approvals/${data[0]?.id}`;
  const going = await asking.ask<Turn>('alice', 'POST', path, { decision: 'deny', reason: 'No.' });
  await expect.poll(async () => (await turnOf(asking, id, going.id)).status).toBe('complete');
}
