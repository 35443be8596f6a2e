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

/**
 * Checks what restricted tokens may do with messages and conversations. Without a plugin that provides it, restricted tokens
 * are rejected.
 */
export interface RestrictedTokenGuard {
  /** @returns the headers of a request that may be used. @throws ApiError 403 for a header that would add to the prompt */
  filterRequestHeaders(headers: Headers): Headers;
  /** @returns a request with these headers alone, without its query and its body */
  stripRequest(request: Request): Request;
  /**
   * @returns a request with only the members that may be used. @throws ApiError 403 for a member that would change what the
   *   agent does
   */
  filterRequestBody(body: JsonBody): JsonBody;
  /** @throws ApiError 403 for a member that a new conversation may not have */
  checkNewConversation(names: Iterable<string>): void;
  /** @param calls ids of calls that the caller may answer. @throws ApiError 403 for what new messages may not have */
  checkMessages(messages: readonly SentMessage[], calls: ReadonlySet<string>): void;
  /** @returns which account's agent a name refers to. @throws ApiError 403 for an agent that the token may not use */
  resolveAgent(caller: RestrictedCaller, ref: string): RequestedAgentOwner;
  /**
   * @returns the 403 for an agent that the token may not use, or for a conversation without one; undefined if it may use the
   *   agent
   */
  findAgentRestrictionError(caller: RestrictedCaller, agent: RetainedAgent | null | undefined): ApiError | undefined;
  /**
   * @param present the profile of the conversation, if it exists
   * @param agent the agent of a new conversation
   * @returns the 403 for a conversation that the token may not use; undefined if it may use the conversation
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

/** @returns a caller whose restrictions the called object must check; undefined if its token is not restricted */
export function getCallerIfRestricted({ account, only }: RestrictedCaller): RestrictedCaller | undefined {
  return only && { account, only };
}

/** @returns which account's agent a request names. @throws ApiError 403 for an agent that a restricted token may not use */
export function resolveRequestedAgent(caller: RestrictedCaller, ref: string | undefined): RequestedAgentOwner {
  return caller.only && ref !== undefined ? getRestrictedTokenGuard().resolveAgent(caller, ref) : { agent: ref };
}

/**
 * Checks a conversation by its id only.
 *
 * @param id undefined for a request without a conversation, which a token that is restricted to some conversations may not send
 * @param parameter the name of the parameter with the id
 * @throws ApiError 403 for a conversation that a restricted token may not use
 */
export function checkConversationAllowed(
  { only }: RestrictedCaller,
  id: string | undefined,
  parameter: 'conversation' | 'id' = 'conversation',
): void {
  if (only && !canUseConversation(only, id ?? '')) {
    throw createRestrictedTokenError(
      `${parameter}: this credential can use only ${(only.conversations ?? []).join(', ')}. Name one of these conversations.`,
    );
  }
}

/**
 * @returns the 403 for a restricted token that may not read, follow or stop this conversation; undefined for any other caller
 */
export function findConversationRestrictionError(
  caller: RestrictedCaller | undefined,
  transcript: Transcript,
): ApiError | undefined {
  const { storedProfile: profile } = transcript;
  return caller && profile
    ? getRestrictedTokenGuard().findTurnRestrictionError(caller, transcript, profile, undefined)
    : undefined;
}

/**
 * @returns the description of a conversation for a restricted token, as JSON text. Title and metadata are left out, because
 *   they may be private to the server
 */
export function createRestrictedConversationJson({ id }: Pick<ConversationProfile, 'id'>, turn?: string): string {
  return JSON.stringify({ type: 'conversation', id, state: turn ? 'running' : 'idle', turn: turn ?? null });
}
