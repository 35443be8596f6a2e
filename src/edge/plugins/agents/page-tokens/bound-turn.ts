/**
 * What a restricted token may ask of a conversation. Whatever it sends, the same goes up as of the plain request that names an agent
 * and has new messages: everything else is left out, or refused.
 */

import type { BoundCaller } from '../../../auth/identity/caller.ts';
import { allowsStored, boundName, namesTold } from '../../../auth/identity/only.ts';
import { isOpenTo, memberHeaders, memberNames } from '../../../claude/request/members.ts';
import type { Guard } from '../../../conversations/history/guard.ts';
import type { Profile, RetainedAgent } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { hasOthersWords } from '../../../conversations/history/storage/turn-queries.ts';
import { noConversation } from '../../../conversations/object/rpc-response.ts';
import type { JsonBody } from '../../../kit/http/body/json-body.ts';
import { type ApiError, closedToBound, refuseOtherMembers } from '../../../kit/http/errors.ts';
import { withText } from '../../../kit/http/read-json.ts';
import { memberTexts } from '../../../kit/json/edit.ts';
import { memoizeByPlugins } from '../../../kit/plugins/plugins.ts';
import { checkBoundMessages } from './bound-messages.ts';

const countedMembers = memoizeByPlugins(
  (): ReadonlySet<string> => new Set(['messages', 'stream', ...memberNames(isOpenTo('bound'))]),
);
/** These, and members that clients send by themselves. They have no effect: the agent says them. */
const allowedMembers = memoizeByPlugins(
  (): ReadonlySet<string> =>
    new Set([
      ...countedMembers(),
      ...['model', 'max_tokens', 'metadata', 'cache_control', 'stop_sequences', 'temperature', 'top_p', 'top_k'],
    ]),
);
/** Members of a new conversation that count. */
const CREATED_MEMBERS: ReadonlySet<string> = new Set(['id', 'title', 'metadata', 'agent']);
const countedHeaders = memoizeByPlugins(() => ['idempotency-key', ...memberHeaders(isOpenTo('bound'))]);

/** @returns the headers of a restricted token's request that count. @throws ApiError 403 for one that would add to the prompt */
function plainHeaders(headers: Headers): Headers {
  if (headers.has('sluice-prefix'))
    throw closedToBound('sluice-prefix: a restricted token asks an agent, and has no prefix.');
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
  const members = memberTexts(body.text);
  refuseOtherMembers(members.keys(), allowedMembers(), 'agent');
  const counted = countedMembers();
  const names: string[] = [];
  for (const [name, text] of members) if (counted.has(name)) names.push(`${JSON.stringify(name)}:${text}`);
  if (names.length === members.size) return body;
  const json = Object.fromEntries(Object.entries(body.json).filter(([name]) => counted.has(name)));
  return withText(body, `{${names.join(',')}}`, json);
}

/** @returns whose agent a restricted token means by a name, to be found. @throws ApiError 403 for one that it may not ask */
function agentNamed({ account, only }: BoundCaller, ref: string): ReturnType<Guard['agentNamed']> {
  const found = boundName(only?.agents, account, ref);
  if (!found) throw notNamed(only?.agents);
  return { agent: ref, agent_owner: found.owner, agent_listed: found.listed };
}

/** Allows a restricted token a conversation of an agent that its token names, with nothing beside that agent. */
function refusalOfTurn(
  by: BoundCaller,
  transcript: Transcript,
  present: Profile | undefined,
  agent: RetainedAgent | undefined,
): ApiError | undefined {
  if (!by.only) return undefined;
  if (present?.parent) return noConversation();
  const refused = refusalOfAgent(by, present ? present.agent : agent);
  if (refused) return refused;
  if (!present || !hasMore(transcript)) return undefined;
  return closedToBound('conversation: this one has more than its agent (a system, tools, or an imported history).');
}

function refusalOfAgent({ account, only }: BoundCaller, agent: RetainedAgent | null | undefined): ApiError | undefined {
  if (!only || (agent && allowsStored(only.agents, account, agent))) return undefined;
  return notNamed(only.agents);
}

function hasMore(transcript: Transcript): boolean {
  const { system, tools } = transcript.cachedHistory?.frozen ?? transcript.frozen;
  return system !== undefined || tools !== undefined || hasOthersWords(transcript);
}

function notNamed(agents: readonly string[] = []): ApiError {
  return closedToBound(`agent: this credential may ask these agents alone: ${namesTold(agents)}. Name one of them.`);
}

export const boundGuard: Guard = {
  headers: plainHeaders,
  call: ({ url, method, headers, signal }) =>
    new Request(url.split('?')[0] ?? '', { method, headers: plainHeaders(headers), signal }),
  body: plainRequest,
  checkCreated: (names) => refuseOtherMembers(names, CREATED_MEMBERS, 'agent'),
  checkMessages: checkBoundMessages,
  agentNamed,
  refusalOfAgent,
  refusalOfTurn,
};
