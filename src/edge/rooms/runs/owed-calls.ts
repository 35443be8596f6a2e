import { writeJson } from '../../kit/json/kept-text.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { toolsAskedIn } from '../../talk/storage/turn-queries.ts';
import type { RunTurn } from '../../talk/turn/run-turn.ts';
import type { ShownRun } from './shown-run.ts';

/**
 * Shows the open calls of the client's tools from the paused run, because a client that follows only this run must answer
 * them.
 */
export function showClientCalls(turn: RunTurn, transcript: Transcript, shown: ShownRun): void {
  if (turn.continues === undefined || turn.isCommitted) return;
  for (const block of toolsAskedIn(transcript, turn.continues)) {
    if (shown.isOfEdge(block)) continue;
    const index = shown.takeIndex();
    shown.add('content_block_start', { index, content_block: { ...block, input: {} } });
    const delta = { type: 'input_json_delta', partial_json: writeJson(block.input) };
    shown.add('content_block_delta', { index, delta });
    shown.add('content_block_stop', { index });
  }
}
