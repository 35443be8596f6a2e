/** Queries about the turns of a conversation. */

import { parseMessageRememberingInputs } from '../../../kit/json/input-texts.ts';
import { isObject, type JsonObject } from '../../../kit/json/object.ts';
import type { ToolCallStats } from '../../../money/contracts/settlement.ts';
import type { TurnRow, TurnStatus } from './rows.ts';
import { COMMITTED, NO_ANSWER, RECENT } from './tables.ts';
import type { Transcript } from './transcript.ts';

export function findTurnByNumber(transcript: Transcript, seq: number): TurnRow | undefined {
  return transcript.listTurns('seq = ?', seq).at(0);
}

/**
 * Looks for a turn from the newest to the oldest, because almost all are looked for soon after they have begun. An index would cost
 * each turn a row.
 */
function findFromNewest(transcript: Transcript, condition: string, binding: string): TurnRow | undefined {
  return transcript
    .listTurns(`seq = (select seq from turns where ${condition} order by seq desc limit 1)`, binding)
    .at(0);
}

export function findTurnById(transcript: Transcript, id: string): TurnRow | undefined {
  return findFromNewest(transcript, 'id = ?', id);
}

/** A turn that runs or has an answer. The same request attaches to it; any other turn it may try again. */
const ATTACHABLE = `status != 'failed' and not (status = 'interrupted' and exists (
  select 1 from messages where turn = turns.seq + (run is not null) and text = '${NO_ANSWER}'))`;

/** @returns the turn that a request began, if it is attachable. */
export function findTurnByRequestId(transcript: Transcript, requestId: string): TurnRow | undefined {
  return findFromNewest(transcript, `request_id = ? and ${ATTACHABLE} and (run is null or run = seq)`, requestId);
}

/** @returns the newest turn that was begun with an idempotency key, if it is attachable. */
export function findTurnByIdempotencyKey(transcript: Transcript, key: string): TurnRow | undefined {
  return transcript.listTurns(`key = ? and ${ATTACHABLE}`, key).at(-1);
}

/** @returns the newest turn as clients know it (for a step, its run), if it is attachable. */
export function findNewestVisibleTurn(transcript: Transcript): TurnRow | undefined {
  const newest = 'select coalesce(run, seq) from turns order by seq desc limit 1';
  return transcript.listTurns(`seq = (${newest}) and ${ATTACHABLE}`).at(0);
}

/** @returns whether the history has words of others: an import, a first turn that brought answers, or a system message. */
export function hasMessagesFromElsewhere(transcript: Transcript): boolean {
  const [first] = transcript.readAllRows(
    `select t.route = 'import' or exists (
       select 1 from messages where turn = t.seq and role != 'user'
       and seq < (select max(seq) from messages where turn = t.seq)) or exists (
       select 1 from messages where role = 'system') as has_others
     from turns t where t.seq = (select turn from messages order by seq limit 1)`,
  );
  return first?.has_others === 1;
}

/** @returns whether the last message of a turn is an answer with content. */
export function isAnswered(transcript: Transcript, turn: number): boolean {
  const [last] = transcript.readAllRows(
    'select role, text from messages where turn = ? order by seq desc limit 1',
    turn,
  );
  return last?.role === 'assistant' && last.text !== NO_ANSWER;
}

/** @returns the newest turn; with `statuses`, the newest one with such a status that has messages (in a run, a step). */
export function findNewestTurn(transcript: Transcript, statuses?: readonly TurnStatus[]): TurnRow | undefined {
  const newest = transcript.turnsAtWake?.newest;
  if (newest && (!statuses || (statuses.includes(newest.status) && newest.run !== newest.seq))) return newest;
  const among = statuses
    ? `status in (${statuses.map((status) => `'${status}'`).join(', ')}) and coalesce(run != seq, true)`
    : '1';
  return transcript.listTurns(`seq = (select seq from turns where ${among} order by seq desc limit 1)`).at(0);
}

/** @returns the turns whose settlement the account has not confirmed, including the running one. */
export function listUnsettledTurns(transcript: Transcript): TurnRow[] {
  const { turnsAtWake: sinceWake } = transcript;
  return sinceWake ? [...sinceWake.unsettled] : transcript.listTurns(`settled = 0 and ${RECENT}`);
}

/** Reads the unsettled turns, as `listUnsettledTurns` does, and the newest turn. A turn needs both when its object wakes. */
export function readTurnsAtWake(transcript: Transcript): TurnRow[] {
  const rows = transcript.listTurns(`${RECENT} and (settled = 0 or seq = (select max(seq) from turns))`);
  const unsettled = rows.filter(({ settled }) => !settled);
  transcript.storeTurnsAtWake({ newest: rows.at(-1), unsettled });
  return [...unsettled];
}

/** Failed turns, and turns with a log. The steps of a running run are excluded, because the run needs them. */
const EXPIRABLE = `(status = 'failed' or seq in (select turn from log))
  and not exists (select 1 from turns r where r.seq = turns.run and r.status = 'running')`;

/** Deletes the logs of the turns that ended by `endedBy`, and their rows if they are settled and failed. */
export function deleteExpired(transcript: Transcript, endedBy: number): void {
  const expired = `status != 'running' and ended_at <= ? and ${EXPIRABLE}`;
  transcript.runWriteStatement(`delete from log where turn in (select seq from turns where ${expired})`, endedBy);
  transcript.deleteTurns(`settled = 1 and status = 'failed' and ${expired}`, endedBy);
}

/**
 * @returns when the oldest turn ended that has failed or still has a log, and the newest that has failed; milliseconds since
 *   1970
 */
export function findExpirableTurnEndTimes(
  transcript: Transcript,
): { oldest: number | null; failed: number | null } | undefined {
  return transcript.readAllRows<{ oldest: number | null; failed: number | null }>(
    `select min(ended_at) as oldest, max(iif(status = 'failed', ended_at, null)) as failed from turns where ${EXPIRABLE}`,
  )[0];
}

/** @returns the tools whose results a turn has taken up: the tools that the answer before it has called. */
export function listToolsWithConsumedResults(
  transcript: Transcript,
  { seq, follows }: TurnRow,
): Record<string, ToolCallStats> | undefined {
  if (!follows) return undefined;
  const answered = transcript.queryNumber(
    `select seq from turns where seq < ? and status in ('complete', 'interrupted', 'stopped', 'empty')
       and coalesce(run != seq, true)
     order by seq desc limit 1`,
    seq,
  );
  return answered === undefined ? undefined : transcript.edgeCalls.countCalledTools(answered);
}

/** @returns the numbers of a turn's messages, in order. */
export function listMessageNumbersOfTurn(transcript: Transcript, turn: number): number[] {
  return transcript
    .readAllRows('select seq from messages where turn = ? order by seq', turn)
    .map(({ seq }) => Number(seq));
}

/** @returns how many turns and messages the history has. */
export function countTurnsAndMessages(transcript: Transcript): { turns: number; messages: number } {
  const [row] = transcript.readAllRows(
    `select count(distinct coalesce(t.run, t.seq)) as turns, count(m.seq) as messages
     from turns t join messages m on m.turn = t.seq where t.status in ${COMMITTED}`,
  );
  return { turns: Number(row?.turns ?? 0), messages: Number(row?.messages ?? 0) };
}

/** @returns the number of the last turn of the history; 0 if it has none. */
export function findLastCommittedTurnNumber(transcript: Transcript): number {
  return transcript.queryNumberOrZero(`select seq from turns where status in ${COMMITTED} order by seq desc limit 1`);
}

/** Reads the turns of the history up to a number, oldest first, some at a time. */
export function* readCommittedTurns(transcript: Transcript, until: number): Generator<TurnRow> {
  const some = `select seq from turns where status in ${COMMITTED} and seq > ? and seq <= ? order by seq limit 50`;
  let last: TurnRow | undefined;
  do {
    const turns = transcript.listTurns(`seq in (${some})`, last?.seq ?? 0, until);
    yield* turns;
    last = turns.at(-1);
  } while (last);
}

/** The size of a turn that is sent: the characters of its messages. */
export interface TurnSize {
  first: number;
  characters: number;
  /** Tokens of its prompt and answer, as the upstream reported them. */
  tokens: number | null;
  /** The first message that was sent in its prompt. */
  sentFrom: number;
  follows: boolean;
}

/** @returns the sizes of the turns that are sent, oldest first. */
export function listTurnSizes(transcript: Transcript): TurnSize[] {
  const rows = transcript.readAllRows(
    `select t.seq, t.follows, t.tokens, t.sent_from, min(m.seq) as first, sum(m.characters) as characters
     from turns t join messages m on m.turn = t.seq
     where t.status in ('complete', 'interrupted', 'stopped', 'empty') group by t.seq order by t.seq`,
  );
  return rows.map((row) => ({
    first: Number(row.first),
    characters: Number(row.characters),
    tokens: row.tokens === null ? null : Number(row.tokens),
    sentFrom: Number(row.sent_from),
    follows: row.follows === 1,
  }));
}

/** @returns the turns of a run: the turn that clients see, and its steps, oldest first. */
export function listTurnsOfRun(transcript: Transcript, run: number): TurnRow[] {
  return transcript.listTurns('run = ? and seq >= ?', run, run);
}

/** @returns the number of a run's first step in the history. That step has the question. */
export function findFirstStepOfRun(transcript: Transcript, run: number): number | undefined {
  const first = `select seq from turns where run = ? and seq > ? and status in ${COMMITTED} order by seq limit 1`;
  return transcript.queryNumber(first, run, run);
}

/** @returns the calls in the answer of a step, as they are shown: also those that are not sent. */
export function listToolCallsOfStep(transcript: Transcript, step: number): JsonObject[] {
  for (const { turn, role, text, shown } of transcript.messages.readMessages({ isBackwards: true })) {
    if (turn !== step) break;
    const { content } = parseMessageRememberingInputs(shown ?? text) ?? {};
    if (role === 'assistant' && Array.isArray(content)) {
      return content.filter(isObject).filter(({ type }) => type === 'tool_use');
    }
  }
  return [];
}

/** @returns why the conversation is paused; null while a turn may begin */
export function findConversationPauseReason(transcript: Transcript): 'approval' | null {
  return transcript.findFirstFromPlugins(({ paused }) => paused) ?? null;
}

/** @returns why the conversation, or else its newest run, is paused; null if neither is */
export function findReportedPauseReason(transcript: Transcript): string | null {
  const waiting = findConversationPauseReason(transcript);
  if (waiting !== null) return waiting;
  const newest = findNewestVisibleTurn(transcript);
  const reason = newest ? findTurnPauseReason(transcript, newest.seq) : null;
  // The conversation itself is not paused, so all its approvals are decided. The newest run may still have the stored reason
  // `approval`, which is outdated.
  return reason === 'approval' ? null : reason;
}

/** @returns why a turn has paused before its end; null if it has not, or if that is not known */
export function findTurnPauseReason(transcript: Transcript, turn: number): string | null {
  return transcript.findFirstFromPlugins((rows) => rows.pauseOf?.(turn)) ?? null;
}
