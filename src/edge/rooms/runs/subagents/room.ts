import { agentsRoom } from '../../agents/room.ts';
import type { Room } from '../../room.ts';
import { runsRoom } from '../room.ts';
import { subagentKind } from './subagent-kind.ts';

/** Tools that are agents. */
export const subagentsRoom: Room = { name: 'subagents', needs: [runsRoom, agentsRoom], tools: [subagentKind] };
