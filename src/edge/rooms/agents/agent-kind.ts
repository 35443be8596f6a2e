import { decoder } from '../../kit/http/bytes.ts';
import type { Dimension } from '../../money/contracts/about.ts';
import type { StoredKind } from '../../named/versions/find-stored.ts';
import { type Agent, agentOf, sizeOfAgent } from './agent.ts';

/** How agents are stored in versions. */
export const AGENTS: StoredKind<Agent, '/agents'> = {
  kind: 'agent',
  path: '/agents',
  read: (bytes) => agentOf(decoder.decode(bytes)),
  memorySize: sizeOfAgent,
  memoryBytes: 8 * 1024 * 1024,
};

/** The version of the agent that answers, name@version. */
export const OF_AGENT: Dimension<string> = { name: 'agent', group: 'agent', isVersion: true };
