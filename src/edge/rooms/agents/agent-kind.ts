import { decoder } from '../../kit/http/bytes.ts';
import type { AgentKind } from '../../talk/conversations/named-beginning.ts';
import { type Agent, agentOf, sizeOfAgent } from './agent.ts';

/** How agents are stored in versions. */
export const AGENTS: AgentKind<Agent> = {
  kind: 'agent',
  path: '/agents',
  read: (bytes) => agentOf(decoder.decode(bytes)),
  ofText: agentOf,
  memorySize: sizeOfAgent,
  memoryBytes: 8 * 1024 * 1024,
};
