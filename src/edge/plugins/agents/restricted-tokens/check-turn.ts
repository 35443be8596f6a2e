/**
 * What a restricted token may ask of a conversation. Whatever it sends, the same goes up as of the plain request that names an agent
 * and has new messages: everything else is left out, or refused.
 */

import type { RestrictedCaller } from '../../../auth/identity/caller.ts';
import { canUseStored, describeNames, resolveRestrictedName } from '../../../auth/identity/only.ts';
import { createOpenToTest, fieldHeadersOf, fieldNamesOf } from '../../../claude/request/all-fields.ts';
import type { Guard } from '../../../conversations/history/guard.ts';
import type { Profile, RetainedAgent } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { hasForeignMessages } from '../../../conversations/history/storage/turn-queries.ts';
import { noConversation } from '../../../conversations/object/rpc-response.ts';
import type { JsonBody } from '../../../kit/http/body/json-body.ts';
import { type ApiError, rejectOtherFields, restrictedTokenError } from '../../../kit/http/errors.ts';
import { replaceText } from '../../../kit/http/read-json.ts';
import { parseMemberTexts } from '../../../kit/json/edit.ts';
import { memoizeByPlugins } from '../../../kit/plugins/plugins.ts';
import { checkRestrictedMessages } from './check-messages.ts';

const countedMembers = memoizeByPlugins(
  (): ReadonlySet<string> => new Set(['messages', 'stream', ...fieldNamesOf(createOpenToTest('bound'))]),
);
/** These, and members that clients send by themselves. They have no effect: the agent says them. */
const allowedMembers = memoizeByPlugins(
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
const countedHeaders = memoizeByPlugins(() => ['idempotency-key', ...fieldHeadersOf(createOpenToTest('bound'))]);

/** @returns the headers of a restricted token's request that count. @throws ApiError 403 for one that would add to the prompt */
function plainHeaders(headers: Headers): Headers {
  if (headers.has('sluice-prefix'))
    throw restrictedTokenError('sluice-prefix: a restricted token asks an agent, and has no prefix.');
  const entries = countedHeaders().flatMap((name): [string, string][] => {
    const value = headers.get(name);
    return value === null ? [] : [[name, value]];
  });
  return new Headers([...entries, ['content-type', 'application/json']]);
}

/**
 * Leaves those members of a restricted token's request that count.
 *
 * @throws ApiError 403 for a member that would change what the agent does
 */
function plainRequest(body: JsonBody): JsonBody {
  const members = parseMemberTexts(body.text);
  rejectOtherFields(members.keys(), allowedMembers(), 'agent');
  const counted = countedMembers();
  const names: string[] = [];
  for (const [name, text] of members) if (counted.has(name)) names.push(`${JSON.stringify(name)}:${text}`);
  if (names.length === members.size) return body;
  const json = Object.fromEntries(Object.entries(body.json).filter(([name]) => counted.has(name)));
  return replaceText(body, `{${names.join(',')}}`, json);
}

/** @returns whose agent a restricted token means by a name, to be found. @throws ApiError 403 for one that it may not ask */
function ownerOfAgent({ account, only }: RestrictedCaller, ref: string): ReturnType<Guard['resolveAgent']> {
  const found = resolveRestrictedName(only?.agents, account, ref);
  if (!found) throw agentNotAllowed(only?.agents);
  return { agent: ref, agent_owner: found.owner, agent_listed: found.listedVersions };
}

/** Allows a restricted token a conversation of an agent that its token names, with nothing beside that agent. */
function checkRestrictedTurn(
  by: RestrictedCaller,
  transcript: Transcript,
  present: Profile | undefined,
  agent: RetainedAgent | undefined,
): ApiError | undefined {
  if (!by.only) return undefined;
  if (present?.parent) return noConversation();
  const refused = checkRestrictedAgent(by, present ? present.agent : agent);
  if (refused) return refused;
  if (!present || !hasUnrestrictedMessages(transcript)) return undefined;
  return restrictedTokenError(
    'conversation: this one has more than its agent (a system, tools, or an imported history).',
  );
}

function checkRestrictedAgent(
  { account, only }: RestrictedCaller,
  agent: RetainedAgent | null | undefined,
): ApiError | undefined {
  if (!only || (agent && canUseStored(only.agents, account, agent))) return undefined;
  return agentNotAllowed(only.agents);
}

function hasUnrestrictedMessages(transcript: Transcript): boolean {
  const { system, tools } = transcript.cachedHistory?.frozen ?? transcript.frozen;
  return system !== undefined || tools !== undefined || hasForeignMessages(transcript);
}

function agentNotAllowed(agents: readonly string[] = []): ApiError {
  return restrictedTokenError(
    `agent: this credential may ask these agents alone: ${describeNames(agents)}. Name one of them.`,
  );
}

export const boundGuard: Guard = {
  filterHeaders: plainHeaders,
  restrictRequest: ({ url, method, headers, signal }) =>
    new Request(url.split('?')[0] ?? '', { method, headers: plainHeaders(headers), signal }),
  filterBody: plainRequest,
  checkNewConversation: (names) => rejectOtherFields(names, CREATED_MEMBERS, 'agent'),
  checkMessages: checkRestrictedMessages,
  resolveAgent: ownerOfAgent,
  refusalOfAgent: checkRestrictedAgent,
  refusalOfTurn: checkRestrictedTurn,
};
