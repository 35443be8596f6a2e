/**
 * Finds what the API rejects in a request's list of tools, apart from their schemas.
 *
 * The sentences in the API's words were reported by others in 2026; the rest is not published. Sluice only warns, because a
 * request can add tools to the stored ones.
 */

import { createValueChecker } from '../../kit/json/json-schema.ts';
import { getMember, isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { resolveSchemaReferences } from '../../kit/json/schema-references.ts';

/** The parts of a request that name tools. */
export interface RequestTools {
  tools: readonly JsonObject[];
  /** Undefined if each request names its own servers. */
  mcp_servers?: unknown;
  container?: unknown;
  betas?: unknown;
}

const CODE_TOOL = /^code_execution_/;
/** The beta in which servers need no toolset. */
const WITHOUT_TOOLSETS = 'mcp-client-2025-04-04';

/** @returns why the API rejects the list, in sentences without a full stop; none for what it accepts */
export function findToolListFaults({ tools, mcp_servers, container, betas }: RequestTools): string[] {
  const skills = getMember(container, 'skills');
  const hasCode = tools.some(({ type }) => CODE_TOOL.test(toJsonText(type)));
  return [
    ...(areAllDeferred(tools) ? ['At least one tool must have defer_loading=false'] : []),
    ...tools.flatMap((tool, index) => findToolFaults(tool, tools).map((fault) => `tools.${index}.${fault}`)),
    ...(Array.isArray(mcp_servers) ? findToolsetFaults(tools, mcp_servers.filter(isObject), betas) : []),
    ...(Array.isArray(skills) && skills.length > 0 && !hasCode
      ? ['container.skills: skills need the code execution tool']
      : []),
  ];
}

/** @returns whether the model would see no tool at first, and could not search for one */
export function areAllDeferred(tools: readonly JsonObject[]): boolean {
  return tools.length > 0 && tools.every(({ defer_loading }) => defer_loading === true);
}

/** @returns the callers of a tool that are not among the tools */
export function findUnknownCallers({ allowed_callers }: JsonObject, tools: readonly JsonObject[]): string[] {
  const callers = Array.isArray(allowed_callers) ? allowed_callers.map(toJsonText) : [];
  return callers.filter((name) => CODE_TOOL.test(name) && !tools.some(({ type }) => type === name));
}

/** @returns what is wrong with the first example that does not fit the tool's schema; undefined if all fit */
export function findExampleFault({ input_examples, input_schema }: JsonObject): string | undefined {
  if (!Array.isArray(input_examples) || !isObject(input_schema)) return undefined;
  const { schema } = resolveSchemaReferences(input_schema);
  const check = schema && createValueChecker(schema, { root: 'input' });
  for (const [index, example] of input_examples.entries()) {
    const fault = check?.(example);
    if (fault) return `input_examples.${index}: ${fault.path}: ${fault.problem}`;
  }
  return undefined;
}

function findToolFaults(tool: JsonObject, tools: readonly JsonObject[]): string[] {
  const { max_uses, url_sources } = tool;
  const example = findExampleFault(tool);
  const isDeclared = (name: unknown) => tools.some((one) => one.name === name);
  const named = isObject(url_sources)
    ? Object.values(url_sources).flatMap((source) => getMember(source, 'tools') ?? [])
    : [];
  return [
    ...findUnknownCallers(tool, tools).map((name) => `allowed_callers: there is no tool of the type ${name}`),
    ...(example === undefined ? [] : [example]),
    ...(max_uses === 0 ? ['max_uses: Input should be greater than 0'] : []),
    ...named
      .map((one) => toJsonText(getMember(one, 'name')))
      .filter((name) => !isDeclared(name))
      .map((name) => `url_sources: there is no tool ${name}`),
  ];
}

function findToolsetFaults(tools: readonly JsonObject[], servers: readonly JsonObject[], betas: unknown): string[] {
  const named = tools.flatMap(({ type, mcp_server_name: name }) => (type === 'mcp_toolset' ? [toJsonText(name)] : []));
  const names = servers.map(({ name }) => toJsonText(name));
  const needsToolsets = !(Array.isArray(betas) && betas.includes(WITHOUT_TOOLSETS));
  return [
    ...names
      .filter((name) => needsToolsets && !named.includes(name))
      .map((name) => `MCP server '${name}' is defined but not referenced by any \`mcp_toolset\` in \`tools\``),
    ...named
      .filter((name) => !names.includes(name))
      .map((name) => `the \`mcp_toolset\` of '${name}' has no server of this name in \`mcp_servers\``),
    ...servers.flatMap(({ url }, index) =>
      toJsonText(url).startsWith('http:') ? [`mcp_servers.${index}.url: must begin with https:`] : [],
    ),
  ];
}
