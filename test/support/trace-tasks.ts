import type { Page } from 'playwright-core';
import { expect } from 'vitest';

/** A trace with fewer tasks than this is not of what was done: each press of a key is some. */
const MIN_TASKS = 10;
const TEST_TASKS = /blink\.mojom\.DevTools/;
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
 * Prints how long a page keeps its thread while something is done, in a trace of Chromium.
 *
 * @param page of a browser that nobody else uses: a trace is of all that its browser does
 */
export async function traceTasks(page: Page, name: string, act: () => Promise<void>): Promise<void> {
  const browser = page.context().browser();
  if (!browser) throw new Error('A page without a browser cannot be traced.');
  await browser.startTracing(page, { categories: CATEGORIES });
  await act();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const mains = traceEvents.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain');
  const isMain = ({ pid, tid }: TraceEvent) => mains.some((main) => main.pid === pid && main.tid === tid);
  // What the test asks of the page by the inspector is not the page's work.
  const asked = traceEvents.filter(
    ({ name, args }) => /mojo message/.test(name) && TEST_TASKS.test(JSON.stringify(args)),
  );
  const isInTrace = ({ pid, ts, dur = 0 }: TraceEvent) =>
    asked.some((one) => one.pid === pid && one.ts >= ts && one.ts <= ts + dur);
  const tasks = traceEvents.filter(
    (event) => event.ph === 'X' && /RunTask$/.test(event.name) && isMain(event) && !isInTrace(event),
  );
  expect(tasks.length, 'tasks in the trace').toBeGreaterThan(MIN_TASKS);
  // Others use this machine: `dur` counts the time in which the thread waited for its turn as well.
  const longest = tasks.reduce((maximum, { tdur = 0 }) => Math.max(maximum, tdur), 0) / 1_000;
  const wall = tasks.reduce((most, { dur = 0 }) => Math.max(most, dur), 0) / 1_000;
  const all = tasks.reduce((sum, { tdur = 0 }) => sum + tdur, 0) / 1_000;
  process.stdout.write(
    `${name}: ${tasks.length} tasks, ${all.toFixed(0)} ms, the longest ${longest.toFixed(1)} ms (${wall.toFixed(1)} ms by the clock)\n`,
  );
  expect(longest).toBeGreaterThan(0);
}
