/**
 * Writes the history as clients see it, as JSON. The steps of a run are one row, with the edge's calls as they were shown.
 */

import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { splitItems } from '../../kit/json/edit.ts';
import { parseBlockText } from '../../kit/json/input-texts.ts';
import { parseObject, toText } from '../../kit/json/object.ts';
import { writeJson } from '../../kit/json/remembered-text.ts';
import type { EdgeCall } from '../history/storage/plugin-rows.ts';
import type { MessageOutline, MessageRow, TurnStatus } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { firstStepOf, turnAt, turnPauseReason } from '../history/storage/turn-queries.ts';
import { shownCall, shownResult } from './edge-blocks.ts';
import { contentOf, type MessageHead, messageText, readRows, splitAroundContent } from './message-json.ts';
import { hiddenBlock, type Viewer } from './redact-for.ts';

/** A shown row: one message, or the messages `from` … `to` of a run's answer. */
export interface ShownRange {
  from: number;
  to: number;
  id: string;
  run: number | null;
}

interface RangeQuery {
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
export function shownRanges(
  transcript: Transcript,
  cursor: number | undefined,
  query: RangeQuery,
  calls: ReadonlySet<string> = transcript.calls.ids,
): ShownRange[] {
  const ranges: ShownRange[] = [];
  for (const range of readRanges(transcript, cursor, query, calls)) {
    // The search begins with the cursor itself, which may be in the middle of an answer.
    if (cursor !== undefined && range.from <= cursor && cursor <= range.to) continue;
    ranges.push(range);
    if (ranges.length >= query.limit) break;
  }
  return ranges;
}

function* readRanges(
  transcript: Transcript,
  cursor: number | undefined,
  { isBackwards, pending }: RangeQuery,
  ids: ReadonlySet<string>,
): Generator<ShownRange> {
  const range = cursor === undefined ? {} : isBackwards ? { to: cursor } : { from: cursor };
  const rows = transcript.messages.outlines({ ...range, isBackwards, pending });
  const behind = isBackwards ? transcript.messages.turnAfter(cursor ?? Number.MAX_SAFE_INTEGER) : undefined;
  const runs = new Map<number, { first: number | undefined; status: TurnStatus | undefined }>();
  let answer: ShownRange | undefined;
  for (const { row, next } of isBackwards ? pairBackwards(rows, behind) : pairForwards(rows)) {
    const { seq, id, turn, role, run } = row;
    const runOf =
      run === null
        ? undefined
        : getOrCreate(runs, run, () => ({
            first: firstStepOf(transcript, run),
            status: transcript.statusOf(run),
          }));
    // The first step also has the question, and may have a whole imported history.
    const isAnswer =
      runOf?.first !== undefined && (turn !== runOf.first || (role === 'assistant' && turn !== next?.turn));
    if (answer && !(isAnswer && answer.run === run)) {
      yield answer;
      answer = undefined;
    }
    // An unfinished answer is not shown here, as in any other turn.
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

type PairedOutlines = Generator<{ row: MessageOutline; next: { turn: number } | undefined }>;

/** @returns each message with the one after it. */
function* pairForwards(rows: Iterable<MessageOutline>): PairedOutlines {
  let row: MessageOutline | undefined;
  for (const next of rows) {
    if (row) yield { row, next };
    row = next;
  }
  if (row) yield { row, next: undefined };
}

/** @returns the same in the reverse order. @param turn the turn of the message after the last one */
function* pairBackwards(rows: Iterable<MessageOutline>, turn: number | undefined): PairedOutlines {
  let next = turn === undefined ? undefined : { turn };
  for (const row of rows) {
    yield { row, next };
    next = row;
  }
}

/** @returns whether a message has only results of the edge's calls, and nothing that the user has sent. */
function hasOnlyEdgeResults({ role, text }: MessageOutline, calls: ReadonlySet<string>): boolean {
  if (role !== 'user' || calls.size === 0) return false;
  const content = contentOf({ text: text() });
  return content.includes('"tool_result"') && ownBlocks(content, calls).length === 0;
}

/** @returns the blocks of a user's content without the results of some calls, as JSON texts */
function ownBlocks(content: string, calls: ReadonlySet<string>): string[] {
  return splitItems(content).filter((text) => !calls.has(answeredCallId(text) ?? ''));
}

function answeredCallId(text: string): string | undefined {
  if (!text.includes('"tool_result"')) return undefined;
  const { type, tool_use_id } = parseObject(text) ?? {};
  return type === 'tool_result' ? toText(tool_use_id) : undefined;
}

/**
 * Writes a row as JSON text, in pieces, since an answer of many steps may be long. Writes nothing if the row was deleted.
 *
 * @param of.calls the ids of the calls that the edge has made
 * @param of.rows reads the message of this row, and later those of the next ones
 */
export function* rowText(
  transcript: Transcript,
  range: ShownRange,
  options: { pending: boolean; calls: ReadonlySet<string>; viewer: Viewer; rows: Iterator<MessageRow> | undefined },
): Generator<string> {
  const { pending, calls, viewer, rows = readRows(transcript, range.from, range.to, pending) } = options;
  if (range.run !== null) {
    yield* answerText(transcript, range, range.run, viewer);
    return;
  }
  for (const row of readRow(rows, range.from)) {
    const status = row.run === null ? row.status : (transcript.statusOf(row.run) ?? row.status);
    const content = contentOf(row);
    const isOfUser = row.role === 'user';
    const isChanged =
      content.startsWith('[') && (isOfUser ? content.includes('"tool_result"') : viewer.shouldHideTools);
    const blocksOf = () => (isOfUser ? ownBlocks(content, calls) : splitItems(content).map(hiddenText));
    yield messageText(
      { ...row, status, ...hiddenFieldsFor(viewer) },
      isChanged ? `[${blocksOf().join(',')}]` : content,
    );
  }
}

/** Reads on to a message. Those before it are not shown: they have only results of the edge. */
function* readRow(rows: Iterator<MessageRow>, seq: number): Generator<MessageRow> {
  for (let { value, done } = rows.next(); !done; { value, done } = rows.next()) {
    if (value.seq < seq) continue;
    // One that was deleted meanwhile is nowhere.
    if (value.seq === seq) yield value;
    return;
  }
}

function* answerText(
  transcript: Transcript,
  { from, to, id }: ShownRange,
  run: number,
  viewer: Viewer,
): Generator<string> {
  const turn = turnAt(transcript, run);
  if (!turn) return;
  const { beganAt, endedAt } = turn;
  const paused = turnPauseReason(transcript, run);
  const head = { ...turn, id, role: 'assistant', createdAt: endedAt ?? beganAt, turnId: turn.id, paused };
  const { before, after } = splitAroundContent({ ...head, ...hiddenFieldsFor(viewer) });
  yield `${before}[`;
  let between = '';
  for (const block of answerBlocks(transcript, from, to, turn.status === 'refused')) {
    yield between + (viewer.shouldHideTools ? hiddenText(block) : block);
    between = ',';
  }
  yield `]${after}`;
}

/** @returns the members of a message that its viewer is not told */
export function hiddenFieldsFor({ isBound }: Viewer): Partial<Pick<MessageHead, 'notes'>> {
  return isBound ? { notes: null } : {};
}

/** @param isRefused whether all of it is; of another answer, steps that the model has refused are left out: it has gone on without them */
function* answerBlocks(transcript: Transcript, from: number, to: number, isRefused: boolean): Generator<string> {
  /** The calls of the last step whose results have not been shown. */
  let open: readonly EdgeCall[] = [];
  for (const row of readRows(transcript, from, to)) {
    if (row.status === 'refused' && !isRefused) continue;
    if (row.role === 'assistant') {
      yield* resultTexts(open, pendingResults(transcript, open));
      open = transcript.calls.of(row.turn);
      yield* stepTexts(row, new Set(open.map(({ id }) => id)));
    } else {
      const results = splitItems(contentOf(row)).map((text) => [answeredCallId(text) ?? '', text] as const);
      yield* resultTexts(open, new Map(results));
      open = [];
    }
  }
  yield* resultTexts(open, pendingResults(transcript, open));
}

function hiddenText(block: string): string {
  const value = parseObject(block) ?? {};
  const shown = hiddenBlock(value);
  return shown === value ? block : JSON.stringify(shown);
}

/** @returns the results that have not gone up yet. They are in the rows of their calls. */
function pendingResults(transcript: Transcript, [call]: readonly EdgeCall[]): ReadonlyMap<string, string> {
  return call ? transcript.calls.results(call.turn) : new Map();
}

function stepTexts(row: MessageRow, calls: ReadonlySet<string>): string[] {
  return splitItems(contentOf(row)).map((text) => {
    if (calls.size === 0 || !text.includes('"tool_use"')) return text;
    const block = parseBlockText(text) ?? {};
    return block.type === 'tool_use' && calls.has(toText(block.id)) ? writeJson(shownCall(block)) : text;
  });
}

/** @returns results as they were shown, in the order in which they came. */
function resultTexts(calls: readonly EdgeCall[], results: ReadonlyMap<string, string>): string[] {
  const inOrder = calls.toSorted((one, other) => (one.endedAt ?? 0) - (other.endedAt ?? 0));
  return inOrder.flatMap(({ id }) => {
    const result = parseObject(results.get(id) ?? '');
    return result ? JSON.stringify(shownResult(id, result.content, result.is_error === true)) : [];
  });
}
