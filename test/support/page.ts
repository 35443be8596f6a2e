import type { Browser, BrowserContextOptions, Page, Request } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { launchBrowser } from './browser.ts';

/** The page in a browser, and what went wrong in it. */
export interface OpenPage {
  page: Page;
  /** Errors of the console and of scripts. */
  faults: string[];
  /** Whom it asked for anything. */
  origins: Set<string>;
  /** What moved by itself since the page was loaded: the sum of the browser's own measure, and what it was. */
  shifts(): Promise<{ value: number; moved: string[] }>;
  /** The requests that have not ended: why a page that hangs does so. */
  pending(): string[];
  close(): Promise<void>;
}

/** The edge of a test file that looks at its page, and the browser. */
export interface ServedPage {
  readonly url: string;
  readonly browser: Browser;
  /** Opens the page, and closes it after the work. It must never fail in silence, nor ask another host. */
  inPage(work: (opened: OpenPage) => Promise<void>, path?: string, options?: BrowserContextOptions): Promise<void>;
}

/**
 * Starts an edge and the browser before the tests of a file, and ends both after them.
 *
 * @param start starts the edge
 */
export function servedPage(start: () => Promise<{ url: string; stop(): Promise<void> }>): ServedPage {
  let edge: Awaited<ReturnType<typeof start>>;
  let browser: Browser;
  beforeAll(async () => {
    [edge, browser] = await Promise.all([start(), launchBrowser()]);
  });
  afterAll(async () => {
    await browser?.close();
    await edge?.stop();
  });
  return {
    get url() {
      return edge.url;
    },
    get browser() {
      return browser;
    },
    async inPage(work, path = '/', options) {
      const opened = await openPage(browser, edge.url + path, options);
      try {
        await work(opened);
        expect(opened.faults).toEqual([]);
        expect([...opened.origins]).toEqual([edge.url]);
      } catch (thrown) {
        const isTimeout = thrown instanceof Error && thrown.name === 'TimeoutError';
        if (isTimeout) thrown.message += `\nRequests without an end: ${opened.pending().join(', ') || 'none'}`;
        throw thrown;
      } finally {
        await opened.close();
      }
    },
  };
}

/** Opens the page in a session of its own. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = { viewport: { width: 1280, height: 640 } },
): Promise<OpenPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(240_000);
  const faults: string[] = [];
  const origins = new Set<string>();
  page.on('pageerror', ({ message }) => faults.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
  });
  const pending = new Set<Request>();
  page.on('request', (request) => {
    pending.add(request);
    if (/^https?:/.test(request.url())) origins.add(new URL(request.url()).origin);
  });
  const ended = (request: Request) => void pending.delete(request);
  page.on('requestfinished', ended).on('requestfailed', ended);
  await page.addInitScript(watchShifts);
  await page.goto(url);
  return {
    page,
    faults,
    origins,
    shifts: () => page.evaluate(() => (globalThis as unknown as { shifts: Shifts }).shifts),
    pending: () => [...pending].map((request) => `${request.method()} ${request.url()}`),
    close: () => context.close(),
  };
}

interface Shifts {
  value: number;
  moved: string[];
}

/** Runs in the page. What follows an input within half a second is meant to move. */
function watchShifts(): void {
  interface LayoutShift extends PerformanceEntry {
    value: number;
    hadRecentInput: boolean;
    sources: { node?: Node | null }[];
  }
  const shifts: Shifts = { value: 0, moved: [] };
  Object.assign(globalThis, { shifts });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as LayoutShift[]) {
      if (entry.hadRecentInput) continue;
      shifts.value += entry.value;
      shifts.moved.push(...entry.sources.map(({ node }) => (node as Element | null)?.outerHTML?.slice(0, 120) ?? '?'));
    }
  }).observe({ type: 'layout-shift', buffered: true });
}

/** Asks something in the chat that is shown. */
export async function ask(page: Page, question: string): Promise<void> {
  await page.getByRole('textbox', { name: 'Message' }).fill(question);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** @returns once no answer is coming any more */
export async function answered(page: Page): Promise<void> {
  await page.getByRole('log', { name: 'Messages' }).and(page.locator('[aria-busy="false"]')).waitFor();
  await page.getByRole('button', { name: 'Regenerate' }).last().waitFor();
}

/** @returns the last answer as far as it has come */
export function lastAnswer(page: Page) {
  return page.getByRole('article', { name: 'Answer' }).last();
}
