/** The app of the Next.js guide, installed, built and started by the guide's commands. By day `server` tests its route handler. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createClient } from '#client/index.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { eventually } from '#test/support/eventually.ts';
import { countFollowers } from '#test/support/followers.ts';
import { LONG_QUESTION, startSlowEdge } from '#test/support/frontend.ts';
import { filesOfSection, readGuide } from '#test/support/guides.ts';
import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';
import { createToken } from '#test/support/tokens.ts';

const guide = await readGuide('nextjs');
const SECTIONS = ['The login', 'Forward requests', 'The page'];
const SESSION_SECRET = 'the session secret of the tests';
const LABEL = 'Conversation';

describe.skipIf(isBrowserMissing())('the app of the Next.js guide', () => {
  let folder: string;
  let browser: Browser;

  /** Runs a command in the app's folder. @returns its output */
  async function run(command: string, ...args: string[]): Promise<string> {
    const env = { ...process.env, NODE_ENV: undefined, NEXT_TELEMETRY_DISABLED: '1' };
    try {
      return (await promisify(execFile)(command, args, { cwd: folder, env })).stdout;
    } catch (thrown) {
      const { stdout = '', stderr = '' } = thrown as { stdout?: string; stderr?: string };
      throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: thrown });
    }
  }

  beforeAll(async () => {
    browser = await launchBrowser();
    folder = await mkdtemp(join(tmpdir(), 'sluice-next-'));
    await promisify(execFile)('npm', ['pack', '--pack-destination', folder], { cwd: root });
    const [, packages = ''] = /^npm install \.\.\/sluice\/(sluice-.*)$/m.exec(guide) ?? [];
    const [, types = ''] = /^npm install -D (.*)$/m.exec(guide) ?? [];
    await run('npm', 'init', '-y');
    await run('npm', 'pkg', 'set', 'type=module');
    const [tarball = '', ...others] = packages.split(' ');
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund'];
    await run('npm', ...install, `./${tarball}`, ...others);
    await run('npm', ...install, '-D', ...types.split(' '));
    for (const [name, code] of SECTIONS.flatMap((heading) => [...filesOfSection(guide, heading)])) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), code);
    }
    await run('node_modules/.bin/next', 'build');
  });

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Starts the built app. @returns its URL */
  async function start(edgeUrl: string): Promise<string> {
    const port = String(await findFreePort());
    const url = `http://localhost:${port}`;
    const settings = {
      SLUICE_URL: edgeUrl,
      SLUICE_ADMIN_TOKEN: await createToken('backend', ['admin']),
      SESSION_SECRET,
      NEXT_TELEMETRY_DISABLED: '1',
      NODE_ENV: undefined,
    };
    const app: ChildProcess = spawn('node_modules/.bin/next', ['start', '--port', port], {
      cwd: folder,
      env: { ...process.env, ...settings },
      stdio: 'ignore',
    });
    onTestFinished(async () => {
      const exited = once(app, 'exit');
      app.kill();
      if (app.exitCode === null && app.signalCode === null) await exited;
    });
    await eventually(async () => {
      expect((await fetch(url)).status).toBe(200);
    });
    return url;
  }

  /** Creates the session cookie of a user, as the guide's login does: the app's own replaces it in production. */
  async function createCookie(user: string, url: string) {
    vi.stubEnv('SESSION_SECRET', SESSION_SECRET);
    onTestFinished(() => void vi.unstubAllEnvs());
    const session = (await import(/* @vite-ignore */ pathToFileURL(join(folder, 'session.ts')).href)) as {
      logIn(user: string): string;
    };
    const [, name = '', value = ''] = /^(\w+)=([^;]+)/.exec(session.logIn(user)) ?? [];
    return { name, value, url };
  }

  /** Opens the app in a profile of its own. */
  async function open(url: string, user?: string): Promise<{ page: Page; faults: string[] }> {
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    if (user !== undefined) await context.addCookies([await createCookie(user, url)]);
    const page = await context.newPage();
    const faults: string[] = [];
    page.on('pageerror', ({ message }) => faults.push(message));
    page.on('console', (message) => {
      // Browsers request it by themselves, and the guide's app has none.
      if (message.type() !== 'error' || message.location().url.endsWith('/favicon.ico')) return;
      faults.push(message.text());
    });
    await page.goto(url);
    return { page, faults };
  }

  test('asks for a login, resumes a response after a reload, and closes the stream of a page that is left', async () => {
    const edge = await startSlowEdge();
    const url = await start(edge.url);
    const stranger = await open(url);
    await stranger.page.getByRole('link', { name: 'Log in' }).waitFor();
    expect((await fetch(`${url}/login`)).status).toBe(404);
    expect((await fetch(`${url}/edge/conversations/web-first`)).status).toBe(401);

    const { page, faults } = await open(url, 'alice');
    const answer = page.getByRole('region', { name: LABEL }).getByRole('article').nth(1);
    await page.getByRole('textbox', { name: 'Message' }).fill(LONG_QUESTION);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await answer.getByText('simulator').waitFor();
    const readLength = async () => (await answer.textContent())?.length ?? 0;
    expect(await findBarriers(page)).toEqual([]);
    const token = await createToken('alice');
    const count = async () => await countFollowers(edge.url, token, 'web-first');
    await expect.poll(count).toBe(1);
    for (const _ of [1, 2, 3]) {
      const shown = await readLength();
      await page.reload();
      await expect.poll(readLength).toBeGreaterThan(shown);
      // Only of the page that is open.
      await expect.poll(count).toBe(1);
    }
    await page.goto('about:blank');
    await expect.poll(count).toBe(0);
    const alice = createClient({ baseURL: edge.url, token });
    expect((await alice.conversations.get('web-first')).state).toBe('running');
    expect([faults, stranger.faults]).toEqual([[], []]);

    // The button, unlike a page that leaves, ends the answer.
    await page.goto(url);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('button', { name: 'Send', exact: true }).waitFor();
    await expect.poll(async () => (await alice.conversations.get('web-first')).state).toBe('idle');
  });
});
