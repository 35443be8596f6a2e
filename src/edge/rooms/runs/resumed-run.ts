/** Finds, in what a crash has left of a run, where it goes on. */
import { isObject, type Json } from '../../kit/json/object.ts';
import { numberOfTry } from '../../money/admission/admission.ts';
import { EDGE } from '../../talk/contracts/edge-tools.ts';
import type { SpentSoFar } from '../../talk/conversations/stored-run.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { isAnswered, turnAt } from '../../talk/storage/turn-queries.ts';
import type { CrashedRun } from '../../talk/turn/crashed-run.ts';

/** A run that goes on after a crash. */
export interface ResumedRun extends Pick<CrashedRun, 'turn' | 'unknown'> {
  /** How many blocks were shown, and which of them were not ended. */
  blocks: number;
  open: number[];
  /** The ids of calls that were shown but never made, because their step was not stored. */
  unmade: string[];
  spent: SpentSoFar;
  /** The number of its last step, and the highest known number of a try. */
  number: number;
  tries: number;
  /** The last step whose answer is kept, whole or in part. */
  last: TurnRow | undefined;
  /** Whether the beginning of the message was shown. */
  hasBegun: boolean;
}

export function resumedRun(
  { turn, events, owed, steps, calls, spent: cost, unknown }: CrashedRun,
  transcript: Transcript,
): ResumedRun {
  const indicesOf = (type: string) => events.filter((event) => event.type === type).map(({ index }) => Number(index));
  const [started, ended] = [indicesOf('content_block_start'), indicesOf('content_block_stop')];
  const unmade = new Set(
    idsShown(events, ({ type, server_name, id }) => type === 'mcp_tool_use' && server_name === EDGE && id),
  );
  for (const id of idsShown(events, ({ type, tool_use_id }) => type === 'mcp_tool_result' && tool_use_id))
    unmade.delete(id);
  for (const { toolUseId } of owed) unmade.delete(toolUseId);
  for (const { id } of calls) unmade.delete(id);
  // Of a step that was interrupted only its question may be left. Then the next step answers that.
  const answers = steps.filter(
    ({ status, seq }) => status !== 'failed' && (status !== 'interrupted' || isAnswered(transcript, seq)),
  );
  const { continues } = turn;
  return {
    ...{ turn, unknown, blocks: started.length, unmade: [...unmade] },
    open: started.filter((index) => !ended.includes(index)),
    spent: { steps: answers.length, calls: calls.length, cost },
    number: Math.max(0, ...steps.map(({ id }) => Number(id.split('_').at(-1)))),
    tries: Math.max(0, ...steps.map(({ grant, requestId }) => numberOfTry(grant?.requestId ?? requestId))),
    last: answers.at(-1) ?? (continues === undefined ? undefined : turnAt(transcript, continues)),
    hasBegun: events.some(({ type }) => type === 'message_start'),
  };
}

/** @returns the ids of blocks in a log. @param idOf the id of a block; something else for blocks to leave out */
function idsShown(events: readonly Json[], idOf: (block: Json) => unknown): string[] {
  return events.flatMap(({ content_block: block }) => {
    const id = isObject(block) && idOf(block);
    return typeof id === 'string' ? [id] : [];
  });
}
