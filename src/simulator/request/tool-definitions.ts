import { filterObjects, isJsonObject, type Json, type JsonObject, jsonToText } from '../../api-rules/json.ts';
import { parseCacheControlLifetime } from './content-blocks.ts';
import { createInvalidRequestError } from './errors.ts';
import {
  readOptionalBoolean,
  readOptionalString,
  readRequiredObject,
  readRequiredString,
  readRequiredType,
} from './fields.ts';
import type { ThinkingConfig, ToolChoice, ValidatedPrompt } from './message-request.ts';

/** Tools that the API runs by itself, and sets of tools: a `tool_use` of theirs never reaches the caller. */
const SERVER_TOOL_TYPES =
  /^(web_search|web_fetch|code_execution|tool_search_tool|advisor|mcp_toolset|browser_toolset|computer_toolset)/;

/** Checks whether the caller runs a tool. */
export function isClientTool(tool: JsonObject): boolean {
  return !SERVER_TOOL_TYPES.test(jsonToText(tool.type ?? 'custom'));
}

/** Checks whether a tool is web search, which the simulator runs (without leaving the machine). */
export function isWebSearchTool(tool: JsonObject): boolean {
  return /^web_search_\d+$/.test(jsonToText(tool.type));
}

/** Reads a tool's name, empty for a set of tools. */
export function getToolName(tool: JsonObject): string {
  const name = tool.name;
  return typeof name === 'string' ? name : '';
}

/** @returns the names of the tools that an earlier search, or the caller, has loaded */
export function listLoadedToolNames({ messages }: Pick<ValidatedPrompt, 'messages'>): Set<string> {
  const blocks = messages.flatMap((message) => message.blocks);
  const references = blocks.flatMap(({ content }) =>
    isJsonObject(content) ? filterObjects(content.tool_references) : filterObjects(content),
  );
  return new Set(references.filter(({ type }) => type === 'tool_reference').map((one) => jsonToText(one.tool_name)));
}

function validateCustomTool(tool: JsonObject, path: string): void {
  const name = readRequiredString(tool.name, `${path}.name`);
  if (!/^[a-zA-Z0-9_-]{1,128}$/.test(name)) {
    throw createInvalidRequestError(`${path}.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'`);
  }
  readOptionalString(tool.description, `${path}.description`);
  readOptionalBoolean(tool.strict, `${path}.strict`);
  const schema = readRequiredObject(tool.input_schema, `${path}.input_schema`);
  const type = schema.type;
  if (type === undefined) throw createInvalidRequestError(`${path}.input_schema.type: Field required`);
  if (type !== 'object') throw createInvalidRequestError(`${path}.input_schema.type: Input should be 'object'`);
}

/**
 * Reads the tools of a request.
 * @throws ApiError 400 in the API's words.
 */
export function parseToolDefinitions(value: Json | undefined): JsonObject[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw createInvalidRequestError('tools: Input should be a valid list');
  const names = new Set<string>();
  return value.map((entry, index) => {
    const tool = readRequiredObject(entry, `tools.${index}`);
    const type = readOptionalString(tool.type, `tools.${index}.type`) ?? 'custom';
    const path = `tools.${index}.${type}`;
    if (type === 'custom') validateCustomTool(tool, path);
    parseCacheControlLifetime(tool.cache_control, `${path}.cache_control`);
    if ((tool.allowed_domains ?? null) !== null && (tool.blocked_domains ?? null) !== null) {
      throw createInvalidRequestError(`${path}: only one of \`allowed_domains\` and \`blocked_domains\` may be given`);
    }
    const name = getToolName(tool);
    if (name !== '' && names.has(name)) throw createInvalidRequestError('tools: Tool names must be unique.');
    names.add(name);
    return tool;
  });
}

/**
 * Reads the choice of a tool.
 * @throws ApiError 400 for an unknown tool, a choice without tools, and one that thinking does not go with.
 */
export function parseToolChoice(
  value: Json | undefined,
  { tools, thinking, model }: Pick<ValidatedPrompt, 'tools' | 'model'> & { thinking: ThinkingConfig },
): ToolChoice {
  if (value === undefined || value === null) return { type: 'auto', name: undefined, disableParallelToolUse: false };
  const choice = readRequiredObject(value, 'tool_choice');
  const type = readRequiredType(choice, ['auto', 'any', 'tool', 'none'], 'tool_choice');
  const name = type === 'tool' ? readRequiredString(choice.name, 'tool_choice.tool.name') : undefined;
  const disable = choice.disable_parallel_tool_use;
  const disableParallelToolUse = readOptionalBoolean(disable, `tool_choice.${type}.disable_parallel_tool_use`) ?? false;
  if (tools.length === 0 && type !== 'none') {
    throw createInvalidRequestError('tool_choice: tool_choice may only be specified while providing tools.');
  }
  if (name !== undefined && !tools.some((tool) => getToolName(tool) === name)) {
    throw createInvalidRequestError(`Tool '${name.slice(0, 128)}' not found in provided tools`);
  }
  const isForced = type === 'any' || type === 'tool';
  if (isForced && model.forced_tools === false) {
    throw createInvalidRequestError('tool_choice: type "tool" and "any" are not supported for this model.');
  }
  if (thinking.type === 'enabled' && isForced) {
    throw createInvalidRequestError('Thinking may not be enabled when tool_choice forces tool use.');
  }
  return { type, name, disableParallelToolUse };
}
