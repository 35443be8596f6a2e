import type { Dimension } from '../../money/contracts/about.ts';
import type { Room } from '../room.ts';
import { AGENT_ROUTES } from './agents.route.ts';

/** The version of the agent that answers, name@version. */
export const OF_AGENT: Dimension<string> = { name: 'agent', group: 'agent', isVersion: true };

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents', routes: AGENT_ROUTES, dimensions: [OF_AGENT] };
