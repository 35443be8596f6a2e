import type { TurnOutcome } from '../durable/contracts/conversation.ts';
import { isObject, parseObject } from '../json/object.ts';
import { toUsd } from '../pricing/cost.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { turnAt } from './storage/turn-queries.ts';
import { describeTurn } from './turn-account.ts';

/**
 * @returns what the newest turn with an idempotency key has come to, and those that went on with it once calls of it were
 * decided; undefined where there is none
 */
export function outcomeOfTurn(transcript: Transcript, key: string): TurnOutcome | undefined {
  let row = transcript.turns('key = ?', key).at(-1);
  if (!row) return undefined;
  let cost = 0;
  for (let next = turnAfter(transcript, row); next; next = turnAfter(transcript, row)) {
    cost += row.cost;
    row = next;
  }
  const { id: turn, status, paused, error, steps, ...last } = describeTurn(transcript, row);
  const cost_usd = toUsd(cost) + last.cost_usd;
  const stop_reason = row.outcome?.stop_reason ?? steps.at(-1)?.stop_reason ?? null;
  return { turn, status, paused, stop_reason, text: status === 'running' ? '' : lastSaid(transcript), error, cost_usd };
}

/** @returns the turn that goes on with one whose calls have waited for approval */
function turnAfter(transcript: Transcript, { seq }: TurnRow): TurnRow | undefined {
  const by = transcript.approvals.ofRun(seq).find(({ continuedBy }) => continuedBy !== null)?.continuedBy;
  return by === undefined || by === null ? undefined : turnAt(transcript, by);
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
