/** What a request names that was made before at an upstream, and belongs to the account that made it. */

import type { JsonBody } from '../../http/json-body.ts';
import { withOneReading } from '../../http/read-json.ts';
import { isObject } from '../../json/object.ts';
import { FILE_KEY, fileIdsIn, type MadeId, type MadeKind } from '../usage/made-ids.ts';
import { RequestBody } from './request-body.ts';

/** How a key could be written so that the text does not have it. */
const ESCAPED_ASCII = /\\u00([2-7][0-9a-f])/gi;

/** @returns whether a request can name something by its id. It costs a search through the text, and is true for few. */
function mayName({ text, json }: Pick<JsonBody, 'text' | 'json'>): boolean {
  const { container = null, thread = null } = json;
  return container !== null || thread !== null || text.includes(FILE_KEY) || plainText(text).includes(FILE_KEY);
}

/** @returns a JSON text with its escaped letters written as they are; it may be no JSON any more */
function plainText(text: string): string {
  if (!text.includes('\\u00')) return text;
  return text.replace(ESCAPED_ASCII, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

/**
 * Finds what a request names by its id.
 *
 * @returns its ids, and the body as it must go up: where it repeats a key, the upstream must not read another value of it
 * @throws ApiError 400 for a body that nests too deep to be sure of
 */
export function namedIds(body: JsonBody): { ids: readonly MadeId[]; body: JsonBody } {
  if (!mayName(body)) return { ids: [], body };
  const read = withOneReading(body, 'everywhere');
  return { ids: idsNamed(read.json), body: read };
}

/** @returns what the new part of a turn names by its id. What its history names was checked when it was new. */
export function idsInTurn(body: JsonBody): readonly MadeId[] {
  const own = body instanceof RequestBody ? { text: body.ownText, json: body.own } : body;
  return mayName(own) ? idsNamed(own.json) : [];
}

/** @returns what a Messages request names by its id, each once */
export function idsNamed(request: Readonly<Record<string, unknown>>): readonly MadeId[] {
  const found = new Map<string, MadeId>();
  const add = (kind: MadeKind, id: unknown) => {
    if (typeof id === 'string') found.set(`${kind} ${id}`, { kind, id });
  };
  const { container, thread } = request;
  add('container', isObject(container) ? container.id : container);
  if (isObject(thread)) add('thread', thread.previous_message_id);
  for (const id of fileIdsIn(request)) add('file', id);
  return [...found.values()];
}

/** Tools that run in a container, which an answer gives the id of. */
const IN_CONTAINER = /^(code_execution|web_search_2026|web_fetch_2026)/;

/** @returns whether the answer to a request can give out ids of what it makes. */
export function makesThings({ container = null, thread = null, tools }: Readonly<Record<string, unknown>>): boolean {
  if (container !== null || thread !== null) return true;
  if (!Array.isArray(tools)) return false;
  return tools.some((tool) => isObject(tool) && typeof tool.type === 'string' && IN_CONTAINER.test(tool.type));
}
