import type { Page } from 'playwright-core';
import { expect } from 'vitest';

/** A task that takes longer than this keeps a press of a key waiting, and a frame from being drawn. */
export const LONGEST_TASK_MS = 50;
const MOST_TRIES = 15;
/** A trace with fewer tasks than this is not of what was done: each press of a key is some. */
const LEAST_TASKS = 20;
const OF_THE_TEST = /blink\.mojom\.DevTools/;
const CATEGORIES = ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline', '__metadata'];

/** An event of Chromium's trace; durations in microseconds. */
interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  /** When it began, in microseconds. */
  ts: number;
  dur?: number;
  /** The time that the thread itself has worked. */
  tdur?: number;
  args?: { name?: string; mojo_interface_tag?: string };
}

/**
 * Measures how long a page keeps its thread while something is done, in a trace of Chromium. Others use the machine's
 * caches too: it is done again while a task takes too long, and the best try counts.
 *
 * @param page of a browser that nobody else uses: a trace is of all that its browser does
 * @param enough in milliseconds: a try that takes no longer is the last one
 * @returns the longest task of the page's main thread, in milliseconds of the thread's own time
 */
export async function longestTask(
  page: Page,
  name: string,
  act: () => Promise<void>,
  enough: number = LONGEST_TASK_MS,
): Promise<number> {
  return await leastOf(enough, async () => Math.max(...(await tasksOf(page, name, act))));
}

/** Measures as `longestTask` does. @returns all that the page's main thread did, in milliseconds of its own time */
export async function threadTime(page: Page, name: string, act: () => Promise<void>, enough: number): Promise<number> {
  return await leastOf(enough, async () => (await tasksOf(page, name, act)).reduce((sum, ms) => sum + ms, 0));
}

async function leastOf(enough: number, measure: () => Promise<number>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < MOST_TRIES && least > enough; i += 1) least = Math.min(least, await measure());
  return least;
}

/** @returns the milliseconds of each task of the page's main thread */
async function tasksOf(page: Page, name: string, act: () => Promise<void>): Promise<number[]> {
  const browser = page.context().browser();
  if (!browser) throw new Error('A page without a browser cannot be traced.');
  await browser.startTracing(page, { categories: CATEGORIES });
  await act();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const mains = traceEvents.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain');
  const isMain = ({ pid, tid }: TraceEvent) => mains.some((main) => main.pid === pid && main.tid === tid);
  // What the test asks of the page by the inspector is not the page's work.
  const asked = traceEvents.filter(
    ({ name, args }) => /mojo message/.test(name) && OF_THE_TEST.test(JSON.stringify(args)),
  );
  const isAsked = ({ pid, ts, dur = 0 }: TraceEvent) =>
    asked.some((one) => one.pid === pid && one.ts >= ts && one.ts <= ts + dur);
  const tasks = traceEvents.filter(
    (event) => event.ph === 'X' && /RunTask$/.test(event.name) && isMain(event) && !isAsked(event),
  );
  expect(tasks.length, 'tasks in the trace').toBeGreaterThan(LEAST_TASKS);
  // Others use this machine: `dur` counts the time in which the thread waited for its turn as well.
  const longest = tasks.reduce((most, { tdur = 0 }) => Math.max(most, tdur), 0) / 1_000;
  const wall = tasks.reduce((most, { dur = 0 }) => Math.max(most, dur), 0) / 1_000;
  process.stdout.write(
    `${name}: ${tasks.length} tasks, the longest ${longest.toFixed(1)} ms (${wall.toFixed(1)} ms by the clock)\n`,
  );
  expect(longest).toBeGreaterThan(0);
  return tasks.map(({ tdur = 0 }) => tdur / 1_000);
}
