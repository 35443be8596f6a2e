import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './processes.ts';
import { root } from './root.ts';

const READY_MS = 240_000;
/** Whatever the developer's `.dev.vars` says, a test asks no upstream that costs money. */
const OWN = ['--inspector-port', '0', '--var', 'ANTHROPIC_API_KEY:', 'UPSTREAM:simulator'];
/** What wrangler says then. */
const READY = /^\[wrangler:info\] Ready on (\S+)$/m;

/** The product as a person starts it. */
export interface Started {
  url: string;
  /** Of npm itself. */
  pid: number;
  output(): string;
  /** Ends everything that was started, as Ctrl+C does, or as a power cut does. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/**
 * Runs `npm start` on a free port and a state of its own, and waits until it says that it is ready.
 *
 * @param args what follows `npm start --`
 * @param kept a state of the test's own, which is there after the stop
 * @param where another folder than this checkout, another command than `npm start --`, and what the shell exports besides
 */
export async function npmStart(
  args: string[] = [],
  kept?: string,
  where: { folder?: string; env?: Record<string, string>; command?: string[] } = {},
): Promise<Started> {
  const port = String(await freePort());
  const state = kept ?? (await mkdtemp(join(tmpdir(), 'sluice-state-')));
  const [command = 'npm', ...first] = where.command ?? ['npm', 'start', '--'];
  const child = spawn(command, [...first, ...OWN, '--port', port, '--persist-to', state, ...args], {
    cwd: where.folder ?? root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Tests may have less said: this waits for a line.
    env: { ...process.env, WRANGLER_LOG: 'log', ...where.env },
  });
  if (child.pid === undefined) throw new Error('There is no npm on the PATH.');
  const { pid } = child;
  let output = '';
  /** Called when it has said something, and when it has ended. */
  let changed = () => {};
  for (const said of [child.stdout, child.stderr]) {
    said.on('data', (piece: Buffer) => {
      output += piece.toString();
      changed();
    });
  }
  const exited = new Promise<void>((resolve) =>
    child.once('exit', () => {
      resolve();
      changed();
    }),
  );
  const stop = async (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM') => {
    // The whole group: killing the outer process alone would leave the server on its port.
    if (child.exitCode === null && child.signalCode === null) process.kill(-pid, signal);
    await exited;
    if (kept === undefined) await rm(state, { recursive: true, force: true });
  };
  const url = await new Promise<string | undefined>((resolve) => {
    const late = setTimeout(() => resolve(undefined), READY_MS);
    changed = () => {
      const [, ready] = READY.exec(output) ?? [];
      if (ready === undefined && child.exitCode === null && child.signalCode === null) return;
      clearTimeout(late);
      resolve(ready);
    };
  });
  if (url === undefined) {
    await stop('SIGKILL');
    throw new Error(`npm start did not get ready:\n${output}`);
  }
  return { url, pid, output: () => output, stop };
}

/** Runs `npm start`, which must not start. @returns what it ends with */
export async function failedStart(...args: string[]): Promise<{ code: unknown; stderr: unknown }> {
  const ended: Error & { code?: unknown; stderr?: unknown } = await promisify(execFile)(
    'npm',
    ['start', '--', ...args],
    {
      cwd: root,
    },
  ).then(
    () => new Error('It started.'),
    (thrown) => thrown,
  );
  return { code: ended.code, stderr: ended.stderr };
}
