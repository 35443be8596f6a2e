/** The stored form of a run: the model, the beginning of the prompt, the tools, and the limits. */

import { encoder } from '../../kit/http/bytes.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { runLimits } from '../../registry/tools/run-limits.schema.ts';
import type { AgentFields } from './agents.schema.ts';

/** A stored version, with all its limits. Its system has the form in which it was sent. */
export interface AgentDefinition extends Omit<AgentFields, 'tools' | 'limits'> {
  tools: JsonObject[];
  limits: NonNullable<AgentFields['limits']>;
}

/** A version, and the JSON text from which it is read. */
export interface AgentDefinitionWithText {
  readonly definition: AgentDefinition;
  /** Its parts are sent with these bytes, so that the upstream's cache finds them. */
  readonly text: string;
}

/**
 * Brings an agent into its stored form. Equal agents get equal bytes, even if their members were ordered, spaced or escaped
 * differently. Within a tool or a block the order stays, because a model reads a schema in its order.
 *
 * @throws ApiError 400 for tools of the same name, and for breakpoints, which the edge places
 */
export function serializeAgent(fields: AgentFields): Uint8Array {
  const { description, model, max_tokens, system, tools = [], limits = {}, approvers, ...shaping } = fields;
  if (typeof system === 'object') rejectCacheBreakpoints('system', system);
  rejectCacheBreakpoints('tools', tools);
  const names = new Set<unknown>();
  for (const [index, { name }] of tools.entries()) {
    if (name !== undefined && names.has(name))
      throw createInvalidRequestError(`tools.${index}.name: Tool names must be unique.`);
    names.add(name);
  }
  const ordered = sortMembers(shaping);
  const choice = typeof model === 'string' ? model : sortMembers({ ...model, models: sortMembers(model.models) });
  const definition: AgentDefinition = {
    model: choice,
    max_tokens,
    system,
    tools,
    ...ordered,
    limits: validateBySchema(runLimits, limits),
    approvers,
    description,
  };
  return encoder.encode(JSON.stringify(definition));
}

/** @returns an object whose members are in the order of their names */
function sortMembers<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).sort(([left], [right]) => (left < right ? -1 : 1))) as T;
}

function rejectCacheBreakpoints(part: string, list: readonly JsonObject[]): void {
  const at = list.findIndex((item) => Object.hasOwn(item, 'cache_control'));
  if (at < 0) return;
  throw createInvalidRequestError(
    `${part}.${at}.cache_control: not supported in agents, because Sluice sets the cache breakpoints. Remove it.`,
  );
}
