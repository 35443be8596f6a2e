/** Pages whose names were made to point here, in Chromium. By day `auth` has the rule, and `e2e/start` an edge without a key. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import { EXPLORER_OFF, EXPLORER_ON, statusesOfExplorer } from '#test/support/explorer.ts';
import { PackedProject } from '#test/support/packed-project.ts';
import {
  ATTACKER_HOST,
  callFromReboundPage,
  launchDeceivedBrowser,
  listRoutes,
  openAttackPage,
} from '#test/support/rebound-page.ts';
import { root } from '#test/support/root.ts';
import { runNpmStart, type StartedProduct } from '#test/support/start.ts';

const WRANGLER = ['npx', 'wrangler', 'dev'];
const KEY = ['--var', 'ANTHROPIC_API_KEY:sk-none'];

/** The files of this checkout as a fresh clone has them after `npm install`: nothing is built. */
let clone: string;
let project: PackedProject;

beforeAll(async () => {
  clone = await mkdtemp(join(tmpdir(), 'sluice-clone-'));
  const options = { cwd: root, encoding: 'utf8' as const };
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], options);
  const deleted = new Set(execFileSync('git', ['ls-files', '-z', '--deleted'], options).split('\0'));
  for (const file of listed.split('\0')) {
    if (file !== '' && !deleted.has(file)) await cp(join(root, file), join(clone, file));
  }
  await symlink(join(root, 'node_modules'), join(clone, 'node_modules'));
  project = await PackedProject.create(false);
  await project.init('edge', '--plugins', 'all');
});

afterAll(async () => {
  await rm(clone, { recursive: true, force: true });
  await project.remove();
});

/** @returns whether everybody may know what stands at a path */
const isCommon = (path: string) => /^\/(health|openapi\.json|(v1\/)?models(\/x)?)$/.test(path);

describe.skipIf(isBrowserMissing()).each([
  ['npm start', EXPLORER_OFF, () => runNpmStart(KEY)],
  // Only this one has wrangler's explorer: it shows that the paths are still the explorer's.
  [
    'wrangler dev in a fresh clone',
    EXPLORER_ON,
    () => runNpmStart(KEY, undefined, { folder: clone, command: WRANGLER }),
  ],
  [
    'an edge that sluice init has made',
    EXPLORER_OFF,
    () => runNpmStart(KEY, undefined, { folder: join(project.folder, 'edge') }),
  ],
])('with a key, %s', (_, explorer, start) => {
  let edge: StartedProduct;
  let browser: Browser;

  beforeAll(async () => {
    [edge, browser] = await Promise.all([start(), launchDeceivedBrowser()]);
  });

  afterAll(async () => {
    await browser?.close();
    await edge?.stop();
  });

  test('gives a rebound page only public information, and spends nothing for it', async () => {
    const routes = (await listRoutes(edge.url)).filter(([, path]) => !isCommon(path));
    expect(routes.length).toBeGreaterThan(40);
    const statuses = await callFromReboundPage(browser, Number(new URL(edge.url).port), routes);
    expect(statuses).toEqual(routes.map((route) => [...route, route[0] === 'GET' ? 401 : 403]));
  });

  test('lets a page of another site read nothing', async () => {
    const { port } = new URL(edge.url);
    const page = await openAttackPage(browser, `other.${ATTACKER_HOST}`, Number(port));
    const read = await page.evaluate(
      async (base) =>
        await Promise.all(
          ['/conversations', '/usage', '/accounts'].map((path) =>
            fetch(base + path).then(
              () => true,
              () => false,
            ),
          ),
        ),
      `http://localhost:${port}`,
    );
    expect(read).toEqual([false, false, false]);
  });

  test("serves wrangler's local explorer only if it is not turned off", async () => {
    expect(await statusesOfExplorer(edge.url)).toEqual(explorer);
  });

  test('lets its own page read conversations', async () => {
    const page = await browser.newPage();
    await page.goto(`${edge.url}/`);
    expect(await page.evaluate(async () => (await fetch('/conversations')).status)).toBe(200);
  });
});

/** What wrangler calls the Worker with instead of the host in the request. */
const OTHER = 'localhost:9999';

describe.skipIf(isBrowserMissing()).each([
  ['--local-upstream', ['--local-upstream', OTHER]],
  ['--host', ['--host', OTHER]],
  ['--local-upstream over http', ['--local-upstream', OTHER, '--upstream-protocol', 'http']],
  ['--route', ['--route', 'localhost/*']],
  ['host in [dev]', ['--config', 'wrangler.host.toml']],
])('with a key and another host by %s, wrangler dev', (_, options) => {
  let edge: StartedProduct;
  let browser: Browser;

  beforeAll(async () => {
    const configured = (await readFile(join(clone, 'wrangler.toml'), 'utf8')).replace(
      '[dev]',
      `[dev]\nhost = "${OTHER}"`,
    );
    await writeFile(join(clone, 'wrangler.host.toml'), configured);
    const where = { folder: clone, command: WRANGLER };
    [edge, browser] = await Promise.all([runNpmStart([...KEY, ...options], undefined, where), launchDeceivedBrowser()]);
  });

  afterAll(async () => {
    await browser?.close();
    await edge?.stop();
  });

  test('rejects a rebound page on every route that is not public, whatever host it claims', async () => {
    const { port } = new URL(edge.url);
    const routes = (await listRoutes(edge.url)).filter(([, path]) => !isCommon(path));
    expect(routes.length).toBeGreaterThan(40);
    for (const forged of [null, `http://localhost:${port}`, `http://${ATTACKER_HOST}:${port}`, `http://${OTHER}`]) {
      const statuses = await callFromReboundPage(browser, Number(port), routes, forged);
      expect(statuses, String(forged)).toEqual(routes.map((route) => [...route, route[0] === 'GET' ? 401 : 403]));
    }
  });

  test('rejects requests with forged host headers from a socket', async () => {
    const { port } = new URL(edge.url);
    for (const name of [ATTACKER_HOST, 'localhost', '127.0.0.1', `localhost.${ATTACKER_HOST}`]) {
      for (const forged of [{}, { 'mf-original-url': `http://${name}:${port}/messages` }]) {
        const headers = { host: `${name}:${port}`, origin: `http://${name}:${port}`, ...forged };
        expect(await statusOfPost(port, headers), JSON.stringify(headers)).toBe(403);
      }
    }
  });
});

/** Sends a message with exactly these headers. */
async function statusOfPost(port: string, headers: Record<string, string>): Promise<number | undefined> {
  const type = { 'content-type': 'application/json' };
  const outgoing = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: '/messages',
    headers: { ...headers, ...type },
  });
  const [incoming] = (await once(outgoing.end('{}'), 'response')) as [IncomingMessage];
  incoming.resume();
  await once(incoming, 'end');
  return incoming.statusCode;
}

test('wrangler dev in a fresh clone builds, and responds with the simulator', async () => {
  const edge = await runNpmStart([], undefined, { folder: clone, command: WRANGLER });
  try {
    const body = JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 20,
      messages: [{ role: 'user', content: 'Hi' }],
    });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${edge.url}/v1/messages`, { method: 'POST', headers, body });
    expect([answer.status, answer.headers.get('sluice-upstream')]).toEqual([200, 'simulator']);
    expect((await fetch(`${edge.url}/conversations`)).status).toBe(200);
    expect(await (await fetch(`${edge.url}/`)).text()).toContain('<title>');
  } finally {
    await edge.stop();
  }
});
