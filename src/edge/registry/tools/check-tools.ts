/** Checks tools and limits of a run, before anything is stored or sent. */
import type { Identity } from '../../auth/identity/caller.ts';
import type { Settings } from '../../config/settings.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { hasEdgeTools, rejectReservedServerName } from './edge-tools.ts';
import { runLimits } from './run-limits.schema.ts';
import { findToolKind, type ToolListSender, toolKinds } from './tool-kind.ts';
import { clientTool, formatFirstIssue } from './tools.schema.ts';

/**
 * Checks the tools and limits of a run in a request to a conversation.
 *
 * @throws ApiError 400 for a malformed tool or limit, 403 for a caller who may not send such tools
 */
export function validateRunTools(
  body: Readonly<Record<string, unknown>>,
  identity: Identity,
  settings: Settings,
): void {
  const { tools } = body;
  rejectReservedServerName(body);
  if (hasEdgeTools(tools)) validateBySchema(runLimits, body);
  validateEdgeTools(tools, { identity, settings, isStored: false });
}

/**
 * Checks that a request without a conversation has no tools with `run`.
 *
 * @param agent the agent from which the tools come, if they are not the request's own
 * @throws ApiError 400 if it has such tools
 */
export function rejectRunToolsWithoutConversation(
  body: Readonly<Record<string, unknown>>,
  agent?: { name: string },
): void {
  rejectReservedServerName(body);
  if (!hasEdgeTools(body.tools)) return;
  const subject = agent ? `agent: ${agent.name} has tools with \`run\`, which` : 'tools: tools with `run`';
  throw createInvalidRequestError(
    `${subject} require a conversation to store the steps. Send \`conversation\` with an id of your choice.`,
  );
}

/**
 * Checks a list of tools if the edge must call some of them. A list without such tools is left to the upstream.
 *
 * @throws ApiError 400 for a malformed tool, 403 for a caller who may not send tools with an address
 */
export function validateEdgeTools(tools: unknown, sender: ToolListSender): void {
  // Stored tools are used by many requests, so check all of them when they are stored, including those that Sluice does not
  // run.
  if (!Array.isArray(tools) || (!sender.isStored && !hasEdgeTools(tools))) return;
  const names = new Set<unknown>();
  for (const [index, tool] of tools.entries()) {
    if (!isObject(tool)) continue;
    // Compare only tools that have a name. An `mcp_toolset` has none.
    if (tool.name !== undefined && names.has(tool.name)) {
      throw createInvalidRequestError(`tools.${index}.name: Tool names must be unique.`);
    }
    names.add(tool.name);
    const hasOwnRun = Object.hasOwn(tool, 'run');
    if (!hasOwnRun && !sender.isStored) continue;
    const fault = hasOwnRun ? findEdgeToolFault(tool, sender) : findClientToolFault(tool);
    if (fault !== undefined) throw createInvalidRequestError(`tools.${index}.${fault}`);
  }
}

/** @throws ApiError 403 for a caller who may not send such tools */
function findEdgeToolFault(tool: JsonObject, sender: ToolListSender): string | undefined {
  const kind = findToolKind(tool.run);
  return kind
    ? kind.findFault(tool, sender)
    : 'run: tools that Sluice calls require the plugin `runs`, which this deployment does not include. Ask its operator to add it.';
}

/** @returns why the API would reject a tool that the client runs, as far as it is known here */
function findClientToolFault(tool: JsonObject): string | undefined {
  const { name, type, input_schema: schema } = tool;
  if (type !== undefined && type !== null && type !== 'custom')
    return typeof type === 'string' && type !== '' ? undefined : 'type: Input should be a valid string';
  if (schema !== undefined) return formatFirstIssue(clientTool.safeParse(tool));
  const own = typeof name === 'string' && toolKinds().find((kind) => kind.knows?.(name));
  const meant = own ? ` Did you mean \`"run": "${own.member}"\`?` : '';
  return `input_schema: Field required without \`run\`.${meant}`;
}
