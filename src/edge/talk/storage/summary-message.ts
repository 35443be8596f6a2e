/** Reads the summaries that a history has: what goes up in the place of its oldest messages. */

import { parseObject } from '../../kit/json/object.ts';
import type { SummaryRow } from './summary-rows.ts';
import type { Transcript } from './transcript.ts';

/** What each summary begins with. */
export const SUMMARY_PREFACE =
  'This is a summary of the conversation so far. It stands in the place of its earlier messages.\n\n';

/** @returns the first message of a prompt, and the summary before it. @param sentFrom a message, or a summary's id below zero */
export function beginningOf(
  { summaries }: Transcript,
  sentFrom: number,
): { from: number; summary: SummaryRow | undefined } {
  const summary = sentFrom < 0 ? summaries.get(-sentFrom) : undefined;
  return summary?.text ? { from: summary.until + 1, summary } : { from: Math.max(0, sentFrom), summary: undefined };
}

/** @returns the message that stands in the place of what it summarizes, as JSON text */
export function summaryMessage(text: string): string {
  return JSON.stringify({ role: 'user', content: SUMMARY_PREFACE + text });
}

/** @returns the words of a summary; empty where there are none */
export function summaryWords({ text }: Pick<SummaryRow, 'text'>): string {
  const content = parseObject(text ?? '')?.content;
  return typeof content === 'string' ? content.slice(SUMMARY_PREFACE.length) : '';
}
