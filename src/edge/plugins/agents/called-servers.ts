/** MCP servers of an agent that the API itself calls. Their tokens are secrets of the operator's, and named alone. */
import { hasScope } from '../../auth/authenticate.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { findSecretFault, readSecretValue, type SecretSettings, stripAuthScheme } from '../../config/tool-secrets.ts';
import { createInvalidRequestError, createMisconfiguredError, createNonRetryableError } from '../../kit/http/errors.ts';
import { findDeliverUrlFault } from '../../kit/http/headers/hosts.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { rejectReservedServerName } from '../../registry/tools/edge-tools.ts';
import type { AgentFields, AgentMcpServer } from './agents.schema.ts';

/**
 * Checks the MCP servers of an agent before it is stored.
 *
 * @throws ApiError 400 for the edge's own name, and for a secret that may not go to the server; 403 for a caller without the
 *   scope `tools` who names a secret
 */
export function checkServers(definition: AgentFields, identity: Identity, settings: SecretSettings): void {
  rejectReservedServerName(definition);
  for (const [index, server] of (definition.mcp_servers ?? []).entries()) {
    if (server.authorization_token && !hasScope(identity, 'tools')) {
      throw createNonRetryableError(
        'permission_error',
        'This credential lacks the scope `tools`, which the secret of an MCP server requires. Ask the operator for a token with this scope.',
      );
    }
    const fault = findMcpServerFault(server, settings);
    if (fault !== undefined) throw createInvalidRequestError(`mcp_servers.${index}.${fault}.`);
  }
}

/**
 * @returns the MCP servers with their tokens, as they are sent
 * @throws ApiError 500 for a token that this edge does not have any more, or for another host
 */
export function resolveMcpServerTokens(servers: readonly AgentMcpServer[], settings: SecretSettings): JsonObject[] {
  return servers.map((server) => {
    const { url, authorization_token: token } = server;
    if (!token) return server;
    const fault = findMcpServerFault(server, settings);
    if (fault !== undefined) {
      const message = 'This agent cannot call one of its MCP servers. The operator can find the reason in the log.';
      throw createMisconfiguredError(message, `mcp_servers: ${fault}`);
    }
    return {
      ...server,
      // Send the normalized URL, which is the one that was checked. Another URL parser could read a different host from the
      // original text.
      url: URL.parse(url)?.href,
      // Remove `Bearer` from the secret, because the API adds the scheme itself.
      authorization_token: stripAuthScheme(readSecretValue(token.secret, settings)),
    };
  });
}

function findMcpServerFault(
  { url, authorization_token: token }: AgentMcpServer,
  settings: SecretSettings,
): string | undefined {
  if (!token) return undefined;
  const fault = findDeliverUrlFault(url, settings.development);
  if (fault !== undefined) return `url: ${fault}`;
  const missing = findSecretFault(token.secret, URL.parse(url)?.host ?? '', settings);
  return missing && `authorization_token: ${missing}`;
}
