/** Gives an agent the system and the tools of a stored prefix, as they are when the agent is stored. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { joinPieces, replacePlaceholdersByPieces, sumPieceLengths } from '../../kit/http/body-pieces.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { createInvalidRequestError, createNonRetryableError, createTooLargeError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { PREFIX_MEMBER } from '../../registry/prefixes/prefixes.schema.ts';
import { hasEdgeTools } from '../../registry/tools/edge-tools.ts';
import { requireRequestedVersion } from '../../registry/versions/versioned-routes.ts';
import { MAX_AGENT_BYTES } from './agents.schema.ts';
import { findAgentOfUndescribedTool } from './fill-tool-descriptions.ts';

/**
 * Copies the system prompt, the tools and the default `cache_ttl` of the prefix that an agent names into the agent. An agent that names none does not
 * change. The request may contain the same parts in addition to the prefix, as `GET` returns them.
 *
 * @param by the owner of the agent: an account, or the deployment. Only its own prefixes and the deployment's can be used
 * @returns the agent, which names the version of the prefix
 * @throws ApiError 400 for a prefix that cannot be used in an agent, 403 for tools that the caller may not see, 404 for a
 *   prefix that does not exist, 413 for one that is too long
 */
export async function copyPrefixIntoAgent(c: Context<AppEnv>, fields: JsonObject, by: string): Promise<JsonObject> {
  if (fields.prefix === undefined) return fields;
  const ref = validateBySchema(PREFIX_MEMBER.schema, fields.prefix, 'prefix') ?? '';
  const { owner, name, hash, value } = await requireRequestedVersion(c, PREFIXES, ref, [by, DEPLOYMENT]);
  const { system, tools, messages, cache_ttl } = value.content;
  if (messages.length > 0) {
    throw createInvalidRequestError(
      'prefix: this prefix has messages, which agents do not support. Use a prefix without messages.',
    );
  }
  if (owner !== by && hasEdgeTools(tools)) {
    throw createNonRetryableError(
      'permission_error',
      'prefix: only admins can read the addresses of its tools. Ask an admin to store the agent.',
    );
  }
  const pieces = replacePlaceholdersByPieces(JSON.stringify({ system, tools }), value.sources);
  if (sumPieceLengths(pieces) > MAX_AGENT_BYTES) throw createTooLargeError(MAX_AGENT_BYTES);
  const parts = JSON.parse(decoder.decode(joinPieces(pieces))) as { system?: unknown; tools: JsonObject[] };
  const sentTools = fields.tools === undefined ? parts.tools : restoreFilledInDescriptions(parts.tools, fields.tools);
  const sent = { system: parts.system, tools: sentTools, ...fields };
  for (const part of ['system', 'tools'] as const) {
    if (isEqualJson(sent[part], part === 'tools' ? sentTools : parts.system)) continue;
    throw createInvalidRequestError(`${part}: differs from the value of the prefix ${name}. Remove one of the two.`);
  }
  return { cache_ttl, ...fields, ...parts, tools: sentTools, prefix: `${name}@${hash}` };
}

/** @returns whether two JSON values are equal, in whatever order their members are */
function isEqualJson(one: unknown, other: unknown): boolean {
  return stringifyWithSortedKeys(one) === stringifyWithSortedKeys(other);
}

function stringifyWithSortedKeys(value: unknown): string | undefined {
  return JSON.stringify(value, (_, part: unknown) =>
    isObject(part) ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => (one < other ? -1 : 1))) : part,
  );
}

/** @returns the tools of a prefix with the descriptions that were filled in when the agent was stored before */
function restoreFilledInDescriptions(tools: readonly JsonObject[], sent: unknown): JsonObject[] {
  return tools.map((tool, index) => {
    const { description } = (Array.isArray(sent) && isObject(sent[index]) && sent[index]) || {};
    return description === undefined || findAgentOfUndescribedTool(tool) === undefined
      ? tool
      : { ...tool, description };
  });
}
