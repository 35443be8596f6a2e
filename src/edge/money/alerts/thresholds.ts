/** Finds when a share of a limit is spent, so that its owner gets an alert. */

import { toUsd } from '../../claude/pricing/cost.ts';
import { type BudgetWindow, isSharedBudget } from '../budget/budget-windows.ts';
import { EMPTY_SHARE, isNearlySpent } from '../budget/refusals.ts';
import { findCalendarWindowAt, formatCalendarWindowId, getUsdLimitName, NEVER, PERIODS } from '../budget/windows.ts';
import type { AlertToRaise } from './alert-outbox.ts';
import type { Alert } from './alerts-answers.schema.ts';
import { createDueAlert, describeLimitTodo } from './create-alert.ts';

/**
 * Finds the shares of limits that are spent. Only settled money counts, because held money may come back. A shared budget of
 * which too little is left for any request counts as spent, because no further request would reach the limit.
 *
 * @param budgetWindows the limits of one node, each with its own sums. A limit of 0 is never partly spent
 * @param shares the shares from the limits, such as 0.8
 */
export function findReachedThresholds(
  node: Alert['node'],
  budgetWindows: readonly BudgetWindow[],
  shares: readonly number[],
  now: number,
): AlertToRaise[] {
  return budgetWindows.flatMap((budgetWindow) => {
    const { by, name, limit, settled, end } = budgetWindow;
    const isSpent = settled >= limit || (isSharedBudget(by) && isNearlySpent(budgetWindow));
    const window = getWindowId({ name, end });
    if (window === undefined || limit <= 0) return [];
    return shares
      .filter((share) => settled >= share * limit || (share > 1 - EMPTY_SHARE && isSpent))
      .map((threshold) =>
        createDueAlert('threshold', node, now, end, [node.type, node.id, name, window, threshold], {
          limit: name,
          window,
          threshold,
          limit_usd: toUsd(limit),
          settled_usd: toUsd(settled),
          todo: describeLimitTodo(node, isSpent ? { resetsAt: end >= NEVER ? undefined : end } : undefined),
        }),
      );
  });
}

function getWindowId({ name, end }: Pick<BudgetWindow, 'name' | 'end'>): string | undefined {
  const period = PERIODS.find((one) => getUsdLimitName(one) === name);
  return period && formatCalendarWindowId(period, findCalendarWindowAt(period, end - 1).start);
}
