/** Makes the calls of a run, some at the same time, and stores and shows their results. */

import { GRACE_MS } from '../../conversations/history/storage/rows.ts';
import { newShare, reserveMemory } from '../../conversations/turn/reserve-memory.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { MemoryShare } from '../../kit/http/body-memory.ts';
import { type Json, toText } from '../../kit/json/object.ts';
import type { ToolRun } from '../../registry/tools/tool-kind.ts';
import { needsApproval } from './approvals/pending-calls.ts';
import type { BegunCall } from './call-rows.ts';
import { callTool } from './call-tool.ts';
import { findMisfit } from './find-misfit.ts';
import { calledKindOf } from './kinds.ts';
import type { RunBudget } from './limits.ts';
import type { PlannedCall } from './pauses.ts';
import type { RunContext } from './run-context.ts';
import { callRowsOf } from './run-rows.ts';
import type { RunStream } from './run-stream.ts';
import type { CalledKind, CallName, KindCalls } from './tool-kind.ts';
import {
  failedResult,
  MOST_STEP_BYTES,
  type ResultBytes,
  type ToolResult,
  toAcceptableResult,
  withNote,
} from './tool-result.ts';

/** What a run gives to those who make its calls. */
export interface CallingRun
  extends Pick<RunContext, 'transcript' | 'settings' | 'env' | 'account' | 'conversation' | 'caller' | 'now'> {
  /** The id of the run's turn. */
  turn: string;
  tools: ReadonlyMap<string, ToolRun>;
  /** The schemas of their inputs, by name. */
  schemas: ReadonlyMap<string, Json>;
  shown: RunStream;
  meter: RunBudget;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
  /** @returns whether it makes no further call, and only waits for those that it has made. */
  isOver(): boolean;
  /** Asks whether its credential still holds, where nobody would tell it. Never rejects. */
  checkCredential(): Promise<void>;
}

/** Characters of results that may wait in memory until the next write of the log. The rows of their calls have them too. */
const MOST_UNSTORED = 16_384;

const NOT_HOLDING = 'This tool was not called: the credential that began the run does not hold any more.';

/** Makes the calls of a run, step by step. */
export class RunCalls {
  readonly run: CallingRun;
  readonly #calls = new Map<CalledKind, KindCalls>();

  constructor(run: CallingRun) {
    this.run = run;
  }

  /** Makes the calls of a step. Never rejects. */
  async makeAll(calls: readonly PlannedCall[]): Promise<void> {
    const waiting = [...calls];
    const [first] = calls;
    // Some may already have a result from before a crash.
    const before = first
      ? callRowsOf(this.run.transcript)
          .callsOfTurn(first.turn)
          .reduce((sum, { bytes }) => sum + bytes, 0)
      : 0;
    const resultBytes = { left: MOST_STEP_BYTES - before };
    this.#reserveShares(calls);
    const work = async () => {
      for (let call = waiting.shift(); call; call = waiting.shift()) {
        await this.run.checkCredential();
        const beganAt = this.run.now();
        if (call.subagent) {
          call.subagent.conversation ??= await this.#kindOf(call)?.apart?.(this.#callName(call));
          callRowsOf(this.run.transcript).begin(toCallRow(call), beganAt);
        }
        const share = newShare();
        try {
          this.answer(call, withNote(await this.#make(call, resultBytes, share), call.note), beganAt);
        } finally {
          share.release();
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.run.meter.parallel, calls.length) }, work));
  }

  /**
   * Reserves a share of the run's money for each subagent of a step. What is left is divided by the number of subagents plus
   * one, so that the run itself can go on. A subagent that was begun before a crash keeps its share.
   */
  #reserveShares(calls: readonly PlannedCall[]): void {
    const { meter } = this.run;
    const subagents = calls.filter((call) => this.#kindOf(call)?.apart);
    const fresh = subagents.filter(({ subagent }) => subagent === undefined);
    const shares = subagents.reduce((sum, { subagent }) => sum + (subagent?.most ?? 0), 0);
    const left = meter.maxStepCost === undefined ? undefined : Math.max(0, meter.maxStepCost - shares);
    const most = left === undefined ? null : Math.floor(left / (fresh.length + 1));
    for (const call of fresh) call.subagent = { most, cost: 0, attempt: 1 };
  }

  #kindOf({ block }: PlannedCall): CalledKind | undefined {
    return calledKindOf(this.run.tools.get(toText(block.name)));
  }

  #callName({ block }: PlannedCall): CallName {
    const { conversation, turn } = this.run;
    return { conversation, turn, tool_use_id: toText(block.id) };
  }

  /** @returns whether a call waits until somebody has decided. */
  needsApproval({ block, isApproved = false }: PlannedCall): boolean {
    return !isApproved && needsApproval(this.run.tools.get(toText(block.name)), block.input);
  }

  async #make(planned: PlannedCall, resultBytes: ResultBytes, share: MemoryShare): Promise<ToolResult> {
    const { settings, account, conversation, turn, tools, meter, transcript, signal, now, isOver } = this.run;
    const { block, subagent } = planned;
    const { id, name, input } = block;
    const run = tools.get(toText(name));
    const kind = calledKindOf(run);
    // What works apart is called even after a stop: if it was begun before a crash, it has to be stopped.
    if (!run || !kind || (signal.aborted && !kind.apart)) return failedResult('stopped');
    const call = { tool_use_id: toText(id), name: toText(name), input, account, conversation, turn };
    const fetchTool = (url: string, init: RequestInit) => fetch(url, init);
    const leftMs = meter.remainingMs(now());
    const noteShare = () => callRowsOf(transcript).begin(toCallRow(planned), now());
    const isAgain = planned.tries > 1;
    // A subagent that was begun before ends by itself, and what it has cost counts.
    if (isOver() && !(kind.apart && isAgain)) return failedResult(NOT_HOLDING);
    const isLate = isAgain && (planned.idleMs ?? 0) >= GRACE_MS;
    const options = {
      settings,
      fetch: fetchTool,
      now: now(),
      leftMs,
      signal,
      resultBytes,
      hold: (bytes: number) => reserveMemory(share, bytes, meter.remainingMs(now()), this.run),
      apart: subagent && { share: subagent, noteShare, isAgain, isLate },
    };
    const fault = kind.checksInput ? findMisfit(input, this.run.schemas.get(toText(name))) : undefined;
    if (fault !== undefined) return failedResult(fault);
    const calls = getOrCreate(this.#calls, kind, () => kind.callsOf(this.run));
    return await callTool(call, run, options, calls);
  }

  /** Closes what was opened for the calls. */
  close(): void {
    for (const calls of this.#calls.values()) calls.close?.();
  }

  /** Stores a call's result, and shows it. */
  answer(call: PlannedCall, outcome: ToolResult, beganAt = this.run.now()): void {
    const { transcript, shown, meter, now } = this.run;
    const result = toAcceptableResult(outcome);
    const { content, isError, bytes, cost = 0 } = result;
    const { id, subagent, ...row } = toCallRow(call);
    meter.addSubagent(cost);
    const block = { type: 'tool_result', tool_use_id: id, content, ...(isError ? { is_error: true } : {}) };
    const event = shown.isExpected(id) ? shown.log.events + 1 : null;
    callRowsOf(transcript).end({
      ...row,
      id,
      beganAt,
      endedAt: now(),
      isError,
      bytes,
      event,
      ...(subagent ? { subagent: { ...subagent, cost } } : {}),
      result: JSON.stringify(block),
    });
    shown.showResult(id, result);
    // The call's row already has what is shown here, so the log can be written later.
    if (shown.log.unstoredCharacters > MOST_UNSTORED) shown.log.store({ at: now(), unseenMs: 0 });
    else shown.log.show();
  }
}

function toCallRow({ turn, n, block, tries, subagent }: PlannedCall): BegunCall {
  return { turn, n, id: toText(block.id), name: toText(block.name), tries, subagent };
}
