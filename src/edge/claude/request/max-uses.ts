/** Sets `max_uses` of the API's own tools in a request's body. */

import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { replaceBodyText } from '../../kit/http/read-json.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject } from '../../kit/json/object.ts';
import { isToolWithoutMaxUses } from '../pricing/prompt-features.ts';

/**
 * @returns the positions of the tools whose `max_uses` may be set. None once an answer is among the messages: other tools would
 *   make the prompt's cache and the thinking of that answer void
 */
export function findToolsWithSettableMaxUses({ json: { messages, tools } }: JsonBody): number[] {
  if (!Array.isArray(tools) || !Array.isArray(messages)) return [];
  if (messages.some((message) => isObject(message) && message.role === 'assistant')) return [];
  return tools.flatMap((tool, at) => (isObject(tool) && isToolWithoutMaxUses(tool) ? [at] : []));
}

/** @returns the body with `max_uses` of these tools set. All other text stays. */
export function setMaxUsesOfTools(body: JsonBody, positions: readonly number[], uses: number): JsonBody {
  const texts = splitArrayItems(parseMemberTexts(body.text).get('tools') ?? '[]');
  const limited = texts.map((text, at) => (positions.includes(at) ? editJson(text, { max_uses: String(uses) }) : text));
  const tools = `[${limited.join(',')}]`;
  return replaceBodyText(body, editJson(body.text, { tools }), { ...body.json, tools: JSON.parse(tools) });
}
