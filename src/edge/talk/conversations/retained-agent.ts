/** The agent of a conversation. At creation the conversation copies the agent's newest version into its own rows. */

import type { Identity } from '../../gate/identity/caller.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import { lacksRoom } from '../../kit/http/errors.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import { ofRooms, pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import { memoryOf, requireStored, type StoredKind } from '../../named/versions/find-stored.ts';
import type { ObjectContext } from '../answers/object-context.ts';
import type { AgentInUse } from '../history/agent-in-use.ts';
import type { RetainedAgent } from '../storage/rows.ts';

/** How agents are stored in versions. */
export interface AgentKind<T extends AgentInUse = AgentInUse> extends StoredKind<T, '/agents'> {
  /** Reads the copy of a conversation. */
  ofText(text: string): T;
}
/** Agents themselves: without their room nothing is answered that needs one. */
export const AGENT_KIND = singleSeam<AgentKind>()('agents');

const plugged = ofRooms(() => pluggedOne(AGENT_KIND));

/** @returns how agents are stored. @throws ApiError 409 that names the room which this edge does not have */
export function agentKind(): AgentKind {
  const kind = plugged();
  if (!kind) throw lacksRoom('agents', 'This is for an agent to answer');
  return kind;
}

/** An agent that was found. Nothing of it may be changed: others share it. */
export interface FoundAgent {
  agent: RetainedAgent;
  stored: AgentInUse;
}

/**
 * Finds what an account means by the name of an agent, or by `name@version`: its own before the deployment's.
 *
 * @param by who has stored what names the agent: an account, or what stands for the deployment. Only their agents and the
 * deployment's count then, so that nobody can put an agent of theirs in the place of one that an admin's agent calls
 * @param listed the versions that the caller's token lists
 * @throws ApiError 404 for what does not exist, 409 for what needs a room that is not there, 503 while it cannot be asked for
 */
export async function findAgent(
  { env, settings }: { env: Bindings; settings: Settings },
  { account, scopes }: Pick<Identity, 'account' | 'scopes'>,
  ref: string,
  by = account,
  listed: readonly string[] = [],
): Promise<FoundAgent> {
  const reader = { account, scopes, listed, accounts: env, store: env.STORE, settings };
  const { owner, name, hash, value } = await requireStored(agentKind(), reader, ref, [by, DEPLOYMENT]);
  return { agent: { owner, name, hash }, stored: able(value) };
}

/** @returns the agent of a conversation; undefined where it has none. @throws ApiError 409 where a room is not there */
export function retainedAgent({
  transcript,
  settings,
}: Pick<ObjectContext, 'transcript' | 'settings'>): AgentInUse | undefined {
  const retained = transcript.profile?.agent;
  if (!retained) return undefined;
  const kind = agentKind();
  const place = { kind: kind.kind, owner: retained.owner, name: retained.name };
  // Conversations of one agent share what this isolate remembers of it.
  const memory = memoryOf(kind, settings());
  const known = memory.value(place, retained.hash);
  if (known) return able(known);
  const agent = kind.ofText(transcript.frozenAgent);
  memory.remember(place, retained.hash, agent, kind.memorySize(agent, agent.text.length));
  return able(agent);
}

function able(agent: AgentInUse): AgentInUse {
  if (agent.lacking) throw agent.lacking;
  return agent;
}
