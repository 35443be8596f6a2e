/** Finds the ids in a request that name things made earlier at an upstream. They belong to the account that made them. */

import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { removeRepeatedKeysFromBody } from '../../kit/http/read-json.ts';
import { isObject } from '../../kit/json/object.ts';
import { type CreatedId, FILE_KEY, findFileIds, type UpstreamResourceKind } from '../usage/created-ids.ts';
import { RequestBody } from './request-body.ts';

/** Matches escaped letters, by which a key could be hidden in the text. */
const ESCAPED_CHARACTERS = /\\u00([2-7][0-9a-f])/gi;

/** @returns whether a body may contain such an id. It only searches the text, and is true for few requests. */
export function couldContainResourceIds({ text, json }: Pick<JsonBody, 'text' | 'json'>): boolean {
  const { container = null, thread = null } = json;
  return (
    container !== null ||
    thread !== null ||
    text.includes(FILE_KEY) ||
    (text.includes('\\u00') && decodeEscapedAsciiLetters(text).includes(FILE_KEY))
  );
}

/** @returns a JSON text with its escaped letters decoded. The result may not be valid JSON */
function decodeEscapedAsciiLetters(text: string): string {
  return text.replace(ESCAPED_CHARACTERS, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

/**
 * Finds the ids that a request names.
 *
 * @returns the ids, and the body that must be sent. If it repeated a key, it is rewritten, so that the upstream cannot read
 *   another value
 * @throws ApiError 400 for a body that nests too deep to be checked
 */
export function findReferencedIds(body: JsonBody): { ids: readonly CreatedId[]; body: JsonBody } {
  if (!couldContainResourceIds(body)) return { ids: [], body };
  const read = removeRepeatedKeysFromBody(body, 'everywhere');
  return { ids: findResourceIdsInRequest(read.json), body: read };
}

/** @returns the ids that the new part of a turn names. The ids in its history were checked when they were new. */
export function findResourceIdsInNewMessages(body: JsonBody): readonly CreatedId[] {
  const own = body instanceof RequestBody ? { text: body.textWithoutHistory, json: body.ownJson } : body;
  return couldContainResourceIds(own) ? findResourceIdsInRequest(own.json) : [];
}

/** @returns the ids that a Messages request names, each once */
export function findResourceIdsInRequest(request: Readonly<Record<string, unknown>>): readonly CreatedId[] {
  const found: CreatedId[] = [];
  const addIds = (kind: UpstreamResourceKind, ids: Iterable<string>) => {
    for (const id of new Set(ids)) found.push({ kind, id });
  };
  const { container, thread } = request;
  addIds('container', getContainerIds(container));
  if (isObject(thread)) addIds('thread', toStringList(thread.previous_message_id));
  addIds('file', findFileIds(request));
  return found;
}

/** @returns the ids in the parameter `container`: a string, an object with an `id`, or a list of either. */
export function getContainerIds(container: unknown): string[] {
  if (Array.isArray(container)) return container.flatMap(getContainerIds);
  return toStringList(isObject(container) ? container.id : container);
}

/** @returns a string, or the strings in a list: the API takes no list, but what is checked must be all that is sent. */
function toStringList(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(toStringList);
  return typeof value === 'string' ? [value] : [];
}

/** Tools that run in a container. An answer contains the container's id. */
const CONTAINER_TOOLS = /^(code_execution|web_search_2026|web_fetch_2026)/;

/** @returns whether a tool of a request runs in a container. */
export function isToolRunInContainer(tool: unknown): boolean {
  return isObject(tool) && typeof tool.type === 'string' && CONTAINER_TOOLS.test(tool.type);
}

/** @returns whether the answer to a request may contain ids of things that it makes. */
export function canAnswerCreateResources({
  container = null,
  thread = null,
  tools,
}: Readonly<Record<string, unknown>>): boolean {
  if (container !== null || thread !== null) return true;
  if (!Array.isArray(tools)) return false;
  return tools.some(isToolRunInContainer);
}
