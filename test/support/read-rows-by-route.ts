/** The rows of a conversation by each way out of it, and the way in again. */
import { expect } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { TestApp } from './app.ts';

export const READ_ROUTES = ['messages', 'messages?view=shown', 'export', 'export?view=shown'] as const;
export type ReadRoute = (typeof READ_ROUTES)[number];

/** The rows of a conversation as a route writes them; none where there is no conversation. */
export async function readRowsBy(app: TestApp, way: ReadRoute, id: string): Promise<JsonObject[]> {
  const page = way.startsWith('messages') ? `${way.includes('?') ? '&' : '?'}limit=1000` : '';
  const response = await app.fetch(`/conversations/${id}/${way}${page}`);
  const text = await response.text();
  if (response.status === 404) return [];
  if (way.startsWith('messages')) return (JSON.parse(text) as { data: JsonObject[] }).data;
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JsonObject);
  return lines.filter(({ type }) => type === 'message');
}

/** Makes a conversation of rows. @returns it */
export async function importMessages(app: TestApp, messages: readonly unknown[], id: string): Promise<JsonObject> {
  const response = await app.post('/conversations', { id, messages });
  const created = (await response.json()) as JsonObject;
  expect(created).toMatchObject({ type: 'conversation' });
  return created;
}
