/** The message that is sent in the place of a history's oldest messages, as plugins write and check it. */

import { parseJsonObject } from '../../../kit/json/object.ts';

/** What each summary begins with. */
export const SUMMARY_PREFACE =
  'This is a summary of the conversation so far. It stands in the place of its earlier messages.\n\n';

/** @returns the message that replaces the summarized messages, as JSON text */
export function createSummaryMessageJson(text: string): string {
  return JSON.stringify({ role: 'user', content: SUMMARY_PREFACE + text });
}

/** @returns the words of a summary; empty where there are none */
export function extractSummaryText({ text }: { text: string | null }): string {
  const content = parseJsonObject(text ?? '')?.content;
  return typeof content === 'string' ? content.slice(SUMMARY_PREFACE.length) : '';
}
