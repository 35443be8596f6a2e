/** All fields of a request that only Sluice reads: the core's, and those of the plugins in use. All code uses this list. */

import { CONVERSATION_MEMBER } from '../../conversations/object/conversations.schema.ts';
import { SHOW_MEMBER } from '../../conversations/views/show.schema.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { STREAM_COST_MEMBER } from '../../messages/stream-cost.schema.ts';
import { PREFIX_MEMBER } from '../../registry/prefixes/prefixes.schema.ts';
import {
  type CoreRequestFieldDefinitions,
  parseRequestField,
  type RequestFieldDefinition,
  type RequestFieldDefinitions,
  type RequestFieldValues,
} from './field-definition.ts';

const allFields = memoizeFromPlugins(() => {
  let all: RequestFieldDefinitions = {
    conversation: CONVERSATION_MEMBER,
    prefix: PREFIX_MEMBER,
    show: SHOW_MEMBER,
    stream_cost: STREAM_COST_MEMBER,
  };
  for (const members of getPluginMembers('members')) all = { ...all, ...members };
  return all;
});
const bodyFields = memoizeFromPlugins(() => Object.entries(allFields()).filter(([, { ofHeader }]) => !ofHeader));

/** Headers of requests that no member has. */
const OTHER_HEADERS = ['sluice-tags', 'sluice-simulate'];
/** Headers of requests that something in this edge reads: only these may begin with `sluice-`. */
export const knownHeaders = memoizeFromPlugins(
  (): ReadonlySet<string> => new Set([...OTHER_HEADERS, ...listFieldHeaders(() => true)]),
);

/** Rejects a `sluice-` header that no plugin reads, which would otherwise be silently ignored. @throws ApiError 400 */
export function rejectUnknownHeaders(headers: Headers): void {
  const names = knownHeaders();
  // `forEach` is faster than an iterator, which creates an array for each header.
  headers.forEach((_, name) => {
    if (name.startsWith('sluice-') && !names.has(name))
      throw createInvalidRequestError(`${name}: no plugin of this deployment supports this header. Remove it.`);
  });
}

/** @returns a function that checks whether a caller may use a field */
export function createFieldOpenToTest(
  who: NonNullable<RequestFieldDefinition['open']>[number],
): (member: RequestFieldDefinition) => boolean {
  return ({ open }) => open?.includes(who) === true;
}

/** @returns the names of members that a body may have. @param which only those of which this holds; default: all */
export function listFieldNames(which: (member: RequestFieldDefinition) => boolean = () => true): string[] {
  return bodyFields().flatMap(([name, member]) => (which(member) ? [name] : []));
}

/** Members that are limits of a run, with their names. */
export const runLimitFields = memoizeFromPlugins(() => bodyFields().filter(([, { isLimit }]) => isLimit));

/** @returns the headers that say members of which this holds */
export function listFieldHeaders(which: (member: RequestFieldDefinition) => boolean): string[] {
  return Object.values(allFields()).flatMap((member) => (member.header && which(member) ? [member.header] : []));
}

/** @returns the schemas of members of a body, with their words. @param which as for `listFieldNames` */
export function collectFieldSchemas(which: (member: RequestFieldDefinition) => boolean = () => true) {
  return Object.fromEntries(bodyFields().flatMap(([name, member]) => (which(member) ? [[name, member.schema]] : [])));
}

/** Reads a parameter. @returns undefined also if the plugin that adds it is absent. @throws ApiError 400 if it is invalid */
export function readRequestField<Name extends keyof RequestFieldValues>(
  name: Name,
  headers: Headers | undefined,
  body: JsonObject,
): RequestFieldValues[Name] | undefined {
  const members: CoreRequestFieldDefinitions = allFields();
  const member = members[name];
  return member && parseRequestField<RequestFieldValues[Name]>(name, member, headers, body);
}

/** Validates the parameters that only the edge reads, except limits: these are validated where a run begins. @throws ApiError 400 */
export function checkRequestFields(headers: Headers, body: JsonObject): void {
  for (const [name, member] of bodyFields()) if (!member.isLimit) parseRequestField(name, member, headers, body);
}

/** @throws ApiError 400 for a member that needs a conversation, in a request without one */
export function rejectConversationFields(headers: Headers, body: JsonObject): void {
  for (const [name, member] of bodyFields()) {
    if (member.keeps === undefined || !(parseRequestField(name, member, headers, body) ?? false)) continue;
    throw createInvalidRequestError(
      `${name}: requires a conversation, which stores ${member.keeps}. Send \`conversation\` with an id of your choice.`,
    );
  }
}

/** @throws ApiError 400 for a field that applies only to agents, in a request without an agent */
export function rejectAgentFields(body: JsonObject): void {
  for (const [name, { withoutAgent }] of bodyFields()) {
    if (withoutAgent !== undefined && Object.hasOwn(body, name))
      throw createInvalidRequestError(`${name}: ${withoutAgent}`);
  }
}

/**
 * The changes that remove Sluice's own fields from a body, for `editJson`:
 *
 * - `ofMessage`: from a message without a conversation and without an agent. `prefix` stays, because expanding it removes it.
 * - `ofTurn`: from a turn of a conversation, if it is neither a run nor a turn of an agent.
 * - `all`: from a run, and from a request to which an agent was applied.
 * - `ofCount`: from a token count without a conversation. The fields that are open to counts stay, because counting reads them.
 *
 * `ofMessage` and `ofTurn` leave the limits of runs in the body, and `ofMessage` also the fields marked `goesUp`: Sluice does
 * not apply them there, so the API rejects them.
 */
export const fieldRemovals = memoizeFromPlugins(() => {
  const toFieldRemoval = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, undefined]));
  const createFieldRemoval = (which?: (member: RequestFieldDefinition) => boolean) =>
    toFieldRemoval(listFieldNames(which));
  return {
    ofMessage: toFieldRemoval(
      bodyFields().flatMap(([name, { isLimit, goesUp }]) => (isLimit || goesUp || name === 'prefix' ? [] : [name])),
    ),
    ofTurn: createFieldRemoval(({ isLimit }) => !isLimit),
    all: createFieldRemoval(),
    ofCount: createFieldRemoval((member) => !createFieldOpenToTest('count')(member)),
  };
});
