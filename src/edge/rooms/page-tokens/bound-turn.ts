/**
 * What a bound token may ask of a conversation. Whatever it sends, the same goes up as of the plain request that names an agent
 * and has new messages: everything else is left out, or refused.
 */

import { allowsConversation, allowsStored, boundName, namesTold } from '../../gate/identity/only.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { type ApiError, closedToBound, refuseOtherMembers } from '../../kit/http/errors.ts';
import { withText } from '../../kit/http/read-json.ts';
import { memberTexts } from '../../kit/json/edit.ts';
import { ofRooms } from '../../kit/rooms/rooms.ts';
import { noConversation } from '../../talk/answers/crossing-answer.ts';
import type { BoundCaller, TurnRequest } from '../../talk/contracts/conversation.ts';
import { isOpenTo, memberHeaders, memberNames } from '../../talk/contracts/members.ts';
import type { Taken } from '../../talk/conversations/named-beginning.ts';
import type { Profile, RetainedAgent } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { hasOthersWords } from '../../talk/storage/turn-queries.ts';

const countedMembers = ofRooms(
  (): ReadonlySet<string> => new Set(['messages', 'stream', ...memberNames(isOpenTo('bound'))]),
);
/** These, and members that clients send by themselves. They have no effect: the agent says them. */
const allowedMembers = ofRooms(
  (): ReadonlySet<string> =>
    new Set([
      ...countedMembers(),
      ...['model', 'max_tokens', 'metadata', 'cache_control', 'stop_sequences', 'temperature', 'top_p', 'top_k'],
    ]),
);
/** Members of a new conversation that count. */
export const CREATED_MEMBERS: ReadonlySet<string> = new Set(['id', 'title', 'metadata', 'agent']);
const countedHeaders = ofRooms(() => ['idempotency-key', ...memberHeaders(isOpenTo('bound'))]);

/** @returns the headers of a bound token's request that count. @throws ApiError 403 for one that would add to the prompt */
export function plainHeaders(headers: Headers): Headers {
  if (headers.has('sluice-prefix'))
    throw closedToBound('sluice-prefix: a bound token asks an agent, and has no prefix.');
  const known = countedHeaders().flatMap((name): [string, string][] => {
    const value = headers.get(name);
    return value === null ? [] : [[name, value]];
  });
  return new Headers([...known, ['content-type', 'application/json']]);
}

/** @returns a bound token's request without its body and its query, and with those of its headers that count. */
export function plainCall({ url, method, headers, signal }: Request): Request {
  return new Request(url.split('?')[0] ?? '', { method, headers: plainHeaders(headers), signal });
}

/**
 * Leaves those members of a bound token's request that count.
 *
 * @throws ApiError 403 for a member that would change what the agent does
 */
export function plainRequest(body: JsonBody): JsonBody {
  const members = memberTexts(body.text);
  refuseOtherMembers(members.keys(), allowedMembers(), 'agent');
  const counted = countedMembers();
  const kept: string[] = [];
  for (const [name, text] of members) if (counted.has(name)) kept.push(`${JSON.stringify(name)}:${text}`);
  if (kept.length === members.size) return body;
  const json = Object.fromEntries(Object.entries(body.json).filter(([name]) => counted.has(name)));
  return withText(body, `{${kept.join(',')}}`, json);
}

/** @returns whose agent a bound token means by a name, to be found. @throws ApiError 403 for one that it may not ask */
export function boundAgent(
  { account, only }: BoundCaller,
  ref: string | undefined,
): Pick<TurnRequest, 'agent' | 'agentOwner' | 'agentListed'> {
  if (!only || ref === undefined) return { agent: ref };
  const found = boundName(only.agents, account, ref);
  if (!found) throw notNamed(only.agents);
  return { agent: ref, agentOwner: found.owner, agentListed: found.listed };
}

/** @returns a caller for a call that must see what it may ask; undefined for one whose token is not bound */
export function boundCaller({ account, only }: BoundCaller): BoundCaller | undefined {
  return only && { account, only };
}

/** @throws ApiError 403 for a conversation that a bound token may not use, by its id alone; the id of none is empty */
export function refuseOtherConversation({ only }: BoundCaller, id: string): void {
  if (only && !allowsConversation(only, id)) {
    throw closedToBound(
      `conversation: this credential may only use ${(only.conversations ?? []).join(', ')}. Name one of these.`,
    );
  }
}

/**
 * Checks whether a bound token may use a conversation: one of an agent that its token names, with nothing beside that agent.
 *
 * @param present the profile of the conversation, if it exists
 * @param taken what a new conversation begins with
 * @returns the 403 for any other; undefined for whoever may use it
 */
export function refusalOfTurn(
  { account, only }: BoundCaller,
  transcript: Transcript,
  present: Profile | undefined,
  taken: Taken | undefined,
): ApiError | undefined {
  if (!only) return undefined;
  if (present?.parent) return noConversation();
  const refused = refusalOfAgent({ account, only }, present ? present.agent : taken?.agent);
  if (refused) return refused;
  if (!present || !hasMore(transcript)) return undefined;
  return closedToBound('conversation: this one has more than its agent (a system, tools, or an imported history).');
}

/** @returns the 403 for an agent that a bound token may not ask, or for none at all; undefined for whoever may */
export function refusalOfAgent(
  { account, only }: BoundCaller,
  agent: RetainedAgent | null | undefined,
): ApiError | undefined {
  if (!only || (agent && allowsStored(only.agents, account, agent))) return undefined;
  return notNamed(only.agents);
}

/** @returns the 403 for a bound token that may not read, follow or stop this conversation; undefined for whoever may */
export function refusedToBound(by: BoundCaller | undefined, transcript: Transcript): ApiError | undefined {
  const { profile } = transcript;
  return by && profile && refusalOfTurn(by, transcript, profile, undefined);
}

/** @returns what a bound token is told of a conversation, as JSON text: its title and metadata may be the server's own */
export function toldToBound({ id }: Pick<Profile, 'id'>, turn?: string): string {
  return JSON.stringify({ type: 'conversation', id, state: turn ? 'running' : 'idle', turn: turn ?? null });
}

function hasMore(transcript: Transcript): boolean {
  const { system, tools } = transcript.cachedHistory?.frozen ?? transcript.frozen;
  return system !== undefined || tools !== undefined || hasOthersWords(transcript);
}

function notNamed(agents: readonly string[] = []): ApiError {
  return closedToBound(`agent: this credential may ask these agents alone: ${namesTold(agents)}. Name one of them.`);
}
