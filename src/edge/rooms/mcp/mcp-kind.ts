import { isObject } from '../../kit/json/object.ts';
import type { CalledKind } from '../runs/called-kind.ts';
import { atAddress, faultAtAddress } from '../runs/tools/addresses.ts';
import { callMcp } from './call-mcp.ts';
import { type McpRun, mcpRunSchema, mcpServer, mcpServerSchema, mcpTool } from './mcp.schema.ts';
import { McpSessions } from './sessions.ts';
import { storedServers } from './stored-servers.ts';

const MCP_IS_STORED =
  'run.mcp: the tools of an MCP server are listed when they are stored. Store it with PUT /prefixes/:name or PUT /agents/:name, and name that here.';

/** Tools of MCP servers. They occur only in what is stored. */
export const mcpKind: CalledKind<McpRun> = {
  member: 'mcp',
  names: () => [mcpRunSchema, mcpServerSchema].flatMap(({ shape }) => Object.keys(shape)),
  fault: (tool, sender) => {
    const schema = isObject(tool.run) && Object.hasOwn(tool.run, 'tool') ? mcpTool : mcpServer;
    return faultAtAddress(tool, sender, sender.isStored ? schema : MCP_IS_STORED);
  },
  stored: storedServers,
  callsOf: () => {
    const sessions = new McpSessions();
    return { call: atAddress<McpRun>((...given) => callMcp(sessions, ...given)), close: () => sessions.close() };
  },
};
