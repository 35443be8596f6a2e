import type { TurnOutcome } from '../durable/contracts/conversation.ts';
import { isObject, parseObject } from '../json/object.ts';
import type { Transcript } from './storage/transcript.ts';
import { describeTurn } from './turn-account.ts';

/** @returns what the newest turn with an idempotency key has come to; undefined where there is none */
export function outcomeOfTurn(transcript: Transcript, key: string): TurnOutcome | undefined {
  const row = transcript.turns('key = ?', key).at(-1);
  if (!row) return undefined;
  const { id: turn, status, paused, error, cost_usd, steps } = describeTurn(transcript, row);
  const stop_reason = row.outcome?.stop_reason ?? steps.at(-1)?.stop_reason ?? null;
  return { turn, status, paused, stop_reason, text: status === 'running' ? '' : lastSaid(transcript), error, cost_usd };
}

/** @returns the text of the last answer in the history; empty where there is none */
function lastSaid(transcript: Transcript): string {
  for (const { role, text } of transcript.texts({ backwards: true })) {
    if (role !== 'assistant') continue;
    const { content } = parseObject(text) ?? {};
    if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
    return content
      .filter(isObject)
      .map(({ text: said }) => (typeof said === 'string' ? said : ''))
      .join('');
  }
  return '';
}
