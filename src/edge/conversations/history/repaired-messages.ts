/** Messages that are sent with less than they had. They are shown as before. */

import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { MessageRow } from './storage/rows.ts';
import { NO_ANSWER } from './storage/tables.ts';
import type { Transcript } from './storage/transcript.ts';

/** A message, and the content that is sent from now on. With empty content it is not sent any more. */
export type RepairedMessage = MessageRow & { content: JsonObject[] };

/** Stores repaired messages. Call it in one transaction. */
export function storeRepaired(transcript: Transcript, repaired: readonly RepairedMessage[]): void {
  for (const { content, ...row } of repaired) {
    const text = content.length > 0 ? stringifyWithRememberedTexts({ role: row.role, content }) : NO_ANSWER;
    transcript.deleteMessages('seq = ?', row.seq);
    transcript.addMessage({ ...row, text, shown: row.shown ?? row.text });
  }
}

/** @returns the blocks of a message that is given as JSON text */
export function parseBlocks(text: string): JsonObject[] {
  const content = parseJsonObject(text)?.content;
  return Array.isArray(content) ? content.filter(isObject) : [];
}
