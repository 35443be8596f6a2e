import type { Random } from '../random/digest.ts';
import { isObject, type Json, type JsonObject } from '../request/json.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { isClientTool, isWebSearch, nameOf } from '../request/tool-definitions.ts';
import { valueFor } from '../schema/schema-values.ts';
import { contentStems, contentWords, stem } from '../text/words.ts';
import type { WhatWasSaid } from './what-was-said.ts';

const MAXIMUM_CALLS = 4;
/** Only the start of a description is read: it says what a tool does. The rest may be pages that contain every word. */
const MAXIMUM_SUMMARY = 200;

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

function schemaOf(tool: JsonObject): JsonObject {
  const own = tool.input_schema;
  if (isObject(own)) return own;
  const type = String(tool.type);
  return DEFINED_SCHEMAS.find(([pattern]) => pattern.test(type))?.[1] ?? { type: 'object' };
}

/** @returns the name of a tool and the start of its description */
function textAbout(tool: JsonObject): string {
  const description = tool.description;
  if (typeof description !== 'string') return nameOf(tool);
  const [sentence = ''] = description
    .slice(0, MAXIMUM_SUMMARY)
    .trim()
    .split(/[.!?](?:\s|$)|\n/, 1);
  return `${nameOf(tool)} ${sentence}`;
}

function isNamed(tool: JsonObject, text: string): boolean {
  const name = nameOf(tool);
  for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + 1)) {
    if (!/[\w-]/.test(`${text[at - 1] ?? ' '}${text[at + name.length] ?? ' '}`)) return true;
  }
  return false;
}

/** @returns a tool's name if a text has it, or a word that it shares with the name or description; undefined without either */
export function sharedWord(tool: JsonObject, text: string): string | undefined {
  if (isNamed(tool, text)) return nameOf(tool);
  const about = contentStems(textAbout(tool));
  const words = contentWords(text);
  const full = new Set(contentWords(textAbout(tool)));
  return words.find((word) => full.has(word)) ?? words.find((word) => about.has(stem(word)));
}

/** @returns the tools that a text names; if it names none, the tool that shares most words with it */
function matchingTools(offered: readonly JsonObject[], text: string): JsonObject[] {
  const tools = offered.filter((tool) => tool.defer_loading !== true);
  const named = tools.filter((tool) => isNamed(tool, text));
  if (named.length > 0) return named.slice(0, MAXIMUM_CALLS);
  const words = contentStems(text);
  const scored = tools.map((tool) => {
    const inName = [...contentStems(nameOf(tool))].filter((word) => words.has(word)).length;
    const inText = [...contentStems(textAbout(tool))].filter((word) => words.has(word)).length;
    return { tool, score: 3 * inName + inText };
  });
  return scored
    .filter(({ score }) => score > 0)
    .toSorted((a, b) => b.score - a.score)
    .map(({ tool }) => tool)
    .slice(0, 1);
}

function chosenTools({ tools, toolChoice }: MessageRequest, said: WhatWasSaid): JsonObject[] {
  const own = tools.filter((tool) => isClientTool(tool) && nameOf(tool) !== '');
  if (toolChoice.type === 'none') return [];
  if (toolChoice.type === 'tool') return own.filter((tool) => nameOf(tool) === toolChoice.name);
  // A tool's result must not cause the same call again, or the loop would never end.
  if (toolChoice.type === 'auto' && said.toolResults.length > 0) return [];
  const matching = matchingTools(own, said.text);
  const chosen = toolChoice.type === 'any' && matching.length === 0 ? own.slice(0, 1) : matching;
  return toolChoice.disableParallelToolUse ? chosen.slice(0, 1) : chosen;
}

/** Makes the calls of an answer: forced ones, those of named tools, or one of the tool that shares most words with the text. */
export function toolCalls(request: MessageRequest, said: WhatWasSaid, random: Random): ToolCall[] {
  return chosenTools(request, said).map((tool) => {
    const description = tool.description;
    const descriptions = `${said.system}\n${typeof description === 'string' ? description : ''}`;
    const input = valueFor(schemaOf(tool), { text: said.text, descriptions, requiredOnly: true, random });
    return { name: nameOf(tool), input: isObject(input) ? input : {} };
  });
}

/** @returns whether the text asks to search, and there is a tool for web search */
export function wantsWebSearch({ tools, toolChoice }: MessageRequest, said: WhatWasSaid): boolean {
  if (toolChoice.type === 'none' || said.toolResults.length > 0) return false;
  const search = tools.find(isWebSearch);
  if (search === undefined) return false;
  const isForced = toolChoice.type === 'tool' && toolChoice.name === nameOf(search);
  return isForced || /\b(search|look up|find out|google|news|latest|online)\b/i.test(said.text);
}
