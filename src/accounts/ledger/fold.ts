import { HOUR_MS } from '../../async/durations.ts';
import type { Nanodollars } from '../../pricing/cost.ts';

/** Where the folded rows end. */
export interface Fold {
  marker: string;
  last: number;
  requests: number;
  input: number;
  output: number;
  /** Rows up to the marker that were not settled when it was set. */
  open: string[];
  /** What the folded rows of the latest hour have cost, in total and by group; absent if the version before wrote it. */
  hour?: { start: number; cost: Nanodollars; groups?: Record<string, Nanodollars> };
  /** The number of the last change of the rollups; absent if the version before wrote it. */
  seq?: number;
}

/** @returns the sum of the latest hour, after adding a cost of the time `at`. Earlier hours are not kept. */
export function hourWith(
  { hour }: Pick<Fold, 'hour'>,
  at: number,
  cost: Nanodollars,
  group?: string | null,
): Pick<Fold, 'hour'> {
  const start = hourOf(at);
  if (hour !== undefined && start < hour.start) return { hour };
  const before: NonNullable<Fold['hour']> = hour?.start === start ? hour : { start, cost: 0 };
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
