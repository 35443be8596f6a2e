import type { Spread } from './statistics.ts';
import { align, goalVerdict, number } from './table.ts';
import type { Wake } from './wakes.ts';

/** Where turns are to come. Nothing fails for it: `least turn` in the same table says how near to it anything can come. */
const GOALS = {
  awake: { bare: 4.2, object: undefined, firstEventMs: 3 },
  woken: { bare: 6.5, object: 1.5, firstEventMs: 3 },
} as const;

function text(value: Spread | undefined): string {
  return value === undefined ? '' : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
}

function goal(value: Spread | undefined, limit: number | undefined, unit: (limit: number) => string): string {
  return value === undefined || limit === undefined ? '' : goalVerdict(unit(limit), value.median > limit);
}

const times = (limit: number) => `${limit} ×`;
const added = (limit: number) => `+${limit} ms`;

export function wakeTable(wakes: Wake[]): string {
  return align([
    ['turns, and objects', 'CPU ms', '× bare', 'goal', '× object', 'goal', '× least', 'first event added', 'goal'],
    ...wakes.map(({ title, cpuMs, timesBare, timesObject, timesLeast, firstEventMs, judged }) => {
      const goals = judged && GOALS[judged];
      return [
        `  ${title}`,
        text(cpuMs),
        text(timesBare),
        goal(timesBare, goals?.bare, times),
        text(timesObject),
        goal(timesObject, goals?.object, times),
        text(timesLeast),
        text(firstEventMs),
        goal(firstEventMs, goals?.firstEventMs, added),
      ];
    }),
  ]);
}
