/** Keeps the limits of a run. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { RunLimits } from '../../registry/tools/run-limits.schema.ts';
import type { EarlierRunsLimitsUsage, RunLimitsUsage } from './stored-run.ts';

/** Why a run has paused: one of its own limits, a rejection by its account, or an upstream that is too busy. */
export type PauseReason =
  | 'max_turns'
  | 'max_usd'
  | 'max_seconds'
  | 'max_tool_calls'
  | 'repeated_call'
  | 'approval'
  | 'budget'
  | 'revoked'
  | 'upstream';

/** Seconds that a run may take if its answer does not stream: most clients and proxies give up after ten minutes. */
const BUFFERED_SECONDS = 540;
/** How often in a row the same call may be made. */
const MOST_REPEATS = 3;

/** Counts how much a run uses of its limits. */
export class RunBudget {
  readonly #limits: RunLimits;
  readonly #beganAt: number;
  readonly #mostMs: number;
  #steps: number;
  #calls: number;
  #refusedCalls = 0;
  #spent: Nanodollars;
  readonly #carried: Nanodollars;
  #last = '';
  #repeats = 0;

  /** @param beganAt milliseconds since 1970 */
  constructor(
    limits: RunLimits,
    beganAt: number,
    run: { isStreaming: boolean; spent?: RunLimitsUsage | undefined; carried?: EarlierRunsLimitsUsage | undefined },
  ) {
    const { isStreaming, spent, carried } = run;
    this.#limits = limits;
    this.#beganAt = beganAt - (carried?.ms ?? 0);
    const seconds = limits.max_seconds ?? (isStreaming ? Number.POSITIVE_INFINITY : BUFFERED_SECONDS);
    this.#mostMs = seconds * 1_000;
    this.#steps = (spent?.steps ?? 0) + (carried?.steps ?? 0);
    this.#calls = (spent?.calls ?? 0) + (carried?.calls ?? 0);
    this.#spent = spent?.cost ?? 0;
    this.#carried = carried?.cost ?? 0;
  }

  get maxParallelTools(): number {
    return this.#limits.parallel_tools;
  }

  /** The cost of this run itself so far, in nanodollars. */
  get spentNanodollars(): Nanodollars {
    return this.#spent;
  }

  /** The maximum cost of the next step, in nanodollars; undefined if it is not limited. */
  get maxStepCost(): Nanodollars | undefined {
    const { max_usd } = this.#limits;
    return max_usd === undefined ? undefined : Math.max(0, Math.floor(max_usd * 1e9) - this.#spent - this.#carried);
  }

  /** @returns the milliseconds that are left of the run. */
  computeRemainingMs(now: number): number {
    return Math.max(0, this.#beganAt + this.#mostMs - now);
  }

  /** Counts a step. @param isAnswer false if it failed before it had any output: then only its cost counts */
  countStep(cost: Nanodollars, isAnswer: boolean): void {
    this.#spent += cost;
    if (isAnswer) this.#steps += 1;
  }

  addSubagentCost(cost: Nanodollars): void {
    this.#spent += cost;
  }

  /** Counts a call. @returns whether it may be made */
  countToolCallIfAllowed({ name, input }: JsonObject): boolean {
    const call = stringifyWithRememberedTexts([name, input]);
    this.#repeats = call === this.#last ? this.#repeats + 1 : 1;
    this.#last = call;
    if (this.#calls >= this.#limits.max_tool_calls) {
      this.#refusedCalls += 1;
      return false;
    }
    this.#calls += 1;
    return true;
  }

  /** @returns why no further step may begin; undefined if one may */
  findPauseReason(now: number): PauseReason | undefined {
    if (this.#refusedCalls > 0) return 'max_tool_calls';
    if (this.#repeats >= MOST_REPEATS) return 'repeated_call';
    if (this.#steps >= this.#limits.max_turns) return 'max_turns';
    if (this.computeRemainingMs(now) <= 0) return 'max_seconds';
    return this.maxStepCost === 0 ? 'max_usd' : undefined;
  }
}
