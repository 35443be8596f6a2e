/** The agent of a conversation. At creation the conversation copies the agent's newest version into its own rows. */

import type { Identity } from '../../gate/identity/caller.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import type { Json } from '../../kit/json/object.ts';
import { PREFIXES } from '../../named/prefixes/prefix-kind.ts';
import { layRetained, storedPlaceOf, type TakenPrefix, takePrefix } from '../../named/prefixes/retained-prefix.ts';
import { memoryOf, refuseWithdrawn } from '../../named/versions/find-stored.ts';
import type { ObjectContext } from '../../talk/answers/object-context.ts';
import type { ConversationPlace, TurnRequest } from '../../talk/contracts/conversation.ts';
import type { InheritedParts } from '../../talk/history/inherited-parts.ts';
import type { PrefixDefaults } from '../../talk/history/next-request.ts';
import type { Profile, RetainedAgent } from '../../talk/storage/rows.ts';
import type { TurnContext } from '../../talk/turn/turn-context.ts';
import { modelOf } from '../choice/choose-model.ts';
import { type Agent, agentOf } from './agent.ts';
import { AGENTS } from './agent-kind.ts';
import { behindAgent } from './behind-agent.ts';
import { findAgent } from './find-agent.ts';

/** An agent with the defaults that it gives to a new conversation. */
export interface TakenAgent extends PrefixDefaults {
  retained?: undefined;
  agent: RetainedAgent;
  stored: Agent;
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
  const { owner, name, hash, text, definition } = found;
  const { max_tokens: maxTokens, history } = definition;
  const model = modelOf(definition);
  return { agent: { owner, name, hash }, stored: { text, definition }, model, maxTokens, history, runs: undefined };
}

/** @throws ApiError 400 for defaults of a conversation that its agent does not allow */
export function checkBeside({ stored }: TakenAgent, defaults: InheritedParts): void {
  behindAgent(new Map(), stored, defaults, { breakpoints: 0 });
}

/**
 * @returns the account that has stored a tool with the conversation's agent or prefix; undefined for the caller's own tool
 */
export function ownerOfTool(
  { transcript, ...context }: Pick<ObjectContext, 'transcript' | 'settings'>,
  tool: string,
): string | undefined {
  const { agent, prefix } = transcript.profile ?? {};
  if (agent) return retainedAgent({ transcript, ...context })?.definition.tools.some(hasName) ? agent.owner : undefined;
  return prefix && (JSON.parse(transcript.frozen.runs ?? '[]') as Json[]).some(hasName) ? prefix.owner : undefined;
  function hasName({ name }: Json): boolean {
    return name === tool;
  }
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
    await refuseWithdrawn(AGENTS, storedPlaceOf(context, account), agent);
    return { body, fallbacks: undefined };
  };
}

/** @returns the 409 for a conversation whose prefix or agent was withdrawn; undefined for any other */
export async function withdrawnFrom(context: ObjectContext, profile: Profile | undefined): Promise<unknown> {
  const { account = '', prefix, agent } = profile ?? {};
  const place = storedPlaceOf(context, account);
  try {
    if (prefix) await refuseWithdrawn(PREFIXES, place, prefix);
    if (agent) await refuseWithdrawn(AGENTS, place, agent);
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

/** @returns the agent of a conversation; undefined where it has none */
export function retainedAgent({
  transcript,
  settings,
}: Pick<ObjectContext, 'transcript' | 'settings'>): Agent | undefined {
  const retained = transcript.profile?.agent;
  if (!retained) return undefined;
  const place = { kind: AGENTS.kind, owner: retained.owner, name: retained.name };
  // Conversations of one agent share what this isolate remembers of it.
  const memory = memoryOf(AGENTS, settings());
  const known = memory.value(place, retained.hash);
  if (known) return known;
  const agent = agentOf(transcript.frozenAgent);
  memory.remember(place, retained.hash, agent, AGENTS.memorySize(agent, agent.text.length));
  return agent;
}
