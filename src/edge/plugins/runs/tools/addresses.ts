/** Checks the addresses of tools that are called over HTTP, and their headers. */

import { hasScope } from '../../../auth/authenticate.ts';
import { findSecretFault, readSecretValue } from '../../../config/tool-secrets.ts';
import { createNonRetryableError } from '../../../kit/http/errors.ts';
import { findDeliverUrlFault } from '../../../kit/http/headers/hosts.ts';
import { isObject, type JsonObject } from '../../../kit/json/object.ts';
import type { ToolListSender } from '../../../registry/tools/tool-kind.ts';
import { formatFirstIssue } from '../../../registry/tools/tools.schema.ts';
import type { HttpToolRun } from '../runs.schema.ts';
import type { ToolCallSettings, ToolKindCaller } from '../tool-kind.ts';
import { createFailedResult } from '../tool-result.ts';

/** An address that a tool is called at: its own, or that of its MCP server. */
type ToolAddress = Omit<HttpToolRun, 'url'> & ({ url: string } | { mcp: string });

/** The schema of a tool that is called at an address. */
interface ToolAddressSchema {
  safeParse(tool: JsonObject): {
    data?: { run: ToolAddress } | undefined;
    error?: Parameters<typeof formatFirstIssue>[0]['error'];
  };
}

/**
 * @param schema the schema of the tool; or what is wrong with the tool, if that is known
 * @returns what is wrong with a tool that is called at an address
 * @throws ApiError 403 for a caller that may not send such tools
 */
export function findAddressedToolFault(
  tool: JsonObject,
  { identity, settings }: ToolListSender,
  schema: ToolAddressSchema | string,
): string | undefined {
  const { run } = tool;
  if (!isObject(run)) return 'run: must be "worker", {"agent": …}, {"url": …} or {"mcp": …}';
  if (!hasScope(identity, 'tools')) {
    throw createNonRetryableError(
      'permission_error',
      'This credential lacks the scope `tools`, which tools with an address require. Ask the operator for a token with this scope.',
    );
  }
  // Reject `__proto__` here: the schema skips a header with this name, but the call would send it unchecked.
  if (isObject(run.headers) && Object.hasOwn(run.headers, '__proto__')) {
    return 'run.headers: must be names of headers';
  }
  if (typeof schema === 'string') return schema;
  const checked = schema.safeParse(tool);
  const fault = checked.data && findToolAddressFault(checked.data.run, settings);
  return fault === undefined ? formatFirstIssue(checked) : `${fault}.`;
}

/**
 * Explains why a tool cannot be called at its address. The text does not contain the address, because the model and clients may
 * read it, and need not know the address.
 *
 * @returns the end of a sentence; undefined if the tool can be called
 */
function findToolAddressFault(run: ToolAddress, settings: ToolCallSettings): string | undefined {
  const { TOOL_HOSTS, TOOL_SIGNING_SECRET, development } = settings;
  const isMcp = 'mcp' in run;
  if (TOOL_SIGNING_SECRET === undefined && !isMcp)
    return 'run: this deployment does not call addresses. Its operator must set TOOL_SIGNING_SECRET and TOOL_HOSTS';
  const [member, url] = isMcp ? ['mcp', run.mcp] : ['url', run.url];
  const fault = findDeliverUrlFault(url, development);
  if (fault !== undefined) return `run.${member}: ${fault}`;
  const { host = '' } = URL.parse(url) ?? {};
  if (!TOOL_HOSTS.includes(host)) return `run.${member}: ${NOT_ALLOWED}`;
  for (const [name, value] of Object.entries(run.headers ?? {})) {
    if (typeof value === 'string') continue;
    const fault = findSecretFault(value.secret, host, settings);
    if (fault !== undefined) return `run.headers.${name}: ${fault}`;
  }
  return undefined;
}

const NOT_ALLOWED =
  'its host (with its port, if that is not 443) is not in TOOL_HOSTS of this edge; its operator can add it';

/** Builds the headers that a tool adds to its calls. The address must have been checked before. */
export function resolveToolHeaders(
  { headers = {} }: Pick<HttpToolRun, 'headers'>,
  settings: ToolCallSettings,
): Headers {
  const sent = new Headers();
  for (const [name, value] of Object.entries(headers))
    sent.set(name, typeof value === 'string' ? value : readSecretValue(value.secret, settings));
  return sent;
}

/** Makes a call at the address of a tool, unless the tool may not be called there any more. */
export function withAddressCheck<Run extends ToolAddress>(
  make: ToolKindCaller<Run>['callTool'],
): ToolKindCaller<Run>['callTool'] {
  return async (call, run, options, signal) => {
    const fault = findToolAddressFault(run, options.settings);
    if (fault !== undefined) return createFailedResult(`This tool cannot be called. ${fault}.`);
    return await make(call, run, options, signal);
  };
}
