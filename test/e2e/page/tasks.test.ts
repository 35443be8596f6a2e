import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient } from '../../../src/client/index.ts';
import { launchBrowser, noBrowser } from '../../support/browser.ts';
import { type Edge, startEdgeWithPage } from '../../support/edge.ts';
import { answered, ask, openPage } from '../../support/page.ts';

const MESSAGES = 1_000;
/** A task that takes longer than this keeps a press of a key waiting. */
const LONGEST_MS = 50;
const MOST_TRIES = 4;
/** Pixels a second. */
const SPEED_PX = 40_000;
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

describe.skipIf(noBrowser())('How long the page keeps its thread, in a trace of Chromium', () => {
  let server: Edge;
  let browser: Browser;

  beforeAll(async () => {
    const pace = { SIMULATOR_TTFT_MS: '20', SIMULATOR_TOKENS_PER_SECOND: '400' };
    // A browser of its own: a trace is of all that its browser does.
    [server, browser] = await Promise.all([startEdgeWithPage(pace), launchBrowser(['--mute-audio'])]);
  });

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** @returns the longest task of the page's main thread while something is done, in milliseconds of the thread's own time */
  async function longestTask(page: Page, name: string, act: () => Promise<void>): Promise<number> {
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
    expect(tasks.length, 'tasks in the trace').toBeGreaterThan(100);
    // Others use this machine: `dur` counts the time in which the thread waited for its turn as well.
    const longest = tasks.reduce((most, { tdur = 0 }) => Math.max(most, tdur), 0) / 1_000;
    const wall = tasks.reduce((most, { dur = 0 }) => Math.max(most, dur), 0) / 1_000;
    process.stdout.write(
      `${name}: ${tasks.length} tasks, the longest ${longest.toFixed(1)} ms (${wall.toFixed(1)} ms by the clock)\n`,
    );
    expect(longest).toBeGreaterThan(0);
    return longest;
  }

  test('scrolling 1,000 messages has no task of 50 ms', async () => {
    const text = (index: number) =>
      `Message ${index}: **locks** and \`weirs\`.\n\n| gate | level |\n| --- | --- |\n| upper | ${index} |\n\n- one\n- two\n\n\`\`\`ts\nconst level = ${index};\n\`\`\``;
    const messages = Array.from({ length: MESSAGES - 1 }, (_, index) => ({
      role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
      content: text(index),
    }));
    const client = createClient({ baseURL: server.url });
    await client.messages
      .stream({ conversation: 'long', model: 'claude-haiku-5-5', max_tokens: 50, messages })
      .finalMessage();
    const { page, faults, close } = await openPage(browser, `${server.url}/#/chat/long`);
    await expect.poll(() => page.getByRole('article').count(), { timeout: 60_000 }).toBe(MESSAGES);
    await answered(page);
    const scroller = page.getByRole('log', { name: 'Messages' });
    const top = () => scroller.evaluate((element) => element.scrollTop);
    const height = await top();
    expect(height).toBeGreaterThan(MESSAGES * 50);
    const box = await scroller.boundingBox();
    const [x, y] = [(box?.x ?? 0) + 200, (box?.y ?? 0) + 200];
    const session = await page.context().newCDPSession(page);
    const scroll = async () => {
      // One command for all of it: whatever else the test asked of the page would be its own work in the trace.
      for (const yDistance of [height, -height]) {
        await session.send('Input.synthesizeScrollGesture', { x, y, yDistance, speed: SPEED_PX, preventFling: true });
      }
    };
    // Others use this machine's caches too: of all tries the best counts.
    let longest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < MOST_TRIES && longest > LONGEST_MS; i += 1) {
      longest = Math.min(longest, await longestTask(page, 'scrolling', scroll));
    }
    expect(longest).toBeLessThanOrEqual(LONGEST_MS);
    expect(faults).toEqual([]);
    await close();
  });

  test('a fast stream has no task of 50 ms, and moves nothing', async () => {
    const { page, faults, shifts, close } = await openPage(browser, server.url);
    // What is loaded with the first answer is not the stream’s.
    await ask(page, 'In one sentence: what is a weir?');
    await answered(page);
    const before = await shifts();
    const longest = await longestTask(page, 'streaming', async () => {
      await ask(page, 'Explain in 1,000 words what a lock gate is.');
      await expect.poll(() => page.getByRole('article').count()).toBe(4);
      await answered(page);
    });
    expect(longest).toBeLessThanOrEqual(LONGEST_MS);
    const after = await shifts();
    expect(after.value - before.value, after.moved.slice(before.moved.length).join('\n')).toBe(0);
    expect(faults).toEqual([]);
    await close();
  });
});
