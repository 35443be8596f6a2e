/** What callers of conversations do over HTTP, and what they read. */
import { expect } from 'vitest';
import type { QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { type Event, eventsIn, type Row } from './lives.ts';
import { SECRET } from './tokens.ts';

export const MODEL = 'claude-haiku-4-5';
/** Of an edge whose answers can be dropped in their middle. */
export const PACED = {
  UPSTREAM: 'simulator',
  SIGNING_SECRET: SECRET,
  SIMULATOR_TTFT_MS: '20',
  SIMULATOR_TOKENS_PER_SECOND: '400',
};
export const json = { 'content-type': 'application/json' };

export const body = (conversation: string, content: unknown, more: object = {}) =>
  JSON.stringify({ model: MODEL, max_tokens: 400, conversation, messages: [{ role: 'user', content }], ...more });

/** Reads a stream until it ends, breaks, or has told so many events. */
export async function read(response: Response, most = Number.POSITIVE_INFINITY): Promise<Event[]> {
  let text = '';
  const decoder = new TextDecoder();
  try {
    for await (const piece of response.body ?? []) {
      text += decoder.decode(piece, { stream: true });
      if (eventsIn(text).length >= most) break;
    }
  } catch {
    // Cut: it ends where it broke.
  }
  return eventsIn(text).slice(0, most);
}

export const say = (edge: { url: string }, text: string, init: RequestInit = {}) =>
  fetch(`${edge.url}/messages`, { method: 'POST', body: text, ...init, headers: { ...json, ...init.headers } });

export const resume = (edge: { url: string }, id: string, after: string) =>
  fetch(`${edge.url}/conversations/${id}/stream`, { headers: { 'last-event-id': after } });

export async function get<T>(edge: { url: string }, path: string): Promise<T> {
  const response = await fetch(edge.url + path);
  expect(response.ok, `${path}: ${response.status} ${response.ok ? '' : await response.clone().text()}`).toBe(true);
  return (await response.json()) as T;
}

export const rowsOf = async (edge: { url: string }, id: string) =>
  (await get<{ data: Row[] }>(edge, `/conversations/${id}/messages?limit=1000`)).data;

export async function settled(edge: { url: string }): Promise<void> {
  await expect.poll(async () => (await get<QuotaReport>(edge, '/accounts/dev')).running_requests).toBe(0);
}
