import type { Room } from '../room.ts';

/** Tools of MCP servers. */
export const mcpRoom: Room = { name: 'mcp' };
