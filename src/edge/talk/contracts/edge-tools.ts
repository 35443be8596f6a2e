/** Tools that the edge calls itself: those with a member `run`, which never goes up. */

import { invalidRequest } from '../../kit/http/errors.ts';
import { edit, itemTexts } from '../../kit/json/edit.ts';
import { isObject, parseObject } from '../../kit/json/object.ts';
import { refuseEdgeServer } from './edge-server.ts';

/**
 * Matches a member `run`, also one with escaped letters. Inside a string its quotes would be escaped. So most requests need
 * no parsing.
 */
export const MAY_HAVE_RUN = /"run"|\\u00(?:72|75|6e)/i;

/** @returns whether a list has a tool that the edge must call itself. */
export function hasRun(tools: unknown): boolean {
  return Array.isArray(tools) && tools.some((tool) => isObject(tool) && Object.hasOwn(tool, 'run'));
}

/**
 * Removes the addresses and headers of the tools that the edge calls. Both may be secrets of the account that sent them, and
 * somebody else may read the conversation.
 *
 * @param tools the JSON text of a list
 * @returns the JSON text of the list without addresses and headers
 */
export function withoutAddresses(tools: string): string {
  if (!tools.startsWith('[') || !MAY_HAVE_RUN.test(tools)) return tools;
  const shown = itemTexts(tools).map((text) =>
    isObject(parseObject(text)?.run) ? edit(text, { run: undefined }) : text,
  );
  return `[${shown.join(',')}]`;
}

/** @throws ApiError 400 if a request without a conversation has tools with `run` */
export function refuseRun(body: Readonly<Record<string, unknown>>): void {
  refuseEdgeServer(body);
  if (!hasRun(body.tools)) return;
  throw invalidRequest(
    'tools: those with `run` need a conversation, which keeps the steps. Send `conversation`, with an id of your own.',
  );
}
