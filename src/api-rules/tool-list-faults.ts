/**
 * Finds what the API rejects in a request's tools, apart from the JSON types of their fields, and in the parts that name tools.
 *
 * Sources: the words in backticks were seen by others in 2026, as were those about skills; the rules for MCP servers, for
 * `max_uses` and for `url_sources` are those of the official pages "MCP connector" and "Messages", and of the SDK's docstrings.
 */

import { isBetaRequested, type RequestedBetas } from './betas.ts';
import { filterObjects, isJsonObject, jsonToText } from './json.ts';
import { describeToolSchemaFault, findToolSchemaFault } from './tool-schema-fault.ts';

/** The parts of a request that name tools. */
export interface RequestTools {
  tools?: unknown;
  /** Undefined if they are not known. */
  mcp_servers?: unknown;
  container?: unknown;
}

type Entry = Readonly<Record<string, unknown>>;

/** The beta in which servers need no toolset. */
const WITHOUT_TOOLSETS = 'mcp-client-2025-04-04';

function toText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function isCodeTool({ type }: Entry): boolean {
  return toText(type).startsWith('code_execution_');
}

/** @returns whether the model would see no tool at first, and could not search for one */
export function areAllDeferred(tools: readonly Entry[]): boolean {
  return tools.length > 0 && tools.every(({ defer_loading }) => defer_loading === true);
}

/** @returns why the API rejects the tools of a request, in its words; none for what it accepts */
export function findToolListFaults(
  { tools, mcp_servers, container }: RequestTools,
  requested: RequestedBetas,
): string[] {
  const list = filterEntries(tools);
  const names = new Set(list.map(({ name }) => name));
  const skills = isJsonObject(container) ? container.skills : undefined;
  return [
    ...(areAllDeferred(list) ? ['At least one tool must have defer_loading=false'] : []),
    ...list.flatMap((tool, index) =>
      findToolFaults(tool, names).map((fault) => `tools.${index}.${toText(tool.type) || 'custom'}${fault}`),
    ),
    ...(mcp_servers === undefined ? [] : findToolsetFaults(list, filterEntries(mcp_servers), requested)),
    ...(filterEntries(skills).length > 0 && !list.some(isCodeTool)
      ? ['container: skills can only be used when a code execution tool is enabled']
      : []),
  ];
}

function filterEntries(value: unknown): Entry[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

function findToolFaults(
  { defer_loading, cache_control, input_schema, max_uses, url_sources }: Entry,
  toolNames: ReadonlySet<unknown>,
): string[] {
  const ofSchema = isJsonObject(input_schema) ? findToolSchemaFault(input_schema) : undefined;
  const sources = isJsonObject(url_sources) ? Object.values(url_sources) : [];
  const named = sources.flatMap((source) => (isJsonObject(source) ? filterObjects(source.tools) : []));
  return [
    ...(ofSchema === undefined ? [] : [`.input_schema${describeToolSchemaFault(ofSchema)}`]),
    ...(defer_loading === true && isJsonObject(cache_control)
      ? [': cannot have both defer_loading=true and cache_control set']
      : []),
    ...(typeof max_uses === 'number' && max_uses <= 0 ? ['.max_uses: Input should be greater than 0'] : []),
    ...named
      .map(({ name }) => jsonToText(name))
      .filter((name) => !toolNames.has(name))
      .map((name) => `.url_sources: there is no tool '${name.slice(0, 128)}' in tools`),
  ];
}

function findToolsetFaults(tools: readonly Entry[], servers: readonly Entry[], requested: RequestedBetas): string[] {
  const named = tools.flatMap(({ type, mcp_server_name: name }) => (type === 'mcp_toolset' ? [toText(name)] : []));
  const names = servers.map(({ name }) => toText(name));
  const [namedSet, nameSet] = [new Set(named), new Set(names)];
  const needsToolsets = !isBetaRequested(requested, WITHOUT_TOOLSETS);
  return [
    ...names
      .filter((name) => needsToolsets && !namedSet.has(name))
      .map((name) => `MCP server '${name}' is defined but not referenced by any \`mcp_toolset\` in \`tools\``),
    ...named
      .filter((name) => !nameSet.has(name))
      .map((name) => `the \`mcp_toolset\` of '${name}' has no server of this name in \`mcp_servers\``),
    ...servers.flatMap(({ url }, index) =>
      toText(url).startsWith('https://') ? [] : [`mcp_servers.${index}.url.url: must start with https://`],
    ),
  ];
}
