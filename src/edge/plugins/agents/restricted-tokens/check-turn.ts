/**
 * Limits what a restricted token may send to a conversation. The request that is sent upstream is the same as for a plain
 * request that names an agent and has new messages: everything else is removed or rejected.
 */

import type { RestrictedCaller } from '../../../auth/identity/caller.ts';
import { canUseStored, describeAllowedNames, resolveRestrictedName } from '../../../auth/identity/only.ts';
import { createFieldOpenToTest, listFieldHeaders, listFieldNames } from '../../../claude/request/all-fields.ts';
import type { RestrictedTokenGuard } from '../../../conversations/history/guard.ts';
import type { ConversationProfile, RetainedAgent } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { hasMessagesFromElsewhere } from '../../../conversations/history/storage/turn-queries.ts';
import { createConversationNotFoundError } from '../../../conversations/object/rpc-response.ts';
import type { JsonBody } from '../../../kit/http/body/json-body.ts';
import { type ApiError, createRestrictedTokenError, rejectFieldsNotAllowed } from '../../../kit/http/errors.ts';
import { replaceBodyText } from '../../../kit/http/read-json.ts';
import { parseMemberTexts } from '../../../kit/json/edit.ts';
import { memoizeFromPlugins } from '../../../kit/plugins/plugins.ts';
import { validateRestrictedMessages } from './check-messages.ts';

const countedMembers = memoizeFromPlugins(
  (): ReadonlySet<string> => new Set(['messages', 'stream', ...listFieldNames(createFieldOpenToTest('bound'))]),
);
/** Members that may be present, including those that clients always send. They have no effect, because the agent sets them. */
const allowedMembers = memoizeFromPlugins(
  (): ReadonlySet<string> =>
    new Set([
      ...countedMembers(),
      'model',
      'max_tokens',
      'metadata',
      'cache_control',
      'stop_sequences',
      'temperature',
      'top_p',
      'top_k',
    ]),
);
/** Members of a new conversation that count. */
const CREATED_MEMBERS: ReadonlySet<string> = new Set(['id', 'title', 'metadata', 'agent']);
const countedHeaders = memoizeFromPlugins(() => [
  'idempotency-key',
  ...listFieldHeaders(createFieldOpenToTest('bound')),
]);

/**
 * @returns the headers of a restricted token's request that may be used. @throws ApiError 403 for a header that would add to
 *   the prompt
 */
function filterRestrictedHeaders(headers: Headers): Headers {
  if (headers.has('sluice-prefix'))
    throw createRestrictedTokenError('sluice-prefix: not supported with a restricted token. Remove the header.');
  const entries = countedHeaders().flatMap((name): [string, string][] => {
    const value = headers.get(name);
    return value === null ? [] : [[name, value]];
  });
  return new Headers([...entries, ['content-type', 'application/json']]);
}

/**
 * Removes the members of a restricted token's request that have no effect.
 *
 * @throws ApiError 403 for a member that would change what the agent does
 */
function filterRestrictedBody(body: JsonBody): JsonBody {
  const members = parseMemberTexts(body.text);
  rejectFieldsNotAllowed(members.keys(), allowedMembers(), 'agent');
  const counted = countedMembers();
  const names: string[] = [];
  for (const [name, text] of members) if (counted.has(name)) names.push(`${JSON.stringify(name)}:${text}`);
  if (names.length === members.size) return body;
  const json = Object.fromEntries(Object.entries(body.json).filter(([name]) => counted.has(name)));
  return replaceBodyText(body, `{${names.join(',')}}`, json);
}

/** @returns the owner of the agent that a restricted token names. @throws ApiError 403 for an agent that it may not use */
function resolveRestrictedAgent(
  { account, only }: RestrictedCaller,
  ref: string,
): ReturnType<RestrictedTokenGuard['resolveAgent']> {
  const found = resolveRestrictedName(only?.agents, account, ref);
  if (!found) throw createAgentNotAllowedError(only?.agents);
  return { agent: ref, agent_owner: found.owner, agent_listed: found.listedVersions };
}

/** Allows a restricted token to use a conversation of an agent that its token names, if nothing was added to that agent. */
function findRestrictedTurnError(
  by: RestrictedCaller,
  transcript: Transcript,
  present: ConversationProfile | undefined,
  agent: RetainedAgent | undefined,
): ApiError | undefined {
  if (!by.only) return undefined;
  if (present?.parent) return createConversationNotFoundError();
  const refused = findRestrictedAgentError(by, present ? present.agent : agent);
  if (refused) return refused;
  if (!present || !hasContentBesideAgent(transcript)) return undefined;
  return createRestrictedTokenError(
    'conversation: restricted tokens cannot use this conversation, because it has its own system prompt, tools or an imported history. Start another one.',
  );
}

function findRestrictedAgentError(
  { account, only }: RestrictedCaller,
  agent: RetainedAgent | null | undefined,
): ApiError | undefined {
  if (!only || (agent && canUseStored(only.agents, account, agent))) return undefined;
  return createAgentNotAllowedError(only.agents);
}

function hasContentBesideAgent(transcript: Transcript): boolean {
  const { system, tools } = transcript.cachedHistory?.frozen ?? transcript.frozenTexts;
  return system !== undefined || tools !== undefined || hasMessagesFromElsewhere(transcript);
}

function createAgentNotAllowedError(agents: readonly string[] = []): ApiError {
  return createRestrictedTokenError(`agent: ${describeAllowedNames('agents', agents)}`);
}

export const boundGuard: RestrictedTokenGuard = {
  filterRequestHeaders: filterRestrictedHeaders,
  stripRequest: ({ url, method, headers, signal }) =>
    new Request(url.split('?')[0] ?? '', { method, headers: filterRestrictedHeaders(headers), signal }),
  filterRequestBody: filterRestrictedBody,
  checkNewConversation: (names) => rejectFieldsNotAllowed(names, CREATED_MEMBERS, 'agent'),
  checkMessages: validateRestrictedMessages,
  resolveAgent: resolveRestrictedAgent,
  findAgentRestrictionError: findRestrictedAgentError,
  findTurnRestrictionError: findRestrictedTurnError,
};
