import type { Room } from '../room.ts';
import { AGENT_MEMBERS } from './agents.schema.ts';

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents', members: AGENT_MEMBERS };
