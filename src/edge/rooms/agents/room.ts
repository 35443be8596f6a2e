import type { Room } from '../room.ts';
import { AGENT_ROUTES } from './agents.route.ts';

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents', routes: AGENT_ROUTES };
