/** A schedule for each mistake of mutations.ts, under which it shows: each is replayed by day. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Simulations } from './linked.ts';
import type { Mutation } from './mutations.ts';
import type { Schedule } from './property.ts';

/** Where `npm run hunt -- --record` puts them. */
export const RECORD = fileURLToPath(new URL('./recorded.json', import.meta.url).href);

export const recorded = JSON.parse(readFileSync(RECORD, 'utf8')) as Record<string, Schedule>;

/** Tries one schedule only. */
export const ONE = { runs: 1, shrinks: false } as const;

/** Runs a mistake's schedule with it and without it. @returns what is wrong with the schedule, undefined where it shows the mistake */
export async function replay(simulations: Simulations, mutation: Mutation): Promise<string | undefined> {
  const schedule = recorded[mutation.name];
  if (!schedule) return 'No schedule of it is recorded.';
  const search = { ...ONE, ...schedule };
  const right = await simulations.right(mutation.object).find(search);
  if (right) return `Its schedule fails without it: ${right.message}`;
  const wrong = await (await simulations.wrong(mutation)).find(search);
  return wrong ? undefined : 'Its schedule does not show it any more.';
}
