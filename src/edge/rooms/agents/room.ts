import { OF_AGENT } from '../../talk/history/agent-in-use.ts';
import type { Room } from '../room.ts';
import { AGENTS } from './agent-kind.ts';
import { AGENT_ROUTES } from './agents.route.ts';
import { AGENT_MEMBERS } from './agents.schema.ts';
import { agentsPart } from './part.ts';

/** For the reference alone: no Worker has them in it. */
export const AGENT_HEADER_WORDS = {
  'sluice-agent': 'The agent that has answered: name@version.',
};

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = {
  name: 'agents',
  routes: AGENT_ROUTES,
  conversation: agentsPart,
  headers: ['sluice-agent'],
  members: AGENT_MEMBERS,
  dimensions: [OF_AGENT],
  agents: AGENTS,
};
