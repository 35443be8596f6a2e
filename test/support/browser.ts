import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { type Browser, type BrowserServer, chromium } from 'playwright-core';
import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the browser of this run is, which the tests share; undefined where there is none. */
    browser: string | undefined;
  }
}

/** The first has no windows, and computes a quarter less for the same tests. */
const NAMES = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];
/** Of two such lists the last counts, so this has what playwright turns off in its own as well. */
const DISABLED_FEATURES = [
  'AimEnabled',
  'AvoidCorsURLLoaderRestartOnRedirect',
  'AvoidUnnecessaryBeforeUnloadCheckSync',
  'DestroyProfileOnBrowserClose',
  'HttpsFirstBalancedModeAutoEnable',
  'HttpsUpgrades',
  'LensOverlay',
  'MediaRouter',
  'NetworkTimeServiceQuerying',
  'OptimizationHints',
  'PaintHolding',
  'PreconnectToSearch',
  'ThirdPartyStoragePartitioning',
  // Pages of the browser's own, loaded with each new window: two thirds of what a small page takes.
  'WebUIOmniboxAimPopup',
  'WebUIOmniboxPopup',
];
const ARGS = [
  `--disable-features=${DISABLED_FEATURES.join()}`,
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Where the browser is, by `CHROMIUM_PATH` or on the `PATH`; undefined where there is none. */
const browserPath: string | undefined = await findBrowser();

/**
 * Says why tests in a browser do not run, for `test.skipIf`: a machine without one passes all the same, CI does not.
 *
 * @throws Error in CI without a browser
 */
export function isBrowserMissing(): boolean {
  if (browserPath !== undefined) return false;
  const reason = 'no browser: install chromium, or set CHROMIUM_PATH';
  if (process.env.CI) throw new Error(`CI has ${reason}.`);
  process.stderr.write(`Tests in a browser are left out: ${reason}.\n`);
  return true;
}

/** Starts the browser that the tests of a run share; undefined where there is none. */
export async function startBrowser(): Promise<BrowserServer | undefined> {
  return browserPath === undefined
    ? undefined
    : await chromium.launchServer({ executablePath: browserPath, args: ARGS });
}

/**
 * Gives a test the browser of this run, with sessions of its own; to close it ends these alone.
 *
 * @param more arguments of a test's own, for which it gets a browser of its own
 */
export async function launchBrowser(more: readonly string[] = []): Promise<Browser> {
  const shared = inject('browser');
  if (browserPath === undefined || shared === undefined) {
    throw new Error('There is no browser here: ask noBrowser() first.');
  }
  if (more.length === 0) return await chromium.connect(shared);
  return await chromium.launch({ executablePath: browserPath, args: [...ARGS, ...more] });
}

async function findBrowser(): Promise<string | undefined> {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const given = process.env.CHROMIUM_PATH;
  const places = given ? [given] : NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  for (const place of places) {
    const runs = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return place;
  }
  return undefined;
}
