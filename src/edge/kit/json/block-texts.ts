/** Reads messages, blocks and events so that the inputs of calls are written again as the text that came. */

import { itemTexts, memberTexts } from './edit.ts';
import { keepText } from './kept-text.ts';
import { isObject, type Json, parseObject } from './object.ts';

/** @returns a block; undefined for a text that is no JSON object */
export function readBlock(text: string): Json | undefined {
  const block = parseObject(text);
  keepInput(block, () => text);
  return block;
}

/** @returns an event of a stream; undefined for a text that is no JSON object */
export function readEvent(text: string): Json | undefined {
  const event = parseObject(text);
  if (event?.content_block) keepInput(event.content_block, () => memberTexts(text).get('content_block'));
  return event;
}

/** @returns a message; undefined for a text that is no JSON object */
export function readMessage(text: string): Json | undefined {
  const message = parseObject(text);
  if (message) keepInputs(message, text);
  return message;
}

/** Remembers the texts of the inputs in a message. @param text what the message was parsed from */
export function keepInputs({ content }: Json, text: string): void {
  if (!Array.isArray(content) || !content.some(hasInput)) return;
  const texts = itemTexts(memberTexts(text).get('content') ?? '[]');
  for (const [index, block] of content.entries()) keepInput(block, () => texts[index]);
}

/** Remembers the texts of the inputs in the messages of a request. @param text what the body was parsed from */
export function keepInputsOfAll({ messages }: Json, text: string): void {
  if (!Array.isArray(messages)) return;
  const texts = itemTexts(memberTexts(text).get('messages') ?? '[]');
  for (const [index, message] of messages.entries()) if (isObject(message)) keepInputs(message, texts[index] ?? '{}');
}

function keepInput(block: unknown, textOf: () => string | undefined): void {
  if (hasInput(block)) keepText(block.input, memberTexts(textOf() ?? '{}').get('input') ?? '{}');
}

/** In most streams a call begins with an empty input, which any reader reads alike. */
function hasInput(block: unknown): block is Json & { input: Json } {
  if (!isObject(block) || !isObject(block.input) || !/tool_use$/.test(String(block.type))) return false;
  return Object.keys(block.input).length > 0;
}
