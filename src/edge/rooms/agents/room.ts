import type { Room } from '../room.ts';
import { agentsRoutes } from './agents.route.ts';

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents', routes: () => [agentsRoutes()] };
