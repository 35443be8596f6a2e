/** Turns a list of tools into its stored form, and shows it. */

import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { findResourceIdsInRequest } from '../../claude/request/referenced-ids.ts';
import type { Settings } from '../../config/settings.ts';
import { requireWellFormedStrings } from '../../kit/http/require-well-formed.ts';
import { type JsonObject, removeUndefined } from '../../kit/json/object.ts';
import { admitRequestWithoutCost } from '../../money/admission/admit-free.ts';
import { requireResourcesOwnedByAccount } from '../../money/admission/check-owned.ts';
import { readJsonBodyToStore } from '../../money/admission/read-body.ts';
import { validateEdgeTools } from '../tools/check-tools.ts';
import { findToolKind, type StoreToolsHooks, toolKinds } from '../tools/tool-kind.ts';

/**
 * Reads a body that will be stored, and turns its tools into their stored form.
 *
 * @param price what the request costs its account
 * @param warn called with a sentence about each tool that is left out
 * @param complete adds tools that the body only names
 * @throws ApiError as `toStoredTools`, 400 for a lone surrogate, and 404 for an id of something that does not belong to the account
 */
export async function readBodyWithStoredTools(
  c: Context<AppEnv>,
  price: Parameters<typeof readJsonBodyToStore>[1],
  warn: StoreToolsHooks['warn'],
  complete: (sent: JsonObject) => JsonObject | Promise<JsonObject> = (sent) => sent,
): Promise<JsonObject> {
  const { json: sent } = await readJsonBodyToStore(c, price);
  // Check before the tools of MCP servers are inserted: they change the positions, so an error would name the wrong tool.
  requireWellFormedStrings(sent);
  const context = getRequestContext(c);
  // A stored resource must not refer to a container, even to one that the account owns.
  await requireResourcesOwnedByAccount(context, findResourceIdsInRequest({ ...sent, container: undefined }));
  const json = await complete(sent);
  const tools = await toStoredTools(json.tools, context.identity, context.settings, {
    onServerRequest: () => admitRequestWithoutCost(c),
    warn,
    waitUntil: context.waitUntil,
  });
  return { ...json, ...removeUndefined({ tools }) };
}

/**
 * Checks a list of tools that will be stored, and lists the tools of its MCP servers.
 *
 * @returns the list in its stored form; unchanged if it is not a list, or names no server
 * @throws ApiError 400 for a malformed tool, and for a server whose tools cannot be listed; 403 for a caller who may not send
 *   tools with an address; 502 for a server whose tools may be listed later
 */
export async function toStoredTools(
  tools: unknown,
  identity: Identity,
  settings: Settings,
  storing: StoreToolsHooks,
): Promise<unknown> {
  validateEdgeTools(tools, { identity, settings, isStored: true });
  if (!Array.isArray(tools)) return tools;
  let list: unknown[] = tools;
  for (const { stored } of toolKinds()) if (stored) list = await stored(list, settings, storing);
  return list;
}

/**
 * An address and its headers may be secrets of those who have stored them. Those of the deployment are its admins', even where
 * accounts may store tools of their own.
 *
 * @returns whether the caller may see how what this owner has stored is called
 */
export function canSeeToolAddresses(c: Context<AppEnv>, owner: string): boolean {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') || (owner === identity.account && hasScope(identity, 'tools'));
}

/** @returns stored tools, without their `run` where the caller may not see it */
export function redactToolAddresses(c: Context<AppEnv>, owner: string, tools: JsonObject[]): JsonObject[] {
  if (canSeeToolAddresses(c, owner)) return tools;
  const isOwn = owner === c.get('identity').account;
  return tools.map((tool) => {
    const { run, ...shown } = tool;
    return isOwn && run !== undefined && findToolKind(run)?.hasNoAddress ? tool : shown;
  });
}
