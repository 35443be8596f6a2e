/** Reads messages, blocks and events so that the inputs of calls are written again as the text that came. */

import { parseMemberTexts, splitArrayItems } from './edit.ts';
import { isObject, type JsonObject, parseJsonObject } from './object.ts';
import { rememberJsonText } from './remembered-text.ts';

/** @returns a block; undefined for a text that is no JSON object */
export function parseBlockRememberingInput(text: string): JsonObject | undefined {
  const block = parseJsonObject(text);
  rememberInputTextOfBlock(block, () => text);
  return block;
}

/** @returns an event of a stream; undefined for a text that is no JSON object */
export function parseEventRememberingInput(text: string): JsonObject | undefined {
  const event = parseJsonObject(text);
  if (event?.content_block)
    rememberInputTextOfBlock(event.content_block, () => parseMemberTexts(text).get('content_block'));
  return event;
}

/** @returns a message; undefined for a text that is no JSON object */
export function parseMessageRememberingInputs(text: string): JsonObject | undefined {
  const message = parseJsonObject(text);
  if (message) rememberInputTextsOfMessage(message, text);
  return message;
}

/** Remembers the texts of the inputs in a message. @param text what the message was parsed from */
export function rememberInputTextsOfMessage({ content }: JsonObject, text: string): void {
  if (!Array.isArray(content) || !content.some(isCallWithInput)) return;
  const texts = splitArrayItems(parseMemberTexts(text).get('content') ?? '[]');
  for (const [index, block] of content.entries()) rememberInputTextOfBlock(block, () => texts[index]);
}

/** Remembers the texts of the inputs in the messages of a request. @param text what the body was parsed from */
export function rememberInputTextsOfMessages({ messages }: JsonObject, text: string): void {
  if (!Array.isArray(messages)) return;
  const texts = splitArrayItems(parseMemberTexts(text).get('messages') ?? '[]');
  for (const [index, message] of messages.entries())
    if (isObject(message)) rememberInputTextsOfMessage(message, texts[index] ?? '{}');
}

function rememberInputTextOfBlock(block: unknown, textOf: () => string | undefined): void {
  if (isCallWithInput(block)) rememberJsonText(block.input, parseMemberTexts(textOf() ?? '{}').get('input') ?? '{}');
}

/** In most streams a call begins with an empty input, which any reader reads alike. */
function isCallWithInput(block: unknown): block is JsonObject & { input: JsonObject } {
  if (!isObject(block) || !isObject(block.input) || !/tool_use$/.test(String(block.type))) return false;
  return Object.keys(block.input).length > 0;
}
