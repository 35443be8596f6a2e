import type { Room } from '../../room.ts';
import { runsRoom } from '../room.ts';
import { mcpKind } from './call-mcp.ts';

/** Tools of MCP servers. */
export const mcpRoom: Room = { name: 'mcp', needs: [runsRoom], tools: [mcpKind] };
