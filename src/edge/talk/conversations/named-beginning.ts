/** What a conversation begins with, if that is stored by name: a prefix or an agent. */

import type { Identity } from '../../gate/identity/caller.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import type { Json } from '../../kit/json/object.ts';
import { PREFIXES } from '../../named/prefixes/prefix-kind.ts';
import { layRetained, storedPlaceOf, type TakenPrefix, takePrefix } from '../../named/prefixes/retained-prefix.ts';
import { refuseWithdrawn } from '../../named/versions/find-stored.ts';
import type { ObjectContext } from '../answers/object-context.ts';
import type { ConversationPlace, TurnRequest } from '../contracts/conversation.ts';
import type { PrefixDefaults } from '../history/inherited-parts.ts';
import type { Profile } from '../storage/rows.ts';
import type { TurnContext } from '../turn/turn-context.ts';
import { agentKind, type FoundAgent, findAgent, retainedAgent } from './retained-agent.ts';

/** An agent with the defaults that it gives to a new conversation. */
interface TakenAgent extends PrefixDefaults, FoundAgent {
  retained?: undefined;
}

/** What a new conversation begins with: a prefix or an agent. */
export type Taken = (TakenPrefix & { agent?: undefined }) | TakenAgent;

/** What a request names for a new conversation. */
interface NamedBeginning extends Pick<TurnRequest, 'prefix' | 'agent' | 'agentOwner' | 'agentListed'> {
  /** Who asks, and so may name another version than the current one. */
  identity?: Pick<Identity, 'scopes'>;
}

const NOT_BOTH = 'prefix: not allowed with agent, whose own system and tools begin the prompt. Send one of the two.';

/** @returns whether a request names what a new conversation would begin with. */
export function namesBeginning({ prefix, agent }: Pick<NamedBeginning, 'prefix' | 'agent'>): boolean {
  return prefix !== undefined || agent !== undefined;
}

/** @throws ApiError 400 for a request that names a prefix and an agent */
export function refuseBoth({ prefix, agent }: Pick<NamedBeginning, 'prefix' | 'agent'>): void {
  if (prefix !== undefined && agent !== undefined) throw invalidRequest(NOT_BOTH);
}

/**
 * Finds what a new conversation begins with: an agent, or a prefix on whose version a hold is placed.
 *
 * @returns undefined if the request names neither
 * @throws ApiError 400 if it names both, 404 if what it names does not exist
 */
export async function takeNamed(
  context: Pick<ObjectContext, 'env' | 'settings'>,
  place: ConversationPlace,
  named: NamedBeginning,
): Promise<Taken | undefined> {
  refuseBoth(named);
  const { prefix, agent, agentOwner, agentListed } = named;
  const { account } = place;
  const { scopes = [] } = named.identity ?? {};
  if (prefix !== undefined) return await takePrefix(context, place, prefix, scopes);
  if (agent === undefined) return undefined;
  const around = { env: context.env, settings: context.settings() };
  const found = await findAgent(around, { account, scopes }, agent, agentOwner, agentListed);
  return { ...found.stored.defaults, ...found };
}

/**
 * @returns the account that has stored a tool with the conversation's agent or prefix; undefined for the caller's own tool
 */
export function ownerOfTool(
  { transcript, ...context }: Pick<ObjectContext, 'transcript' | 'settings'>,
  tool: string,
): string | undefined {
  const { agent, prefix } = transcript.profile ?? {};
  if (agent) return retainedAgent({ transcript, ...context })?.hasTool(tool) ? agent.owner : undefined;
  const isOfPrefix = prefix && (JSON.parse(transcript.frozen.runs ?? '[]') as Json[]).some(({ name }) => name === tool);
  return isOfPrefix ? prefix.owner : undefined;
}

/**
 * @returns what puts a conversation's prefix before a body, and refuses what others share and was withdrawn. What is the
 *   account's own is refused by its admission, which is exact and costs no read
 */
export function layerOf(context: ObjectContext, profile: Profile | undefined): TurnContext['lay'] {
  const { account = '', prefix, agent } = profile ?? {};
  if (prefix) return (body) => layRetained(context, account, prefix, body);
  if (agent?.owner !== DEPLOYMENT) return undefined;
  return async (body) => {
    await refuseWithdrawn(agentKind(), storedPlaceOf(context, account), agent);
    return { body, fallbacks: undefined };
  };
}

/** @returns the 409 for a conversation whose prefix or agent was withdrawn, or has no room here; undefined for any other */
export async function withdrawnFrom(context: ObjectContext, profile: Profile | undefined): Promise<unknown> {
  const { account = '', prefix, agent } = profile ?? {};
  const place = storedPlaceOf(context, account);
  try {
    if (prefix) await refuseWithdrawn(PREFIXES, place, prefix);
    if (agent) await refuseWithdrawn(agentKind(), place, agent);
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}
