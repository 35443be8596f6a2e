/** Finds the features of many messages at once. Most histories are texts alone, and to parse them takes longer than to search. */

import { addPlainMessages, findFeaturesOfMessages, type PromptFeatures } from './prompt-features.ts';

/** How a message begins whose content is one text. Within a JSON string the quotes would be escaped. */
const PLAIN_MESSAGE_STARTS = ['user', 'assistant'].map((role) => `{"role":"${role}","content":`);
const AS_TEXT = PLAIN_MESSAGE_STARTS.map((begin) => `${begin}"`);
const AS_BLOCK = PLAIN_MESSAGE_STARTS.map((begin) => `${begin}[{"type":"text","text":"`);

/**
 * @param joined messages as JSON with commas between them
 * @param messages how many there are
 * @returns what `findFeaturesOfMessages` returns for them
 */
export function findFeaturesOfJoinedMessages(joined: string, messages: number, before: PromptFeatures): PromptFeatures {
  return areAllPlainTextMessages(joined, messages)
    ? addPlainMessages(messages, before)
    : findFeaturesOfMessages(JSON.parse(`[${joined}]`) as unknown[], before);
}

/** @returns whether each message is a text without a breakpoint; false where that is not certain. */
function areAllPlainTextMessages(joined: string, messages: number): boolean {
  // A history of images has no such message, and is not searched.
  if (![...AS_TEXT, ...AS_BLOCK].some((begin) => joined.startsWith(begin))) return false;
  // In JSON, `\u` can escape any character of a key, so the searches below could miss a key. Do not rely on them then.
  if (joined.includes('\\u') || joined.includes('"cache_control"')) return false;
  // Each message has a single `content` key. A content block without `type` is rejected by the API, so counting `type` finds
  // all blocks.
  if (countOccurrences(joined, '"content"') !== messages) return false;
  const blocks = countOccurrencesOfAll(joined, AS_BLOCK);
  return countOccurrencesOfAll(joined, AS_TEXT) + blocks === messages && countOccurrences(joined, '"type"') === blocks;
}

function countOccurrencesOfAll(text: string, signs: readonly string[]): number {
  return signs.reduce((sum, sign) => sum + countOccurrences(text, sign), 0);
}

function countOccurrences(text: string, sign: string): number {
  let found = 0;
  for (let at = text.indexOf(sign); at >= 0; at = text.indexOf(sign, at + sign.length)) found += 1;
  return found;
}
