import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, readFile, stat } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { noBrowser } from '../support/browser.ts';
import { descendantsOf, portsOf } from '../support/processes.ts';
import {
  EVIL,
  launchDeceivedBrowser,
  openAttack,
  type Route,
  routesOf,
  statusesForReboundPage,
} from '../support/rebound-page.ts';
import { root } from '../support/root.ts';
import { npmStart, type Started } from '../support/start.ts';

let server: Started;
let port: number;
let routes: Route[] = [];

beforeAll(async () => {
  // As it is when it was copied from the example.
  await chmod(`${root}/.dev.vars`, 0o644);
  server = await npmStart();
  port = Number(new URL(server.url).port);
  routes = await routesOf(server.url);
  const pages = [
    '/',
    '/docs',
    '/openapi.json',
    '/app.js',
    '/none',
    '/cdn-cgi/local/scheduled',
    '/cdn-cgi/local/explorer',
  ];
  routes.push(...pages.map((path): Route => ['GET', path]));
});

afterAll(() => server.stop());

/** Sends a request with exactly these headers. @param timeout the milliseconds of silence after which it has failed */
async function send(to: number, method: string, path: string, headers: Record<string, string>, timeout = 120_000) {
  const outgoing = request({ host: '127.0.0.1', port: to, method, path, headers, timeout });
  outgoing.on('timeout', () => outgoing.destroy());
  const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
  let body = '';
  for await (const piece of incoming) body += String(piece);
  return { status: incoming.statusCode, body };
}

let seen = 0;

/** @returns the lines that the Worker has logged since it was asked last. */
async function newlyReached(): Promise<string[]> {
  // No route has it, so the log has it as it was sent.
  const mark = `/mark-${seen}`;
  await fetch(server.url + mark);
  const logged = () => server.output().match(/^\{"request_id".*$/gm) ?? [];
  await expect.poll(() => logged().some((line) => line.includes(`"${mark}"`))).toBe(true);
  const lines = logged().slice(seen);
  seen += lines.length;
  return lines.filter((line) => !line.includes(mark));
}

test('there are routes to try', async () => {
  expect(routes.length).toBeGreaterThan(40);
  // Whether it runs is asked at the start.
  expect(await newlyReached()).toEqual([expect.stringContaining('"/health"')]);
});

describe.skipIf(noBrowser())('in a browser', () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchDeceivedBrowser();
  });

  afterAll(() => browser.close());

  test('a page whose name has been made to point here gets 403 on every route, which is its own origin', async () => {
    const statuses = await statusesForReboundPage(browser, port, routes);
    expect(statuses).toEqual(routes.map((route) => [...route, 403]));
    expect(await newlyReached()).toEqual([]);
  });

  test('a page of another site reaches no route, whether it wants to read what is there or not', async () => {
    const page = await openAttack(browser, `other.${EVIL}`, port);
    const read = await page.evaluate(
      async ({ all, base }) => {
        const failed = (attempt: Promise<unknown>) =>
          attempt.then(
            () => false,
            () => true,
          );
        return await Promise.all(
          all.map(async ([method, path]) => {
            // Without reading the answer, no question is asked before.
            if (method === 'GET' || method === 'POST') await failed(fetch(base + path, { method, mode: 'no-cors' }));
            const picture = new Image();
            picture.src = base + path;
            await failed(picture.decode());
            return !(await failed(fetch(base + path, { method })));
          }),
        );
      },
      { all: routes, base: `http://localhost:${port}` },
    );
    expect(read).not.toContain(true);
    await page.close();
    expect(await newlyReached()).toEqual([]);
  });
});

test('a client that names another host gets 403 on every route, whatever it says of where the request came to', async () => {
  for (const [method, path] of routes) {
    for (const host of [EVIL, `${EVIL}:${port}`, 'quick-tunnel.trycloudflare.com']) {
      const headers = { host, 'mf-original-url': `http://localhost:${port}${path}` };
      expect([method, path, (await send(port, method, path, headers)).status]).toEqual([method, path, 403]);
    }
  }
  expect(await newlyReached()).toEqual([]);
});

test('what a client says of where its request came to changes nothing', async () => {
  const headers = { host: 'localhost', 'mf-original-url': `http://${EVIL}/tokens`, 'mf-route-override': 'x' };
  expect(await send(port, 'GET', '/health', headers)).toMatchObject({ status: 200 });
});

test('nobody is answered on any other port that it has opened, but by what everybody may read', async () => {
  const pids = await descendantsOf(process.pid);
  const others = (await portsOf(pids)).filter((other) => other !== port);
  // Wrangler's own, its Worker's, its inspector's.
  expect(others.length).toBeGreaterThanOrEqual(3);
  let refused = 0;
  for (const other of others) {
    for (const path of [
      '/conversations',
      '/accounts',
      '/usage',
      '/cdn-cgi/local/explorer/api',
      '/cdn-cgi/explorer/api',
    ]) {
      const headers = { host: 'localhost', 'mf-original-url': `http://localhost:${port}${path}` };
      const answer = await send(other, 'GET', path, headers, 5_000).catch(() => undefined);
      if (answer?.status === 403) refused += 1;
      expect([path, answer?.status ?? 'none']).not.toEqual([path, 200]);
      expect(answer?.body ?? '').not.toMatch(/"data"|durable|namespace/i);
    }
  }
  expect(refused).toBeGreaterThan(0);
});

test('no page gets to an inspector, which would run code for it', async () => {
  const others = (await portsOf(await descendantsOf(process.pid))).filter((other) => other !== port);
  for (const other of others) {
    for (const path of ['/', '/ws', '/core:user:sluice']) {
      const asked = `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${other}\r\norigin: http://${EVIL}\r\nuser-agent: a browser\r\n`;
      const key = randomBytes(16).toString('base64');
      const upgrade = `connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`;
      const socket = connect(other, '127.0.0.1');
      socket.setTimeout(2_000, () => socket.destroy());
      socket.write(asked + upgrade);
      const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')]).catch(() => []);
      socket.destroy();
      expect([path, String(answer).slice(0, 13)]).not.toEqual([path, 'HTTP/1.1 101 ']);
    }
  }
});

test('the secret that opens it is on no command line, and in no file that others can read', async () => {
  const pids = await descendantsOf(process.pid);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  const file = /--env-file\0([^\0]+)/.exec(lines.join('\0'))?.[1] ?? '';
  const secret = /START_SECRET='([^']+)'/.exec(await readFile(file, 'utf8'))?.[1] ?? '';
  expect(secret.length).toBeGreaterThanOrEqual(32);
  expect(lines.join('\n')).not.toContain(secret);
  expect(server.output()).not.toContain(secret);
  for (const path of [file, `${root}/.dev.vars`]) expect((await stat(path)).mode & 0o777).toBe(0o600);
});
