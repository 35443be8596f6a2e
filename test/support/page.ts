import type { Browser, BrowserContext, BrowserContextOptions, Page, Request } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, inject } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import type { Scope } from '#edge/auth/identity/identity.ts';
import { launchBrowser } from './browser.ts';
import type { PageEdge } from './page-edge.ts';
import { requestShared } from './shared-start.ts';
import { createToken } from './tokens.ts';

/** What the account of a test may do: all but what is everybody's. */
const SCOPES: readonly Scope[] = ['messages', 'classify', 'prefixes', 'tools'];

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
export interface ServedPage extends PageEdge {
  readonly browser: Browser;
  /** The account of the test, which no other test has. */
  readonly account: string;
  readonly token: string;
  /** Calls the edge as that account. */
  readonly client: Client;
  /**
   * Opens the page as that account: by default in the tab of the file, which has forgotten the test before.
   *
   * @param options of a session of the test's own
   * @param before is done before the page is loaded
   */
  open(path?: string, options?: BrowserContextOptions, before?: (page: Page) => Promise<void>): Promise<OpenPage>;
  /** Opens the page, and closes it after the work. It must never fail in silence, nor ask another host. */
  runInPage(work: (opened: OpenPage) => Promise<void>, path?: string, options?: BrowserContextOptions): Promise<void>;
  /** The same where something fails that is meant to: the console may say so. */
  runInFailingPage: ServedPage['runInPage'];
}

/**
 * Gives the tests of a file the browser and an edge with the page, which others use at the same time: each test has an account
 * of its own in it, and stops nothing.
 *
 * @param scopes of that account
 * @param start starts an edge of the file's own, which is ended after its tests
 */
export function openServedPage(
  scopes: readonly Scope[] = SCOPES,
  start?: () => Promise<{ url: string; stop(): Promise<void> }>,
): ServedPage {
  let edge: PageEdge & { stop?(): Promise<void> };
  let browser: Browser;
  let account = '';
  let token = '';
  let client: Client;
  beforeAll(async () => {
    const starting = start
      ? start().then((started) => ({ ...started, shopUrl: '' }))
      : requestShared<PageEdge>(inject('pageEdge'));
    [edge, browser] = await Promise.all([starting, launchBrowser()]);
  });
  beforeEach(async () => {
    account = `tester-${crypto.randomUUID().slice(0, 8)}`;
    token = await createToken(account, scopes);
    client = createClient({ baseURL: edge.url, token });
  });
  afterAll(async () => {
    await browser?.close();
    await edge?.stop?.();
  });
  let tab: Page | undefined;
  let isTaken = false;
  const open: ServedPage['open'] = async (path = '/', options, before) => {
    if (options !== undefined || isTaken) return await openPage(browser, edge.url + path, options, { token, before });
    isTaken = true;
    tab ??= await newTab(await browser.newContext(ISOLATED_OPTIONS));
    const shown = tab;
    await resetTab(shown, edge.url, token);
    const opened = await loadWatchedPage(shown, edge.url + path, before);
    const close = async () => {
      await opened.close();
      // Of the same origin and without a script: what was shown has ended, and its process is used again.
      await shown.goto(edge.url + STILL_OPTIONS);
      isTaken = false;
    };
    return { ...opened, close };
  };
  const inFailingPage: ServedPage['runInPage'] = async (work, path, options) => {
    const opened = await open(path, options);
    try {
      await work(opened);
    } catch (thrown) {
      const isTimeout = thrown instanceof Error && thrown.name === 'TimeoutError';
      if (isTimeout) thrown.message += `\nRequests without an end: ${opened.pending().join(', ') || 'none'}`;
      throw thrown;
    } finally {
      await opened.close();
    }
  };
  return {
    get url() {
      return edge.url;
    },
    get shopUrl() {
      return edge.shopUrl;
    },
    get browser() {
      return browser;
    },
    get account() {
      return account;
    },
    get token() {
      return token;
    },
    get client() {
      return client;
    },
    open,
    runInFailingPage: inFailingPage,
    runInPage: (work, path, options) =>
      inFailingPage(
        async (opened) => {
          await work(opened);
          expect(opened.faults).toEqual([]);
          expect([...opened.origins]).toEqual([edge.url]);
        },
        path,
        options,
      ),
  };
}

const STILL_OPTIONS = '/page/icon.svg';

/** Of a session of a test's own: for what no other test may find in the tab, such as another clock. */
export const ISOLATED_OPTIONS = { viewport: { width: 1280, height: 640 } };

/** Opens the page in a session of its own. @param begins with a token, and with what is done before the page is loaded */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = ISOLATED_OPTIONS,
  { token, before }: { token?: string; before?: PreparePage } = {},
): Promise<OpenPage> {
  const context = await browser.newContext(options);
  if (token !== undefined) await context.addInitScript(initializeSession, [new URL(url).origin, token] as const);
  const opened = await loadWatchedPage(await newTab(context), url, before);
  const close = async () => {
    await opened.close();
    await context.close();
  };
  return { ...opened, close };
}

type PreparePage = ((page: Page) => Promise<void>) | undefined;

async function newTab(context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.addInitScript(watchShifts);
  return page;
}

/** Brings the tab of a file back to how it was, with another token. */
async function resetTab(page: Page, url: string, token: string): Promise<void> {
  const context = page.context();
  await Promise.all([
    context.setOffline(false),
    context.clearPermissions(),
    page.setViewportSize(ISOLATED_OPTIONS.viewport),
  ]);
  if (page.url() !== url + STILL_OPTIONS) await page.goto(url + STILL_OPTIONS);
  await page.evaluate((ownKeys) => {
    localStorage.clear();
    sessionStorage.clear();
    sessionStorage.setItem('sluice-token', ownKeys);
  }, token);
}

/** Loads the page, and notes what goes wrong in it. */
async function loadWatchedPage(page: Page, url: string, before: PreparePage): Promise<OpenPage> {
  const faults: string[] = [];
  const origins = new Set<string>();
  const pending = new Set<Request>();
  const noteEnded = (request: Request) => void pending.delete(request);
  page.on('pageerror', ({ message }) => faults.push(message));
  page.on('console', (message) => {
    // A browser asks for this one by itself, where it draws a tab before the page has named its icon.
    if (message.type() !== 'error' || message.location().url.endsWith('/favicon.ico')) return;
    faults.push(`${message.text()} ${message.location().url}`.trim());
  });
  page.on('request', (request) => {
    pending.add(request);
    if (/^https?:/.test(request.url())) origins.add(new URL(request.url()).origin);
  });
  page.on('requestfinished', noteEnded).on('requestfailed', noteEnded);
  await before?.(page);
  await page.goto(url);
  return {
    page,
    faults,
    origins,
    shifts: () => page.evaluate(() => (globalThis as unknown as { shifts: Shifts }).shifts),
    pending: () => [...pending].map((request) => `${request.method()} ${request.url()}`),
    close: async () => {
      for (const name of ['pageerror', 'console', 'request', 'requestfinished', 'requestfailed'])
        page.removeAllListeners(name);
      await page.unrouteAll({ behavior: 'ignoreErrors' });
    },
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

/** Runs in each page of a session, before its own script. */
function initializeSession([origin, token]: readonly [string, string]): void {
  if (location.origin === origin) sessionStorage['sluice-token'] ??= token;
}

/** Says how the simulator answers the questions of a page from now on. @param faults as in docs/simulator.md; absent as it does */
export async function setSimulatorFaults(page: Page, faults?: string): Promise<void> {
  await page.unroute('**/messages');
  if (faults === undefined) return;
  await page.route('**/messages', (route) =>
    route.continue({ headers: { ...route.request().headers(), 'sluice-simulate': faults } }),
  );
}

/** Asks, and has the simulator answer with a text of the test. */
export async function askWithAnswer(page: Page, answer: string): Promise<void> {
  await setSimulatorFaults(page, `answer=${encodeURIComponent(answer)}`);
  const articles = await page.getByRole('article').count();
  await askQuestion(page, 'Show me.');
  await expect.poll(() => page.getByRole('article').count()).toBe(articles + 2);
  await waitForAnswer(page);
  await setSimulatorFaults(page);
}

/** Asks something in the chat that is shown. */
export async function askQuestion(page: Page, question: string): Promise<void> {
  await page.getByRole('textbox', { name: 'Message' }).fill(question);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
}

/** @returns once no answer is coming any more */
export async function waitForAnswer(page: Page): Promise<void> {
  await page.getByRole('log', { name: 'Messages' }).and(page.locator('[aria-busy="false"]')).waitFor();
  await page.getByRole('button', { name: 'Regenerate' }).last().waitFor();
}

/** @returns the last answer as far as it has come */
export function lastAnswerOf(page: Page) {
  return page.getByRole('article', { name: 'Answer' }).last();
}
