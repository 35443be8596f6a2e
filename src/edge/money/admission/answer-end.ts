/** Reports how a response has ended and what it cost: to the caller in headers or comments, to the operator in the log line. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { getLogTypeOfStreamEnd, type RequestOutcome } from '../../claude/outcome.ts';
import { type Nanodollars, type TokenCounts, toLoggedTokens, toUsd } from '../../claude/pricing/cost.ts';
import { recordRequestedModel } from '../../kit/http/gen-ai.ts';
import type { RequestLogLine } from '../../kit/http/log.ts';
import { createBudgetHeaders, type RemainingBudget } from './budget-left.ts';
import { formatUsd } from './limit-headers.ts';

export type OutcomeLogger = (outcome: RequestOutcome, nanodollars?: Nanodollars) => undefined;

/**
 * @returns the headers with the upstream that has answered, the cost, and the remaining budget. Undefined values are omitted
 */
export function createEndHeaders(
  upstream: string | undefined,
  nanodollars?: Nanodollars,
  budget?: RemainingBudget,
): Record<string, string> {
  return {
    ...(upstream === undefined ? {} : { 'sluice-upstream': upstream }),
    ...createBudgetHeaders(budget),
    ...(nanodollars === undefined ? {} : { 'sluice-cost-usd': formatUsd(nanodollars) }),
  };
}

/**
 * @returns the comments at the end of a stream about its cost and the remaining budget, without the colon of the first. No empty
 *   line follows them, because some parsers take each text before an empty line for an event
 */
export function formatCostComments(nanodollars: Nanodollars, budget?: RemainingBudget): string {
  const headers = createEndHeaders(undefined, nanodollars, budget);
  return Object.entries(headers)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n: ');
}

/** @returns the comments behind the last event of a turn. @param nanodollars undefined where its cost is not known yet */
export function formatEndComments(
  nanodollars: Nanodollars | undefined,
  budget?: RemainingBudget,
  isStopped = false,
): string {
  const cost = nanodollars === undefined ? '' : `: ${formatCostComments(nanodollars, budget)}\n`;
  return `${isStopped ? ': sluice-stopped\n' : ''}${cost}`;
}

/** Records the upstream, the usage and the cost in a log line. */
export function addEndToLogLine(
  line: Pick<RequestLogLine, 'upstream' | 'upstream_request_id' | 'tokens' | 'cost_usd'>,
  end: Partial<Pick<RequestOutcome, 'upstream' | 'upstream_request_id'>> & { usage?: TokenCounts | undefined },
  nanodollars: Nanodollars | undefined,
): void {
  const { usage, upstream, upstream_request_id } = end;
  line.upstream_request_id = upstream_request_id;
  if (upstream !== undefined) line.upstream = upstream;
  if (usage) line.tokens = toLoggedTokens(usage);
  if (nanodollars !== undefined) line.cost_usd = toUsd(nanodollars);
}

/**
 * Delays the log line of a request until the outcome of its response is known.
 *
 * @returns a function that must be called once with the outcome. It completes the log line, so that it can be written
 */
export function createOutcomeLogger(c: Context<AppEnv>): OutcomeLogger {
  const entry = c.get('entry');
  entry.expectLaterEnd();
  return (outcome, nanodollars) => {
    const { line } = entry;
    const { model, end, error_type, ttft_ms } = outcome;
    recordRequestedModel(line, c.get('settings').UPSTREAMS.find(({ name }) => name === outcome.upstream)?.kind);
    line.model = model ?? line.model;
    line.ttft_ms = ttft_ms;
    if (end !== 'complete') line.error_type = error_type ?? getLogTypeOfStreamEnd(end);
    addEndToLogLine(line, outcome, nanodollars);
    entry.endAndWriteLine();
  };
}
