/** The MCP server under whose name clients see the tools that the edge calls. */

import { invalidRequest } from '../../kit/http/errors.ts';
import { isObject } from '../../kit/json/object.ts';

export const EDGE = 'edge';

/** @throws ApiError 400 if an MCP server of the caller's has the name under which the edge's tools are shown */
export function refuseEdgeServer({ mcp_servers: servers }: Readonly<Record<string, unknown>>): void {
  if (Array.isArray(servers) && servers.some((server) => isObject(server) && server.name === EDGE)) {
    throw invalidRequest('mcp_servers: the name "edge" is this edge’s own. Choose another one.');
  }
}
