/** Gives an agent the system and the tools of a stored prefix, as they are when the agent is stored. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { joinedPieces, lengthOf, piecesOf } from '../../kit/http/body-pieces.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { finalError, invalidRequest, tooLarge } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import type { Json } from '../../kit/json/object.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { PREFIX_MEMBER } from '../../registry/prefixes/prefixes.schema.ts';
import { hasRun } from '../../registry/tools/edge-tools.ts';
import { findAsked } from '../../registry/versions/named-routes.ts';
import { MAX_AGENT_BYTES } from './agents.schema.ts';

/**
 * Puts the system and the tools of the prefix that an agent names in their places. An agent that names none does not change.
 *
 * @param by who stores the agent: an account, or what stands for the deployment. Only their prefixes and the deployment's count
 * @returns the agent, which names the version of the prefix
 * @throws ApiError 400 for a prefix that no agent can be made of, 403 for tools that the caller may not see, 404 for a prefix
 *   that does not exist, 413 for one that is too long
 */
export async function withPartsOfPrefix(c: Context<AppEnv>, fields: Json, by: string): Promise<Json> {
  if (fields.prefix === undefined) return fields;
  const ref = validate(PREFIX_MEMBER.schema, fields.prefix, 'prefix') ?? '';
  if (fields.system !== undefined || fields.tools !== undefined) {
    throw invalidRequest('prefix: not allowed with system or tools: it brings both. Send one of the two.');
  }
  const { owner, name, hash, value } = await findAsked(c, PREFIXES, ref, [by, DEPLOYMENT]);
  const { system, tools, messages } = value.content;
  if (messages.length > 0) {
    throw invalidRequest('prefix: this one has messages, and an agent has none. Name one without them.');
  }
  if (owner !== by && hasRun(tools)) {
    throw finalError('permission_error', 'prefix: only admins see how its tools are called. Have one store the agent.');
  }
  const pieces = piecesOf(JSON.stringify({ system, tools }), value.sources);
  if (lengthOf(pieces) > MAX_AGENT_BYTES) throw tooLarge(MAX_AGENT_BYTES);
  const parts = JSON.parse(decoder.decode(joinedPieces(pieces))) as Json;
  return { ...fields, ...parts, prefix: `${name}@${hash}` };
}
