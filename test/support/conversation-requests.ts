/** What callers of conversations do over HTTP, and what they read. */
import { expect } from 'vitest';
import type { QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { type HistoryRow, parseEvents, type ReceivedEvent } from './restarting-edge.ts';
import { SECRET } from './tokens.ts';

export const MODEL = 'claude-haiku-4-5';
/** Of an edge whose answers can be dropped in their middle. */
export const PACED_VARS = {
  UPSTREAM: 'simulator',
  SIGNING_SECRET: SECRET,
  SIMULATOR_TTFT_MS: '20',
  SIMULATOR_TOKENS_PER_SECOND: '400',
};
export const JSON_HEADERS = { 'content-type': 'application/json' };

export const createBody = (conversation: string, content: unknown, more: object = {}) =>
  JSON.stringify({ model: MODEL, max_tokens: 400, conversation, messages: [{ role: 'user', content }], ...more });

/** Reads a stream until it ends, breaks, or has told so many events. */
export async function readStreamEvents(
  response: Response,
  maxEvents = Number.POSITIVE_INFINITY,
): Promise<ReceivedEvent[]> {
  let text = '';
  const decoder = new TextDecoder();
  try {
    for await (const piece of response.body ?? []) {
      text += decoder.decode(piece, { stream: true });
      if (parseEvents(text).length >= maxEvents) break;
    }
  } catch {
    // Cut: it ends where it broke.
  }
  return parseEvents(text).slice(0, maxEvents);
}

export const postConversationMessage = (edge: { url: string }, text: string, init: RequestInit = {}) =>
  fetch(`${edge.url}/messages`, { method: 'POST', body: text, ...init, headers: { ...JSON_HEADERS, ...init.headers } });

export const resumeConversationStream = (edge: { url: string }, id: string, after: string) =>
  fetch(`${edge.url}/conversations/${id}/stream`, { headers: { 'last-event-id': after } });

export async function getJson<T>(edge: { url: string }, path: string): Promise<T> {
  const response = await fetch(edge.url + path);
  expect(response.ok, `${path}: ${response.status} ${response.ok ? '' : await response.clone().text()}`).toBe(true);
  return (await response.json()) as T;
}

export const listMessages = async (edge: { url: string }, id: string) =>
  (await getJson<{ data: HistoryRow[] }>(edge, `/conversations/${id}/messages?limit=1000`)).data;

export async function waitUntilSettled(edge: { url: string }): Promise<void> {
  await expect.poll(async () => (await getJson<QuotaReport>(edge, '/accounts/dev')).running_requests).toBe(0);
}
