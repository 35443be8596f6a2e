import type { Browser } from 'playwright-core';
import { launchBrowser } from './browser.ts';

/** A name of somebody else's, which has been made to point to this machine. */
export const ATTACKER_HOST = 'evil.test';

export type Route = [method: string, path: string];

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** @returns every route of the edge at a URL, by its own reference. */
export async function listRoutes(url: string): Promise<Route[]> {
  const said = await fetch(`${url}/openapi.json`);
  const { paths } = (await said.json()) as { paths: Record<string, object> };
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item)
      .filter((name) => METHODS.includes(name))
      .map((name): Route => [name.toUpperCase(), path.replace(/\{\w+\}/g, 'x')]),
  );
}

/** Starts a browser for which EVIL is this machine, and which lets every page call this machine. */
export async function launchDeceivedBrowser(): Promise<Browser> {
  // Newer browsers ask before a page may call this machine; older ones, and people who say yes, do not stop it.
  const features = [
    'LocalNetworkAccessChecks',
    'LocalNetworkAccessForNavigations',
    'BlockInsecurePrivateNetworkRequests',
  ];
  return await launchBrowser([
    `--host-resolver-rules=MAP *${ATTACKER_HOST} 127.0.0.1`,
    `--disable-features=${features.join(',')}`,
  ]);
}

/** Opens a page as the attacker's own server has served it, before its name pointed here. */
export async function openAttackPage(browser: Browser, host: string, port: number) {
  const page = await browser.newPage();
  await page.route('**/attack', (route) => route.fulfill({ contentType: 'text/html', body: '<h1>Hello</h1>' }));
  await page.goto(`http://${host}:${port}/attack`);
  return page;
}

/**
 * Has a rebound page call routes, each with the header by which the local runtime is told another URL.
 *
 * @param forged the beginning of that URL; null for no such header
 * @returns each route with the status that the page got
 */
export async function callFromReboundPage(
  browser: Browser,
  port: number,
  routes: readonly Route[],
  forged: string | null = `http://localhost:${port}`,
) {
  const page = await openAttackPage(browser, ATTACKER_HOST, port);
  try {
    return await page.evaluate(
      async ({ all, base }) =>
        await Promise.all(
          all.map(async ([method, path]): Promise<[string, string, number]> => {
            const headers: Record<string, string> = base === null ? {} : { 'mf-original-url': base + path };
            return [method, path, (await fetch(path, { method, headers })).status];
          }),
        ),
      { all: [...routes], base: forged },
    );
  } finally {
    await page.close();
  }
}
