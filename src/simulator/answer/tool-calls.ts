import { isJsonObject, type Json, type JsonObject } from '../../api-rules/json.ts';
import type { RandomSource } from '../random/digest.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { getToolName, isClientTool, isWebSearchTool, listLoadedToolNames } from '../request/tool-definitions.ts';
import { satisfiesSchema } from '../schema/schema-check.ts';
import { createSchemaValue } from '../schema/schema-values.ts';
import { listContentStems, listContentWords, removeWordEnding, shortenToSingleLine } from '../text/words.ts';
import type { PromptContents } from './prompt-contents.ts';

/** A text that names more tools than this requests none of them. */
const MAX_CALLS = 4;
/** How many steps a check of an input against its schema takes. */
const MAX_CHECK_STEPS = 10_000;
/** A text that requests an answer without tools: that of Claude Code, if it requests a summary. */
const FORBIDS_TOOLS = /\bdo not (?:call|use) any tools?\b/i;
/**
 * Only the start of a description is read, which describes what the tool does. The rest may be pages that contain every word.
 */
const MAX_DESCRIPTION_CHARACTERS = 200;

/** Schemas of tools that the API defines and the caller runs: requests name them without a schema. */
const DEFINED_SCHEMAS: [RegExp, JsonObject][] = [
  [/^bash_/, { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] }],
  [
    /^(text_editor|memory)_/,
    {
      type: 'object',
      properties: { command: { const: 'view' }, path: { type: 'string' } },
      required: ['command', 'path'],
    },
  ],
  [/^computer_/, { type: 'object', properties: { action: { const: 'screenshot' } }, required: ['action'] }],
];

export interface ToolCall {
  name: string;
  input: Json;
}

function getInputSchema(tool: JsonObject): JsonObject {
  const own = tool.input_schema;
  if (isJsonObject(own)) return own;
  const type = String(tool.type);
  return DEFINED_SCHEMAS.find(([pattern]) => pattern.test(type))?.[1] ?? { type: 'object' };
}

/** @returns the name of a tool and the start of its description */
function joinNameAndDescription(tool: JsonObject): string {
  const description = tool.description;
  if (typeof description !== 'string') return getToolName(tool);
  const [sentence = ''] = description
    .slice(0, MAX_DESCRIPTION_CHARACTERS)
    .trim()
    .split(/[.!?](?:\s|$)|\n/, 1);
  return `${getToolName(tool)} ${sentence}`;
}

function isToolNamedInText(tool: JsonObject, text: string): boolean {
  const name = getToolName(tool);
  for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + 1)) {
    if (!/[\w-]/.test(`${text[at - 1] ?? ' '}${text[at + name.length] ?? ' '}`)) return true;
  }
  return false;
}

/** @returns a tool's name if a text has it, or a word that it shares with the name or description; undefined without either */
export function findWordSharedWithTool(tool: JsonObject, text: string): string | undefined {
  if (isToolNamedInText(tool, text)) return getToolName(tool);
  const about = listContentStems(joinNameAndDescription(tool));
  const words = listContentWords(text);
  const full = new Set(listContentWords(joinNameAndDescription(tool)));
  return words.find((word) => full.has(word)) ?? words.find((word) => about.has(removeWordEnding(word)));
}

/**
 * @returns the tools that a text names; if it names none, the tool that shares most words with it. A text that names many is a
 *   list of them, such as of those that must not be called: then none
 */
export function findMatchingTools(tools: readonly JsonObject[], text: string): JsonObject[] {
  const named = tools.filter((tool) => isToolNamedInText(tool, text));
  if (named.length > 0) return named.length > MAX_CALLS ? [] : named;
  const words = listContentStems(text);
  const scored = tools.map((tool) => {
    const inName = [...listContentStems(getToolName(tool))].filter((word) => words.has(word)).length;
    const inText = [...listContentStems(joinNameAndDescription(tool))].filter((word) => words.has(word)).length;
    return { tool, score: 3 * inName + inText };
  });
  return scored
    .filter(({ score }) => score > 0)
    .toSorted((a, b) => b.score - a.score)
    .map(({ tool }) => tool)
    .slice(0, 1);
}

/**
 * @returns whether no tool is called: none may be, or none is forced and the text wants none. A tool's result must not cause the same
 *   call again, or the loop would never end
 */
export function shouldSkipToolCalls({ toolChoice }: MessageRequest, prompt: PromptContents): boolean {
  if (toolChoice.type !== 'auto') return toolChoice.type === 'none';
  return prompt.isAnswered || FORBIDS_TOOLS.test(prompt.text);
}

function chooseTools(request: MessageRequest, prompt: PromptContents): JsonObject[] {
  const { tools, toolChoice } = request;
  const own = tools.filter((tool) => isClientTool(tool) && getToolName(tool) !== '');
  if (toolChoice.type === 'tool') return own.filter((tool) => getToolName(tool) === toolChoice.name);
  if (shouldSkipToolCalls(request, prompt)) return [];
  const { callingTools: wanted, text } = parseDelegatedTask(prompt.text);
  const loaded = listLoadedToolNames(request);
  const free = own.filter((tool) => !wanted.has(getToolName(tool)));
  const ready = free.filter((tool) => tool.defer_loading !== true || loaded.has(getToolName(tool)));
  const matching = findMatchingTools(ready, text);
  const chosen = toolChoice.type === 'any' && matching.length === 0 ? [...free, ...own].slice(0, 1) : matching;
  return toolChoice.disableParallelToolUse ? chosen.slice(0, 1) : chosen;
}

/** @returns the text of a task, and the names of the tools by whose calls it was given: an agent may be asked by it */
function parseDelegatedTask(text: string): { callingTools: Set<string>; text: string } {
  const [mark = '', names = ''] = /^\[task for ([\w, -]+)\] /.exec(text) ?? [];
  return { callingTools: new Set(names.split(', ')), text: text.slice(mark.length) };
}

/**
 * Adds to the task of a call the names of the tools that are being called. The simulated agent that answers the task calls none
 * of these again: an agent that is offered itself as a tool would never end.
 */
function addCallingToolsToTask(
  input: JsonObject,
  schema: JsonObject,
  names: readonly string[],
  words: string,
): JsonObject {
  if (typeof input.task !== 'string') return input;
  const { callingTools: wanted, text } = parseDelegatedTask(words);
  const all = new Set([...wanted, ...names].filter((name) => name !== ''));
  const marked = { ...input, task: `[task for ${[...all].join(', ')}] ${shortenToSingleLine(text, 200)}` };
  return satisfiesSchema(marked, schema, { root: schema, remainingSteps: MAX_CHECK_STEPS }) ? marked : input;
}

/** Makes the calls of an answer: forced ones, those of named tools, or one of the tool that shares most words with the text. */
export function createToolCalls(request: MessageRequest, prompt: PromptContents, random: RandomSource): ToolCall[] {
  const chosen = chooseTools(request, prompt);
  const names = chosen.map(getToolName);
  return chosen.map((tool) => ({
    name: getToolName(tool),
    input: addCallingToolsToTask(createToolInput(tool, prompt, random), getInputSchema(tool), names, prompt.text),
  }));
}

/** @returns an input that satisfies a tool's schema, about what was said */
export function createToolInput(tool: JsonObject, prompt: PromptContents, random: RandomSource): JsonObject {
  const description = tool.description;
  const descriptions = `${prompt.system}\n${typeof description === 'string' ? description : ''}`;
  const input = createSchemaValue(getInputSchema(tool), {
    text: prompt.text,
    descriptions,
    requiredOnly: true,
    random,
  });
  return isJsonObject(input) ? input : {};
}

/** @returns whether the text requests a search, and there is a tool for web search */
export function shouldSearchWeb({ tools, toolChoice }: MessageRequest, prompt: PromptContents): boolean {
  if (toolChoice.type === 'none' || prompt.isAnswered) return false;
  const search = tools.find(isWebSearchTool);
  if (search === undefined) return false;
  const isForced = toolChoice.type === 'tool' && toolChoice.name === getToolName(search);
  return isForced || /\b(search|look up|find out|google|news|latest|online)\b/i.test(prompt.text);
}
