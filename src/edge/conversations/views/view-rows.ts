/**
 * Writes the history as clients see it, as JSON. The steps of a run are one row, with the edge's calls as they were shown.
 */

import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { splitArrayItems } from '../../kit/json/edit.ts';
import { parseBlockRememberingInput } from '../../kit/json/input-texts.ts';
import { parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { EdgeCall } from '../history/storage/plugin-rows.ts';
import type { MessageOutline, MessageRow, TurnStatus } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { findFirstStepOfRun, findTurnByNumber, findTurnPauseReason } from '../history/storage/turn-queries.ts';
import { toShownCall, toShownResult } from './edge-blocks.ts';
import {
  formatMessageJson,
  getShownContent,
  type MessageFieldsWithoutContent,
  readMessageRows,
  splitAroundContent,
} from './message-json.ts';
import { redactBlock, type ViewerVisibility } from './redact-for.ts';

/** A shown row: one message, or the messages `from` … `to` of a run's answer. */
export interface ShownMessageRange {
  from: number;
  to: number;
  id: string;
  run: number | null;
}

interface ShownRangeQuery {
  isBackwards: boolean;
  /** Adds the user's messages of the running turn. */
  pending: boolean;
  limit: number;
}

/**
 * Finds the rows that are shown after a message, or before it.
 *
 * @param cursor the number of any stored message; undefined for the beginning
 * @param calls ids of all of the edge's calls
 */
export function findShownRanges(
  transcript: Transcript,
  cursor: number | undefined,
  query: ShownRangeQuery,
  calls: ReadonlySet<string> = transcript.edgeCalls.ids,
): ShownMessageRange[] {
  const ranges: ShownMessageRange[] = [];
  for (const range of iterateShownRanges(transcript, cursor, query, calls)) {
    // Skip the answer or message that contains the cursor: the search begins at the cursor, which may be in the middle of an
    // answer.
    if (cursor !== undefined && range.from <= cursor && cursor <= range.to) continue;
    ranges.push(range);
    if (ranges.length >= query.limit) break;
  }
  return ranges;
}

function* iterateShownRanges(
  transcript: Transcript,
  cursor: number | undefined,
  { isBackwards, pending }: ShownRangeQuery,
  ids: ReadonlySet<string>,
): Generator<ShownMessageRange> {
  const range = cursor === undefined ? {} : isBackwards ? { to: cursor } : { from: cursor };
  const rows = transcript.messages.readMessageOutlines({ ...range, isBackwards, pending });
  const behind = isBackwards ? transcript.messages.findTurnOfNextMessage(cursor ?? Number.MAX_SAFE_INTEGER) : undefined;
  const runs = new Map<number, { first: number | undefined; status: TurnStatus | undefined }>();
  let answer: ShownMessageRange | undefined;
  for (const { row, next } of isBackwards ? pairWithNextMessageBackwards(rows, behind) : pairWithNextMessage(rows)) {
    const { seq, id, turn, role, run } = row;
    const runOf =
      run === null
        ? undefined
        : getOrCreate(runs, run, () => ({
            first: findFirstStepOfRun(transcript, run),
            status: transcript.getTurnStatus(run),
          }));
    // A run's answer begins in its first step. There, only the last assistant message belongs to the answer, because the step
    // also contains the question and maybe an imported history.
    const isAnswer =
      runOf?.first !== undefined && (turn !== runOf.first || (role === 'assistant' && turn !== next?.turn));
    if (answer && !(isAnswer && answer.run === run)) {
      yield answer;
      answer = undefined;
    }
    // Skip the answer of a run that is still running, as for any running turn.
    if (runOf?.status === 'running' && (isAnswer || !pending)) continue;
    if (isAnswer)
      answer = {
        from: Math.min(seq, answer?.from ?? seq),
        to: Math.max(seq, answer?.to ?? seq),
        run,
        id: isBackwards ? id : (answer?.id ?? id),
      };
    else if (!hasOnlyEdgeResults(row, ids)) yield { from: seq, to: seq, id, run: null };
  }
  if (answer) yield answer;
}

type PairedMessageOutlines = Generator<{ row: MessageOutline; next: { turn: number } | undefined }>;

/** @returns each message with the one after it. */
function* pairWithNextMessage(rows: Iterable<MessageOutline>): PairedMessageOutlines {
  let row: MessageOutline | undefined;
  for (const next of rows) {
    if (row) yield { row, next };
    row = next;
  }
  if (row) yield { row, next: undefined };
}

/** @returns the same in the reverse order. @param turn the turn of the message after the last one */
function* pairWithNextMessageBackwards(
  rows: Iterable<MessageOutline>,
  turn: number | undefined,
): PairedMessageOutlines {
  let next = turn === undefined ? undefined : { turn };
  for (const row of rows) {
    yield { row, next };
    next = row;
  }
}

/** @returns whether a message has only results of the edge's calls, and nothing that the user has sent. */
function hasOnlyEdgeResults({ role, readUserText: text }: MessageOutline, calls: ReadonlySet<string>): boolean {
  if (role !== 'user' || calls.size === 0) return false;
  const content = getShownContent({ text: text() });
  return content.includes('"tool_result"') && removeResultsOfCalls(content, calls).length === 0;
}

/** @returns the blocks of a user's content without the results of some calls, as JSON texts */
function removeResultsOfCalls(content: string, calls: ReadonlySet<string>): string[] {
  return splitArrayItems(content).filter((text) => !calls.has(parseAnsweredCallId(text) ?? ''));
}

function parseAnsweredCallId(text: string): string | undefined {
  if (!text.includes('"tool_result"')) return undefined;
  const { type, tool_use_id } = parseJsonObject(text) ?? {};
  return type === 'tool_result' ? toJsonText(tool_use_id) : undefined;
}

/**
 * Writes a row as JSON text, in pieces, since an answer of many steps may be long. Writes nothing if the row was deleted.
 *
 * @param of.calls the ids of the calls that the edge has made
 * @param of.rows reads the message of this row, and later those of the next ones
 */
export function* formatShownRow(
  transcript: Transcript,
  range: ShownMessageRange,
  options: {
    pending: boolean;
    calls: ReadonlySet<string>;
    viewer: ViewerVisibility;
    rows: Iterator<MessageRow> | undefined;
  },
): Generator<string> {
  const { pending, calls, viewer, rows = readMessageRows(transcript, range.from, range.to, pending) } = options;
  if (range.run !== null) {
    yield* formatRunAnswer(transcript, range, range.run, viewer);
    return;
  }
  for (const row of readRowAt(rows, range.from)) {
    const status = row.run === null ? row.status : (transcript.getTurnStatus(row.run) ?? row.status);
    const content = getShownContent(row);
    const isOfUser = row.role === 'user';
    const isChanged =
      content.startsWith('[') && (isOfUser ? content.includes('"tool_result"') : viewer.shouldHideTools);
    const selectShownBlocks = () =>
      isOfUser ? removeResultsOfCalls(content, calls) : splitArrayItems(content).map(redactBlockText);
    yield formatMessageJson(
      { ...row, status, ...getHiddenFields(viewer) },
      isChanged ? `[${selectShownBlocks().join(',')}]` : content,
    );
  }
}

/** Reads on to a message. Those before it are not shown: they have only results of the edge. */
function* readRowAt(rows: Iterator<MessageRow>, seq: number): Generator<MessageRow> {
  for (let { value, done } = rows.next(); !done; { value, done } = rows.next()) {
    if (value.seq < seq) continue;
    // If the message was deleted in the meantime, yield nothing.
    if (value.seq === seq) yield value;
    return;
  }
}

function* formatRunAnswer(
  transcript: Transcript,
  { from, to, id }: ShownMessageRange,
  run: number,
  viewer: ViewerVisibility,
): Generator<string> {
  const turn = findTurnByNumber(transcript, run);
  if (!turn) return;
  const { beganAt, endedAt } = turn;
  const paused = findTurnPauseReason(transcript, run);
  const head = { ...turn, id, role: 'assistant', createdAt: endedAt ?? beganAt, turnId: turn.id, paused };
  const { before, after } = splitAroundContent({ ...head, ...getHiddenFields(viewer) });
  yield `${before}[`;
  let between = '';
  for (const block of iterateAnswerBlocks(transcript, from, to, turn.status === 'refused')) {
    yield between + (viewer.shouldHideTools ? redactBlockText(block) : block);
    between = ',';
  }
  yield `]${after}`;
}

/** @returns the members of a message that its viewer may not see */
export function getHiddenFields({
  isRestricted,
}: ViewerVisibility): Partial<Pick<MessageFieldsWithoutContent, 'notes'>> {
  return isRestricted ? { notes: null } : {};
}

/** @param isRefused whether the whole answer was refused. In other answers, steps that the model has refused are left out */
function* iterateAnswerBlocks(transcript: Transcript, from: number, to: number, isRefused: boolean): Generator<string> {
  /** The calls of the last step whose results have not been shown. */
  let open: readonly EdgeCall[] = [];
  for (const row of readMessageRows(transcript, from, to)) {
    if (row.status === 'refused' && !isRefused) continue;
    if (row.role === 'assistant') {
      yield* formatResultsInOrder(open, readPendingResults(transcript, open));
      open = transcript.edgeCalls.listCallsOfTurn(row.turn);
      yield* formatStepBlocks(row, new Set(open.map(({ id }) => id)));
    } else {
      const results = splitArrayItems(getShownContent(row)).map(
        (text) => [parseAnsweredCallId(text) ?? '', text] as const,
      );
      yield* formatResultsInOrder(open, new Map(results));
      open = [];
    }
  }
  yield* formatResultsInOrder(open, readPendingResults(transcript, open));
}

function redactBlockText(block: string): string {
  const value = parseJsonObject(block) ?? {};
  const shown = redactBlock(value);
  return shown === value ? block : JSON.stringify(shown);
}

/** @returns the results that have not gone up yet. They are in the rows of their calls. */
function readPendingResults(transcript: Transcript, [call]: readonly EdgeCall[]): ReadonlyMap<string, string> {
  return call ? transcript.edgeCalls.readResultsOfTurn(call.turn) : new Map();
}

function formatStepBlocks(row: MessageRow, calls: ReadonlySet<string>): string[] {
  return splitArrayItems(getShownContent(row)).map((text) => {
    if (calls.size === 0 || !text.includes('"tool_use"')) return text;
    const block = parseBlockRememberingInput(text) ?? {};
    return block.type === 'tool_use' && calls.has(toJsonText(block.id))
      ? stringifyWithRememberedTexts(toShownCall(block))
      : text;
  });
}

/** @returns results as they were shown, in the order in which they came. */
function formatResultsInOrder(calls: readonly EdgeCall[], results: ReadonlyMap<string, string>): string[] {
  const inOrder = calls.toSorted((one, other) => (one.endedAt ?? 0) - (other.endedAt ?? 0));
  return inOrder.flatMap(({ id }) => {
    const result = parseJsonObject(results.get(id) ?? '');
    return result ? JSON.stringify(toShownResult(id, result.content, result.is_error === true)) : [];
  });
}
