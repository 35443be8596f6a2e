/** Makes the calls of a run, some at the same time, and stores and shows their results. */

import { GRACE_MS } from '../../conversations/history/storage/rows.ts';
import { createMemoryShare, waitForMemory } from '../../conversations/turn/reserve-memory.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { BodyMemoryShare } from '../../kit/http/body-memory.ts';
import { type JsonObject, toJsonText } from '../../kit/json/object.ts';
import type { ToolRunConfig } from '../../registry/tools/tool-kind.ts';
import { doesCallNeedApproval } from './approvals/pending-calls.ts';
import type { StartedToolCall } from './call-rows.ts';
import { callTool } from './call-tool.ts';
import { findInputMismatch } from './find-misfit.ts';
import { getCallableToolKind } from './kinds.ts';
import type { RunBudget } from './limits.ts';
import type { PlannedCall } from './pauses.ts';
import type { RunContext } from './run-context.ts';
import { getCallRows } from './run-rows.ts';
import type { RunStream } from './run-stream.ts';
import type { CallableToolKind, ToolCallKey, ToolKindCaller } from './tool-kind.ts';
import {
  createFailedResult,
  MOST_STEP_BYTES,
  prependNoteToResult,
  type RemainingResultBytes,
  type ToolResult,
  toAcceptableResult,
} from './tool-result.ts';

/** The part of a run that its calls need. */
export interface RunCallsContext
  extends Pick<RunContext, 'transcript' | 'settings' | 'env' | 'account' | 'conversation' | 'request' | 'now'> {
  /** The id of the run's turn. */
  turn: string;
  tools: ReadonlyMap<string, ToolRunConfig>;
  /** The schemas of their inputs, by name. */
  schemas: ReadonlyMap<string, JsonObject>;
  shown: RunStream;
  meter: RunBudget;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
  /** @returns whether it makes no further call, and only waits for those that it has made. */
  shouldMakeNoMoreCalls(): boolean;
  /** Checks the run's credential if the account would not report its revocation. Never rejects. */
  endRunIfCredentialRevoked(): Promise<void>;
}

/** Characters of results that may wait in memory until the next write of the log. The rows of their calls have them too. */
const MOST_UNSTORED = 16_384;

const NOT_HOLDING = 'This tool was not called, because the credential that started the run is no longer valid.';

/** Makes the calls of a run, step by step. */
export class RunToolCaller {
  readonly run: RunCallsContext;
  readonly #calls = new Map<CallableToolKind, ToolKindCaller>();

  constructor(run: RunCallsContext) {
    this.run = run;
  }

  /** Makes the calls of a step. Never rejects. */
  async callToolsOfStep(calls: readonly PlannedCall[]): Promise<void> {
    const waiting = [...calls];
    const [first] = calls;
    // Calls of this step may have stored results before a crash. Subtract their bytes from the step's limit.
    const before = first
      ? getCallRows(this.run.transcript)
          .listCallsOfStep(first.turn)
          .reduce((sum, { bytes }) => sum + bytes, 0)
      : 0;
    const resultBytes = { left: MOST_STEP_BYTES - before };
    this.#reserveSubagentShares(calls);
    const runNextCalls = async () => {
      for (let call = waiting.shift(); call; call = waiting.shift()) {
        await this.run.endRunIfCredentialRevoked();
        const beganAt = this.run.now();
        if (call.subagent) {
          call.subagent.conversation ??= await this.#getToolKind(call)?.apart?.(this.#createCallKey(call));
          getCallRows(this.run.transcript).storeStartedCall(toStartedToolCall(call), beganAt);
        }
        const share = createMemoryShare();
        try {
          this.storeAndShowResult(
            call,
            prependNoteToResult(await this.#callTool(call, resultBytes, share), call.note),
            beganAt,
          );
        } finally {
          share.releaseMemory();
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.run.meter.maxParallelTools, calls.length) }, runNextCalls));
  }

  /**
   * Reserves a share of the run's budget for each subagent of a step. The remaining budget is divided by the number of
   * subagents plus one, so that the run itself can continue. A subagent that was started before a crash keeps its share.
   */
  #reserveSubagentShares(calls: readonly PlannedCall[]): void {
    const { meter } = this.run;
    const subagents = calls.filter((call) => this.#getToolKind(call)?.apart);
    const fresh = subagents.filter(({ subagent }) => subagent === undefined);
    const shares = subagents.reduce((sum, { subagent }) => sum + (subagent?.most ?? 0), 0);
    const left = meter.maxStepCost === undefined ? undefined : Math.max(0, meter.maxStepCost - shares);
    const most = left === undefined ? null : Math.floor(left / (fresh.length + 1));
    for (const call of fresh) call.subagent = { most, cost: 0, attempt: 1 };
  }

  #getToolKind({ block }: PlannedCall): CallableToolKind | undefined {
    return getCallableToolKind(this.run.tools.get(toJsonText(block.name)));
  }

  #createCallKey({ block }: PlannedCall): ToolCallKey {
    const { conversation, turn } = this.run;
    return { conversation, turn, tool_use_id: toJsonText(block.id) };
  }

  /** @returns whether a call waits for approval. */
  isWaitingForApproval({ block, isApproved = false }: PlannedCall): boolean {
    return !isApproved && doesCallNeedApproval(this.run.tools.get(toJsonText(block.name)), block.input);
  }

  async #callTool(
    planned: PlannedCall,
    resultBytes: RemainingResultBytes,
    share: BodyMemoryShare,
  ): Promise<ToolResult> {
    const {
      settings,
      account,
      conversation,
      turn,
      tools,
      meter,
      transcript,
      signal,
      now,
      shouldMakeNoMoreCalls: isOver,
    } = this.run;
    const { block, subagent } = planned;
    const { id, name, input } = block;
    const run = tools.get(toJsonText(name));
    const kind = getCallableToolKind(run);
    // Make a subagent's call even after a stop: if the subagent was started before a crash, this call finds and stops it.
    if (!run || !kind || (signal.aborted && !kind.apart)) return createFailedResult('stopped');
    const call = { tool_use_id: toJsonText(id), name: toJsonText(name), input, account, conversation, turn };
    const fetchTool = (url: string, init: RequestInit) => fetch(url, init);
    const leftMs = meter.computeRemainingMs(now());
    const noteShare = () => getCallRows(transcript).storeStartedCall(toStartedToolCall(planned), now());
    const isAgain = planned.tries > 1;
    // Call no more tools once the run is over, for example because its credential was revoked. Except a subagent that was
    // started before a crash: this call finds it, so that its cost is counted.
    if (isOver() && !(kind.apart && isAgain)) return createFailedResult(NOT_HOLDING);
    const isLate = isAgain && (planned.idleMs ?? 0) >= GRACE_MS;
    const options = {
      settings,
      fetch: fetchTool,
      now: now(),
      leftMs,
      signal,
      resultBytes,
      hold: (bytes: number) => waitForMemory(share, bytes, meter.computeRemainingMs(now()), this.run),
      apart: subagent && { share: subagent, noteShare, isAgain, isLate },
    };
    const fault = kind.checksInput ? findInputMismatch(input, this.run.schemas.get(toJsonText(name))) : undefined;
    if (fault !== undefined) return createFailedResult(fault);
    const calls = getOrCreate(this.#calls, kind, () => kind.createToolCaller(this.run));
    return await callTool(call, run, options, calls);
  }

  /** Closes the connections that were opened for the calls. */
  closeToolConnections(): void {
    for (const calls of this.#calls.values()) calls.close?.();
  }

  /** Stores a call's result, and shows it. */
  storeAndShowResult(call: PlannedCall, outcome: ToolResult, beganAt = this.run.now()): void {
    const { transcript, shown, meter, now } = this.run;
    const result = toAcceptableResult(outcome);
    const { content, isError, bytes, cost = 0 } = result;
    const { id, subagent, ...row } = toStartedToolCall(call);
    meter.addSubagentCost(cost);
    const block = { type: 'tool_result', tool_use_id: id, content, ...(isError ? { is_error: true } : {}) };
    const event = shown.isAwaitingResult(id) ? shown.log.events + 1 : null;
    getCallRows(transcript).storeEndedCall({
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
    shown.showToolResult(id, result);
    // The call's row already contains its result, so store the log only when it has become long.
    if (shown.log.unstoredCharacters > MOST_UNSTORED) shown.log.store({ at: now(), unseenMs: 0 });
    else shown.log.show();
  }
}

function toStartedToolCall({ turn, n, block, tries, subagent }: PlannedCall): StartedToolCall {
  return { turn, n, id: toJsonText(block.id), name: toJsonText(block.name), tries, subagent };
}
