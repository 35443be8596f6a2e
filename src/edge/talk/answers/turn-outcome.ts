import { toUsd } from '../../claude/pricing/cost.ts';
import { isObject, parseObject } from '../../kit/json/object.ts';
import type { TurnOutcome } from '../contracts/conversation.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { turnAt } from '../storage/turn-queries.ts';
import { describeTurn } from './turn-report.ts';

/**
 * @returns the outcome of the newest turn with an idempotency key, together with the turns that went on with it after
 * approvals; undefined if there is no such turn
 */
export function outcomeOfTurn(transcript: Transcript, key: string): TurnOutcome | undefined {
  const turns = turnsGoingOn(transcript, key);
  const row = turns.pop();
  if (!row) return undefined;
  const { id: turn, status, paused, error, steps, ...last } = describeTurn(transcript, row);
  const cost_usd = toUsd(turns.reduce((sum, { cost }) => sum + cost, 0)) + last.cost_usd;
  const stop_reason = row.outcome?.stop_reason ?? steps.at(-1)?.stop_reason ?? null;
  return { turn, status, paused, stop_reason, text: status === 'running' ? '' : lastSaid(transcript), error, cost_usd };
}

/** @returns the newest turn with an idempotency key, followed by the turns that went on with it after approvals */
export function turnsGoingOn(transcript: Transcript, key: string): TurnRow[] {
  const turns: TurnRow[] = [];
  let next = transcript.turns('key = ?', key).at(-1);
  while (next) {
    turns.push(next);
    next = turnAfter(transcript, next);
  }
  return turns;
}

/** @returns the turn that goes on after the approvals of another one; undefined if there is none */
function turnAfter(transcript: Transcript, { seq }: TurnRow): TurnRow | undefined {
  const by = transcript.approvals.ofRun(seq).find(({ continuedBy }) => continuedBy !== null)?.continuedBy;
  // A run is continued only by a later one.
  return typeof by === 'number' && by > seq ? turnAt(transcript, by) : undefined;
}

/** @returns the text of the last answer in the history; empty if there is no answer */
function lastSaid(transcript: Transcript): string {
  for (const { role, text } of transcript.messages.texts({ backwards: true })) {
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
