/** Finds when a share of a limit is spent, so that its owner gets an alert. */

import type { Alert } from '../alerts/alerts-answers.schema.ts';
import { DAY_MS } from '../async/durations.ts';
import type { DueAlert } from '../delivery/alert-outbox.ts';
import { toUsd } from '../pricing/cost.ts';
import type { Purse } from './purses.ts';
import { limitName, PERIODS, spanAt, spanId } from './windows.ts';

/** Alerts of parked events are remembered for a day. A parked event has ended, so the same alert cannot come again. */
const PARKED_MS = DAY_MS;

/**
 * Finds the shares of limits that are spent. Only settled money counts, because held money may come back.
 *
 * @param purses the limits of one node, each with its own sums. A limit of 0 is never partly spent
 * @param shares the shares from the limits, such as 0.8
 */
export function thresholdsReached(
  node: Alert['node'],
  purses: readonly Purse[],
  shares: readonly number[],
  now: number,
): DueAlert[] {
  return purses.flatMap((purse) => {
    const window = windowOf(purse);
    if (window === undefined || purse.most <= 0) return [];
    return shares
      .filter((share) => purse.settled >= share * purse.most)
      .map((threshold) => ({
        key: JSON.stringify(['threshold', node.type, node.id, purse.name, window, threshold]),
        until: purse.end,
        alert: {
          kind: 'threshold' as const,
          node,
          created_at: new Date(now).toISOString(),
          limit: purse.name,
          window,
          threshold,
          limit_usd: toUsd(purse.most),
          settled_usd: toUsd(purse.settled),
          subject: null,
        },
      }));
  });
}

/** The members about a limit, for an alert that is not about a limit. */
const OF_NO_LIMIT = { limit: null, window: null, threshold: null, limit_usd: null, settled_usd: null };

/** @returns the alert that a request cost more than was set aside for it. There is at most one per node and day. */
export function overHoldAlert(node: Alert['node'], requestId: string, now: number): DueAlert {
  const { start, end } = spanAt('day', now);
  const window = spanId('day', start);
  return {
    key: JSON.stringify(['over_hold', node.type, node.id, window]),
    until: end,
    alert: {
      kind: 'over_hold',
      node,
      created_at: new Date(now).toISOString(),
      ...OF_NO_LIMIT,
      window,
      subject: requestId,
    },
  };
}

/**
 * @returns the alert that an event of a webhook is not tried any more. It comes again if a replay of the event fails, too.
 */
export function parkedAlert(source: string, eventId: string, runs: number, now: number): DueAlert {
  return {
    key: JSON.stringify(['webhook_parked', eventId, runs]),
    until: now + PARKED_MS,
    alert: {
      kind: 'webhook_parked',
      node: { type: 'webhook', id: source },
      created_at: new Date(now).toISOString(),
      ...OF_NO_LIMIT,
      subject: eventId,
    },
  };
}

/** @returns the alert that the upstream refuses the deployment's key, in its words, or that it answers again. */
export function keyAlert(said: string | null, now: number): DueAlert {
  return {
    key: JSON.stringify(['key', said, now]),
    until: now + PARKED_MS,
    alert: {
      kind: said === null ? 'key_works' : 'key_refused',
      node: { type: 'deployment', id: 'deployment' },
      created_at: new Date(now).toISOString(),
      ...OF_NO_LIMIT,
      subject: said,
    },
  };
}

function windowOf({ name, end }: Purse): string | undefined {
  const period = PERIODS.find((one) => limitName(one) === name);
  return period && spanId(period, spanAt(period, end - 1).start);
}
