import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { descendantsOf, freePort, runs } from '../support/processes.ts';
import { root } from '../support/root.ts';
import { npmStart, type Started } from '../support/start.ts';
import { WRANGLER_OPTIONS } from '../support/start-options.ts';

/** Those that start a server. (Where the state is, every test says.) */
const TRIED = Object.entries(WRANGLER_OPTIONS).filter(
  ([name, option]) => option.fate !== 'refused' && !('untried' in option) && name !== '--persist-to',
);

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-options-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('each option of wrangler dev that starts a server', () => {
  let server: Started;
  let inspector: number;

  beforeAll(async () => {
    inspector = await freePort();
    const file = join(folder, 'more.env');
    await writeFile(file, `MODEL_ALIASES='{"cheap$HOME":"claude-haiku-5-5"}'\nSIMULATOR_TTFT_MS=1\n`);
    const stands: Record<string, string> = { FILE: file, PORT: String(inspector) };
    const args = TRIED.flatMap(([, option]) => option.args.map((arg) => stands[arg] ?? arg));
    server = await npmStart(args, join(folder, 'state'));
  });

  afterAll(() => server.stop());

  test('works, all of them together', async () => {
    expect(TRIED.length).toBeGreaterThan(25);
    const body = JSON.stringify({ model: 'cheap$HOME', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${server.url}/v1/messages`, { method: 'POST', headers, body });
    expect([answer.status, answer.headers.get('sluice-upstream')]).toEqual([200, 'simulator']);
  });

  test('--inspector-port: the inspector is there', async () => {
    const pages = (await (await fetch(`http://127.0.0.1:${inspector}/json`)).json()) as {
      webSocketDebuggerUrl: string;
    }[];
    expect(pages[0]?.webSocketDebuggerUrl).toContain(String(inspector));
  });

  test('--live-reload: pages have its script, and its WebSocket opens', async () => {
    expect(await (await fetch(`${server.url}/`)).text()).toContain('/cdn-cgi/live-reload');
    const protocol = 'WRANGLER_PROXYWORKER_LIVE_RELOAD_PROTOCOL';
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/cdn-cgi/live-reload`, protocol);
    await once(socket, 'open');
    socket.close();
  });

  test('--test-scheduled: a scheduled event can be made, by its newer path too', async () => {
    for (const path of ['/__scheduled', '/cdn-cgi/local/scheduled']) {
      expect((await fetch(server.url + path)).status, path).not.toBe(404);
    }
  });

  test('--persist-to: what is stored is there', () => {
    expect(existsSync(join(folder, 'state'))).toBe(true);
  });

  test('it says its own address, and no other', () => {
    const named = server.output().match(/https?:\/\/(localhost|127\.0\.0\.1|\[::1\]):\d+/g) ?? [];
    expect(new Set(named)).toEqual(new Set([server.url]));
    expect(server.output()).not.toContain('.wrangler/start-');
  });

  test('it prints no list of bindings', () => {
    expect(server.output()).toContain('Sluice is ready');
    expect(server.output()).not.toMatch(/bindings|Durable Object|SIGNING_SECRET|valid header rules/);
  });
});

/**
 * Lists what starts have put beside the checkout.
 *
 * @param pid of one start: others run beside this test
 */
async function filesOfStarts(pid?: number): Promise<string[]> {
  const prefix = pid === undefined ? 'start-' : `start-${pid}-`;
  return (await readdir(join(root, '.wrangler'))).filter((name) => name.startsWith(prefix));
}

/** Runs the script to its end. */
async function start(args: string[]): Promise<{ code: number | null; said: string }> {
  // Node itself, as npm runs it: npm takes as long as the refusal.
  const child = spawn(join(root, 'node_modules/.bin/node'), ['scripts/start.ts', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

// Each way in which one can be written is refused by test/scripts/start-options.test.ts: all of them end here.
test('what would let others in is refused in a sentence, before anything is started', async () => {
  const refused = Object.values(WRANGLER_OPTIONS).filter(({ fate }) => fate === 'refused');
  expect(refused.length).toBeGreaterThan(5);
  const [first = { args: [] }] = refused;
  for (const args of [first.args, ['--ip', '0.0.0.0'], ['--inspector-ip', '0.0.0.0']]) {
    const { code, said } = await start(['--port', '0', ...args]);
    expect([args, code]).toEqual([args, 1]);
    expect(said.trim().split('\n'), said).toHaveLength(1);
    expect(said).toContain(args[0]);
  }
});

describe('a start that is open to the network by its flag, beside what others have left', () => {
  let server: Started;
  let left: string;
  const used = `start-${process.pid}-used`;

  beforeAll(async () => {
    const gone = spawn('true');
    await once(gone, 'exit');
    left = `start-${gone.pid}-left`;
    for (const name of [left, used]) await mkdir(join(root, '.wrangler', name), { recursive: true });
    server = await npmStart(['--ip', '0.0.0.0', '--open-to-the-network']);
  });

  afterAll(async () => {
    await server.stop();
    await rm(join(root, '.wrangler', used), { recursive: true });
  });

  test('is so by addresses alone, and says so', async () => {
    expect(server.output()).toContain('Everybody on your network');
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });

  test('removes what one has left that was killed with all of its processes, and no other', async () => {
    const names = await filesOfStarts();
    expect([names.includes(left), names.includes(used)]).toEqual([false, true]);
  });
});

test.each(['SIGKILL', 'SIGTERM'] as const)(
  'nothing is left running, and no file of it, when the start script alone gets a %s in the middle of an answer',
  async (signal) => {
    const args = ['--port', '0', '--persist-to', join(folder, signal), '--var', 'UPSTREAM:simulator'];
    // Node itself, as npm runs it: there is no process between that would end the others.
    const child = spawn(join(root, 'node_modules/.bin/node'), ['scripts/start.ts', ...args], {
      cwd: root,
      // What its processes say of a parent that is killed is no news.
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let said = '';
    child.stdout.on('data', (piece: Buffer) => (said += piece.toString()));
    const ready = () => /^Sluice is ready on (\S+)$/m.exec(said)?.[1];
    await expect.poll(ready).toBeDefined();
    const url = ready() ?? '';
    const body = JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 4_000,
      messages: [{ role: 'user', content: 'Hi' }],
    });
    const headers = { 'content-type': 'application/json', 'sluice-simulate': 'tps=1' };
    const answer = await fetch(`${url}/messages`, { method: 'POST', headers, body });
    expect(answer.status).toBe(200);
    expect(await filesOfStarts(child.pid)).toHaveLength(1);
    const started = await descendantsOf(child.pid ?? 0);
    expect(started.length).toBeGreaterThan(3);
    process.kill(child.pid ?? 0, signal);
    await expect.poll(async () => (await Promise.all(started.map(runs))).filter((is) => is)).toEqual([]);
    await expect(fetch(`${url}/health`)).rejects.toThrow();
    await answer.body?.cancel().catch(() => {});
    await expect.poll(() => filesOfStarts(child.pid)).toEqual([]);
  },
);
