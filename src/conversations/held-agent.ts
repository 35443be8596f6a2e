/** The agent of a conversation. At creation the conversation copies the agent's newest version into its own rows. */

import { type Agent, agentOf } from '../agents/agent.ts';
import { AGENTS } from '../agents/agent-kind.ts';
import { behindAgent, type InheritedParts } from '../agents/behind-agent.ts';
import { findAgent } from '../agents/find-agent.ts';
import type { ConversationPlace, TurnAnswer } from '../durable/contracts/conversation.ts';
import { invalidRequest } from '../http/errors.ts';
import type { Json } from '../json/object.ts';
import { memoryOf } from '../versions/find-stored.ts';
import { type TakenPrefix, takePrefix } from './held-prefix.ts';
import type { PrefixDefaults } from './history/next-request.ts';
import type { ObjectContext } from './object-context.ts';
import { type HeldAgent, refOf } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** An agent with the defaults that it gives to a new conversation. */
export interface TakenAgent extends PrefixDefaults {
  held?: undefined;
  agent: HeldAgent;
  stored: Agent;
}

/** What a new conversation begins with: a prefix or an agent. */
export type Taken = (TakenPrefix & { agent?: undefined }) | TakenAgent;

/** What a request names for a new conversation. */
interface NamedBeginning {
  prefix?: string | undefined;
  agent?: string | undefined;
  agentOwner?: string | undefined;
}

const NOT_BOTH = 'prefix: not allowed with agent, whose own system and tools begin the prompt. Send one of the two.';

/** @returns whether a request names what a new conversation would begin with. */
export function namesBeginning({ prefix, agent }: NamedBeginning): boolean {
  return prefix !== undefined || agent !== undefined;
}

/** @throws ApiError 400 for a request that names a prefix and an agent */
export function refuseBoth({ prefix, agent }: NamedBeginning): void {
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
  const { prefix, agent, agentOwner } = named;
  if (prefix !== undefined) return await takePrefix(context, place, prefix);
  if (agent === undefined) return undefined;
  const around = { env: context.env, settings: context.settings() };
  const found = await findAgent(around, place.account, agent, agentOwner);
  const { owner, name, hash, text, definition } = found;
  const { model, max_tokens: maxTokens } = definition;
  return { agent: { owner, name, hash }, stored: { text, definition }, model, maxTokens, runs: undefined };
}

/** @throws ApiError 400 for defaults of a conversation that its agent does not allow */
export function checkBeside({ stored }: TakenAgent, defaults: InheritedParts): void {
  behindAgent(new Map(), stored, defaults, { breakpoints: 0 });
}

/** @returns the answer with a header that names the conversation's agent, if it has one */
export function withAgentNamed(answer: TurnAnswer, { profile }: Pick<Transcript, 'profile'>): TurnAnswer {
  if (!profile?.agent || answer.kind === 'error') return answer;
  return { ...answer, headers: { ...answer.headers, 'sluice-agent': refOf(profile.agent) } };
}

/**
 * @returns the account that has stored a tool with the conversation's agent or prefix; undefined for the caller's own tool
 */
export function ownerOfTool(
  { transcript, ...context }: Pick<ObjectContext, 'transcript' | 'settings'>,
  tool: string,
): string | undefined {
  const { agent, prefix } = transcript.profile ?? {};
  if (agent) return heldAgent({ transcript, ...context })?.definition.tools.some(hasName) ? agent.owner : undefined;
  return prefix && (JSON.parse(transcript.frozen.runs ?? '[]') as Json[]).some(hasName) ? prefix.owner : undefined;
  function hasName({ name }: Json): boolean {
    return name === tool;
  }
}

/** @returns the agent of a conversation; undefined where it has none */
export function heldAgent({ transcript, settings }: Pick<ObjectContext, 'transcript' | 'settings'>): Agent | undefined {
  const held = transcript.profile?.agent;
  if (!held) return undefined;
  const place = { kind: AGENTS.kind, owner: held.owner, name: held.name };
  // Conversations of one agent share what this isolate remembers of it.
  const memory = memoryOf(AGENTS, settings());
  const known = memory.value(place, held.hash);
  if (known) return known;
  const agent = agentOf(transcript.frozenAgent);
  memory.remember(place, held.hash, agent, AGENTS.held(agent, agent.text.length));
  return agent;
}
