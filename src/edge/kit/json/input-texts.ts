/** Reads messages, blocks and events so that the inputs of calls are written again as the text that came. */

import { parseMemberTexts, splitItems } from './edit.ts';
import { isObject, type Json, parseObject } from './object.ts';
import { rememberText } from './remembered-text.ts';

/** @returns a block; undefined for a text that is no JSON object */
export function parseBlockText(text: string): Json | undefined {
  const block = parseObject(text);
  rememberInput(block, () => text);
  return block;
}

/** @returns an event of a stream; undefined for a text that is no JSON object */
export function parseEventText(text: string): Json | undefined {
  const event = parseObject(text);
  if (event?.content_block) rememberInput(event.content_block, () => parseMemberTexts(text).get('content_block'));
  return event;
}

/** @returns a message; undefined for a text that is no JSON object */
export function parseMessageText(text: string): Json | undefined {
  const message = parseObject(text);
  if (message) rememberInputs(message, text);
  return message;
}

/** Remembers the texts of the inputs in a message. @param text what the message was parsed from */
export function rememberInputs({ content }: Json, text: string): void {
  if (!Array.isArray(content) || !content.some(hasInput)) return;
  const texts = splitItems(parseMemberTexts(text).get('content') ?? '[]');
  for (const [index, block] of content.entries()) rememberInput(block, () => texts[index]);
}

/** Remembers the texts of the inputs in the messages of a request. @param text what the body was parsed from */
export function rememberInputsOfMessages({ messages }: Json, text: string): void {
  if (!Array.isArray(messages)) return;
  const texts = splitItems(parseMemberTexts(text).get('messages') ?? '[]');
  for (const [index, message] of messages.entries())
    if (isObject(message)) rememberInputs(message, texts[index] ?? '{}');
}

function rememberInput(block: unknown, textOf: () => string | undefined): void {
  if (hasInput(block)) rememberText(block.input, parseMemberTexts(textOf() ?? '{}').get('input') ?? '{}');
}

/** In most streams a call begins with an empty input, which any reader reads alike. */
function hasInput(block: unknown): block is Json & { input: Json } {
  if (!isObject(block) || !isObject(block.input) || !/tool_use$/.test(String(block.type))) return false;
  return Object.keys(block.input).length > 0;
}
