import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { noBrowser } from '../support/browser.ts';
import { freePort } from '../support/processes.ts';
import { launchDeceivedBrowser, type Route, routesOf, statusesForReboundPage } from '../support/rebound-page.ts';
import { root } from '../support/root.ts';

const ASKED = { model: 'claude-haiku-5-5', max_tokens: 20, messages: [{ role: 'user' as const, content: 'Hello' }] };

/** The files of this checkout as a fresh clone has them after `npm install`: nothing is built. */
let clone: string;

beforeAll(async () => {
  clone = await mkdtemp(join(tmpdir(), 'sluice-clone-'));
  const options = { cwd: root, encoding: 'utf8' as const };
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], options);
  const deleted = new Set(execFileSync('git', ['ls-files', '-z', '--deleted'], options).split('\0'));
  for (const file of listed.split('\0')) {
    if (file !== '' && !deleted.has(file)) await cp(join(root, file), join(clone, file));
  }
  await symlink(join(root, 'node_modules'), join(clone, 'node_modules'));
});

afterAll(() => rm(clone, { recursive: true, force: true }));

/** Runs `wrangler dev` in the clone, as a person does who knows nothing of `npm start`. */
async function wranglerDev(...args: string[]) {
  const port = await freePort();
  const wrangler = join(clone, 'node_modules/.bin/wrangler');
  const child = spawn(wrangler, ['dev', '--port', String(port), '--inspector-port', '0', ...args], {
    cwd: clone,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' },
  });
  let output = '';
  const exited = once(child, 'exit');
  const ready = new Promise<boolean>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (piece: Buffer) => {
        output += String(piece);
        if (output.includes('Ready on')) resolve(true);
      });
    }
    child.once('exit', () => resolve(false));
  });
  const stop = async () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await exited;
  };
  if (!(await ready)) throw new Error(output);
  return { port, url: `http://localhost:${port}`, stop };
}

/** Sends a request with exactly these headers, as no browser would. */
async function statusOf(port: number, path: string, headers: Record<string, string>): Promise<number | undefined> {
  const outgoing = request({ host: '127.0.0.1', port, path, headers });
  const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
  incoming.resume();
  await once(incoming, 'end');
  return incoming.statusCode;
}

describe('wrangler dev in a fresh clone, without a key', () => {
  let edge: Awaited<ReturnType<typeof wranglerDev>>;

  beforeAll(async () => {
    edge = await wranglerDev();
  });

  afterAll(() => edge.stop());

  test('builds, and answers by the simulator', async () => {
    const client = new Anthropic({ baseURL: edge.url, apiKey: 'none' });
    const { data, response } = await client.messages.create(ASKED).withResponse();
    expect(response.headers.get('sluice-upstream')).toBe('simulator');
    expect(data.content[0]).toMatchObject({ type: 'text' });
    const page = await fetch(`${edge.url}/`);
    expect(await page.text()).toContain('<title>');
  });

  test('answers no client that names another host, whatever it says of where its request came to', async () => {
    for (const path of ['/conversations', '/accounts', '/usage', '/v1/models']) {
      const forged = { 'mf-original-url': `http://localhost:${edge.port}${path}`, host: 'evil.test' };
      expect(await statusOf(edge.port, path, { host: 'evil.test' })).toBe(403);
      expect(await statusOf(edge.port, path, forged)).toBe(401);
      expect(await statusOf(edge.port, path, { ...forged, origin: 'http://evil.test' })).toBe(403);
    }
  });

  describe.skipIf(noBrowser())('in a browser', () => {
    test('answers no page whose name has been made to point here, but what everybody may know', async () => {
      await using browser = await launchDeceivedBrowser();
      const routes = (await routesOf(edge.url)).filter(([, path]) => path !== '/health');
      expect(routes.length).toBeGreaterThan(40);
      const statuses = await statusesForReboundPage(browser, edge.port, routes);
      const refused = (route: Route) => (route[0] === 'GET' ? 401 : 403);
      expect(statuses).toEqual(routes.map((route) => [...route, refused(route)]));
    });

    test('answers its own page', async () => {
      await using browser = await launchDeceivedBrowser();
      const page = await browser.newPage();
      await page.goto(`${edge.url}/`);
      expect(await page.evaluate(async () => (await fetch('/conversations')).status)).toBe(200);
    });
  });
});

test('wrangler dev with a key asks for a token, and says so', async () => {
  const edge = await wranglerDev('--var', 'ANTHROPIC_API_KEY:sk-none');
  try {
    const answer = await fetch(`${edge.url}/v1/messages`, { method: 'POST', body: JSON.stringify(ASKED) });
    expect(answer.status).toBe(401);
    expect(await answer.text()).toContain('npm start');
  } finally {
    await edge.stop();
  }
});
