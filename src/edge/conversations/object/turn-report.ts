import { toUsd } from '../../claude/pricing/cost.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import type * as z from '../../kit/http/zod.ts';
import { parseMessageRememberingInputs } from '../../kit/json/input-texts.ts';
import { isObject, parseJsonObject, removeUndefined, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import {
  findTurnById,
  findTurnByNumber,
  findTurnPauseReason,
  listMessageNumbersOfTurn,
  listTurnsOfRun,
} from '../history/storage/turn-queries.ts';
import { parseErrorEvent } from '../turn/turn-ending.ts';
import type { RpcResult, RpcText, TurnOutcome } from './contract.ts';
import type { turnReport } from './conversations-answers.schema.ts';
import { createTurnNotFoundResult, toRpcText } from './rpc-response.ts';

/** @returns what a turn did, as JSON text: its steps, and the calls of each */
export function findTurnReport(transcript: Transcript, id: string): RpcResult<RpcText> {
  const row = findTurnById(transcript, id);
  // Reports exist only for whole runs: clients know the id of a run, but not the ids of its steps.
  if (!row || (row.run ?? row.seq) !== row.seq) return createTurnNotFoundResult(id);
  return { ok: true, value: toRpcText(stringifyWithRememberedTexts(describeTurn(transcript, row))) };
}

/** Describes what a turn did. A turn that is not a run is shown as one step. */
export function describeTurn(transcript: Transcript, row: TurnRow): z.output<typeof turnReport> {
  const { id, status, beganAt, endedAt, cost, run, seq } = row;
  const steps = run === null ? [row] : listTurnsOfRun(transcript, seq).slice(1);
  const before = run === seq ? transcript.findFirstFromPlugins((rows) => rows.before?.(seq)) : undefined;
  return {
    type: 'turn',
    id,
    continues: before === undefined ? null : (findTurnByNumber(transcript, before)?.id ?? null),
    conversation: transcript.storedProfile?.id ?? '',
    status: toReportedStatus(status),
    paused: run === seq ? findTurnPauseReason(transcript, seq) : null,
    error: status === 'failed' || status === 'interrupted' ? findTurnError(transcript, row) : null,
    began_at: new Date(beganAt).toISOString(),
    ended_at: toIsoTimeOrNull(endedAt),
    cost_usd: toUsd(endedAt === null ? steps.reduce((sum, step) => sum + step.cost, 0) : cost),
    steps: steps.map((step) => describeStep(transcript, step)),
  };
}

/** @returns the error that a turn has ended with; null if there was none, or its events are deleted already */
function findTurnError(transcript: Transcript, row: TurnRow): { type: string; message: string } | null {
  const { text } = transcript.log.readLog(row);
  const [, data] =
    /\nevent: error\ndata: (.*)\n/.exec(text.slice(Math.max(0, text.lastIndexOf('\nevent: error\n')))) ?? [];
  return data === undefined ? null : parseErrorEvent(data);
}

function describeStep(transcript: Transcript, { seq, status, model, cost, outcome, grant, requestId, run }: TurnRow) {
  return {
    request_id: grant?.requestId ?? requestId,
    status: toReportedStatus(status),
    model,
    stop_reason: outcome?.stop_reason ?? null,
    ...removeUndefined({ lowered_by: outcome?.lowered_by }),
    usage: outcome?.usage ? { ...outcome.usage } : null,
    cost_usd: toUsd(cost),
    ttft_ms: outcome?.ttft_ms ?? null,
    calls:
      run === null ? [] : transcript.edgeCalls.describeCallsOfTurn(seq, (step) => readToolInputs(transcript, step)),
  };
}

/** @returns the inputs of a step's calls, by the ids of the calls */
export function readToolInputs(transcript: Transcript, step: number): Map<string, unknown> {
  const inputs = new Map<string, unknown>();
  for (const seq of listMessageNumbersOfTurn(transcript, step)) {
    for (const { role, text, shown } of transcript.messages.readMessages({ from: seq, to: seq })) {
      const { content } = role === 'assistant' ? (parseMessageRememberingInputs(shown ?? text) ?? {}) : {};
      for (const { type, id, input } of Array.isArray(content) ? content.filter(isObject) : []) {
        if (type === 'tool_use') inputs.set(toJsonText(id), input);
      }
    }
  }
  return inputs;
}

function toReportedStatus(status: TurnRow['status']): Exclude<TurnRow['status'], 'empty'> {
  return status === 'empty' ? 'complete' : status;
}

/**
 * @returns the outcome of the newest turn with an idempotency key, including the turns that continued it after approvals;
 *   undefined if there is no such turn
 */
export function findTurnOutcome(transcript: Transcript, key: string): TurnOutcome | undefined {
  const turns = listTurnWithContinuations(transcript, key);
  const row = turns.pop();
  if (!row) return undefined;
  const { id: turn, status, paused, error, steps, ...last } = describeTurn(transcript, row);
  const cost_usd = toUsd(turns.reduce((sum, { cost }) => sum + cost, 0)) + last.cost_usd;
  const stop_reason = row.outcome?.stop_reason ?? steps.at(-1)?.stop_reason ?? null;
  return {
    turn,
    status,
    paused,
    stop_reason,
    text: status === 'running' ? '' : readLastAnswerText(transcript),
    error,
    cost_usd,
  };
}

/** @returns the newest turn with an idempotency key, followed by the turns that continued it after approvals */
export function listTurnWithContinuations(transcript: Transcript, key: string): TurnRow[] {
  const turns: TurnRow[] = [];
  let next = transcript.listTurns('key = ?', key).at(-1);
  while (next) {
    turns.push(next);
    next = findContinuation(transcript, next);
  }
  return turns;
}

/** @returns the turn that continues another one after its approvals; undefined if there is none */
function findContinuation(transcript: Transcript, { seq }: TurnRow): TurnRow | undefined {
  const by = transcript.findFirstFromPlugins((rows) => rows.after?.(seq));
  // Ignore an earlier turn: a run can only be continued by a later one.
  return typeof by === 'number' && by > seq ? findTurnByNumber(transcript, by) : undefined;
}

/** @returns the text of the last answer in the history; empty if there is no answer */
function readLastAnswerText(transcript: Transcript): string {
  for (const { role, text } of transcript.messages.readMessageTexts({ isBackwards: true })) {
    if (role !== 'assistant') continue;
    const { content } = parseJsonObject(text) ?? {};
    if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
    return content
      .filter(isObject)
      .map(({ text: words }) => (typeof words === 'string' ? words : ''))
      .join('');
  }
  return '';
}
