import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';

/** Where the folded rows end. */
export interface Fold {
  marker: string;
  last: number;
  requests: number;
  input: number;
  output: number;
  /** Rows up to the marker that were not settled when it was set. */
  open: string[];
  /** What the folded rows of the latest hour have cost, in total and by group. */
  hour: { start: number; cost: Nanodollars; groups?: Record<string, Nanodollars> };
  /** The number of the last change of the rollups that was noted here. */
  seq: number;
}

/** Where nothing is folded yet. */
export const NO_FOLD: Fold = {
  marker: '',
  last: 0,
  requests: 0,
  input: 0,
  output: 0,
  open: [],
  hour: { start: 0, cost: 0 },
  seq: 0,
};

/** @returns the sum of the latest hour, after adding a cost of the time `at`. Earlier hours are not kept. */
export function hourWith(
  { hour }: Pick<Fold, 'hour'>,
  at: number,
  cost: Nanodollars,
  group?: string | null,
): Pick<Fold, 'hour'> {
  const start = hourOf(at);
  if (start < hour.start) return { hour };
  const before: Fold['hour'] = hour.start === start ? hour : { start, cost: 0 };
  if (!group) return { hour: { ...before, cost: before.cost + cost } };
  // A group may have any name, even that of a property of all objects.
  const groups = new Map(Object.entries(before.groups ?? {}));
  groups.set(group, (groups.get(group) ?? 0) + cost);
  return { hour: { start, cost: before.cost + cost, groups: Object.fromEntries(groups) } };
}

/** @returns when the hour of a time began. */
export function hourOf(time: number): number {
  return Math.floor(time / HOUR_MS) * HOUR_MS;
}
