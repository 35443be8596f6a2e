import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import { canUseConversation } from '../../auth/identity/only.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { type ApiError, createRestrictedTokenError } from '../../kit/http/errors.ts';
import { getSinglePluginMember, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import type { SentMessage } from './continuation.ts';
import type { ConversationProfile, RetainedAgent } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** The agent that a request names, and whose it may be. */
export interface RequestedAgentOwner {
  agent?: string | undefined;
  /**
   * The account that stored the tool for this agent. The agent then belongs to it or to the deployment. Absent: the caller's
   * own.
   */
  agent_owner?: string | undefined;
  /** The versions of the agent that the caller's token lists. Absent: none. */
  agent_listed?: readonly string[] | undefined;
}

/** What restricted tokens may ask of messages and conversations. Where no plugin says it, no restricted token is taken. */
export interface RestrictedTokenGuard {
  /** @returns the headers of a request that count. @throws ApiError 403 for one that would add to the prompt */
  filterRequestHeaders(headers: Headers): Headers;
  /** @returns a request with these headers alone, without its query and its body */
  stripRequest(request: Request): Request;
  /** @returns a request with those members that count. @throws ApiError 403 for one that would change what the agent does */
  filterRequestBody(body: JsonBody): JsonBody;
  /** @throws ApiError 403 for a member that a new conversation may not have */
  checkNewConversation(names: Iterable<string>): void;
  /** @param calls ids of calls that the caller may answer. @throws ApiError 403 for what new messages may not have */
  checkMessages(messages: readonly SentMessage[], calls: ReadonlySet<string>): void;
  /** @returns whose agent is meant by a name, to be found. @throws ApiError 403 for one that it may not ask */
  resolveAgent(caller: RestrictedCaller, ref: string): RequestedAgentOwner;
  /** @returns the 403 for an agent that it may not ask, or for none at all; undefined for one that it may ask */
  findAgentRestrictionError(caller: RestrictedCaller, agent: RetainedAgent | null | undefined): ApiError | undefined;
  /**
   * @param present the profile of the conversation, if it exists
   * @param agent that with which a new conversation begins
   * @returns the 403 for a conversation that it may not use; undefined for one that it may use
   */
  findTurnRestrictionError(
    caller: RestrictedCaller,
    transcript: Transcript,
    present: ConversationProfile | undefined,
    agent: RetainedAgent | undefined,
  ): ApiError | undefined;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Checks that a restricted token requests only what it names. Without it, restricted tokens are rejected. Only one plugin may have it. */
    readonly guard?: RestrictedTokenGuard;
  }
}

const guardInUse = memoizeFromPlugins(() => getSinglePluginMember('guard'));

/** @returns the guard of restricted tokens. @throws ApiError 403 where there is none */
export function getRestrictedTokenGuard(): RestrictedTokenGuard {
  const found = guardInUse();
  if (!found)
    throw createRestrictedTokenError(
      'Restricted tokens require the plugin `agents`, which this deployment does not include. Ask its operator to add it.',
    );
  return found;
}

/** @returns a caller for a call that must see what it may ask; undefined for one whose token is not restricted */
export function getCallerIfRestricted({ account, only }: RestrictedCaller): RestrictedCaller | undefined {
  return only && { account, only };
}

/** @returns whose agent a request names. @throws ApiError 403 for one that a restricted token may not ask */
export function resolveRequestedAgent(caller: RestrictedCaller, ref: string | undefined): RequestedAgentOwner {
  return caller.only && ref !== undefined ? getRestrictedTokenGuard().resolveAgent(caller, ref) : { agent: ref };
}

/** @throws ApiError 403 for a conversation that a restricted token may not use, by its id alone; the id of none is empty */
export function checkConversationAllowed({ only }: RestrictedCaller, id: string): void {
  if (only && !canUseConversation(only, id)) {
    throw createRestrictedTokenError(
      `conversation: this credential can use only ${(only.conversations ?? []).join(', ')}. Name one of these.`,
    );
  }
}

/** @returns the 403 for a restricted token that may not read, follow or stop this conversation; undefined for whoever may */
export function findConversationRestrictionError(
  caller: RestrictedCaller | undefined,
  transcript: Transcript,
): ApiError | undefined {
  const { storedProfile: profile } = transcript;
  return caller && profile
    ? getRestrictedTokenGuard().findTurnRestrictionError(caller, transcript, profile, undefined)
    : undefined;
}

/** @returns what a restricted token is told of a conversation, as JSON text: its title and metadata may be the server's own */
export function createRestrictedConversationJson({ id }: Pick<ConversationProfile, 'id'>, turn?: string): string {
  return JSON.stringify({ type: 'conversation', id, state: turn ? 'running' : 'idle', turn: turn ?? null });
}
