/** Finds the features of many messages at once. Most histories are texts alone, and to parse them takes longer than to search. */

import { featuresOf, type PromptFeatures, withPlainMessages } from './prompt-features.ts';

/** How a message begins whose content is one text. Within a JSON string the quotes would be escaped. */
const BEGINNINGS = ['user', 'assistant'].map((role) => `{"role":"${role}","content":`);
const AS_TEXT = BEGINNINGS.map((begin) => `${begin}"`);
const AS_BLOCK = BEGINNINGS.map((begin) => `${begin}[{"type":"text","text":"`);

/**
 * @param joined messages as JSON with commas between them
 * @param messages how many there are
 * @returns what `featuresOf` returns for them
 */
export function featuresOfJoined(joined: string, messages: number, before: PromptFeatures): PromptFeatures {
  return arePlain(joined, messages)
    ? withPlainMessages(messages, before)
    : featuresOf(JSON.parse(`[${joined}]`) as unknown[], before);
}

/** @returns whether each message is a text without a breakpoint; false where that is not certain. */
function arePlain(joined: string, messages: number): boolean {
  // Escapes could hide a key.
  if (joined.includes('\\u') || joined.includes('"cache_control"')) return false;
  // Each message has this key once, after its role. Another block would have a type: the API refuses one that has none.
  if (countOf(joined, '"content"') !== messages) return false;
  const blocks = countAll(joined, AS_BLOCK);
  return countAll(joined, AS_TEXT) + blocks === messages && countOf(joined, '"type"') === blocks;
}

function countAll(text: string, signs: readonly string[]): number {
  return signs.reduce((sum, sign) => sum + countOf(text, sign), 0);
}

function countOf(text: string, sign: string): number {
  let found = 0;
  for (let at = text.indexOf(sign); at >= 0; at = text.indexOf(sign, at + sign.length)) found += 1;
  return found;
}
