import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findFreePort } from './processes.ts';
import { root } from './root.ts';

const START_TIMEOUT_MS = 240_000;
/** Whatever the developer's `.dev.vars` says, a test asks no upstream that costs money. */
const TEST_VARS = ['--inspector-port', '0', '--var', 'ANTHROPIC_API_KEY:', 'UPSTREAM:simulator'];
/** What wrangler says then. */
const READY_LINE = /^\[wrangler:info\] Ready on (\S+)$/m;

/** The product as a person starts it. */
export interface StartedProduct {
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
 * @param stateFolder a state of the test's own, which is there after the stop
 * @param options another folder than this checkout, another command than `npm start --`, and what the shell exports besides
 */
export async function runNpmStart(
  args: string[] = [],
  stateFolder?: string,
  options: { folder?: string; env?: Record<string, string>; command?: string[] } = {},
): Promise<StartedProduct> {
  const port = String(await findFreePort());
  const state = stateFolder ?? (await mkdtemp(join(tmpdir(), 'sluice-state-')));
  const [command = 'npm', ...first] = options.command ?? ['npm', 'start', '--'];
  const child = spawn(command, [...first, ...TEST_VARS, '--port', port, '--persist-to', state, ...args], {
    cwd: options.folder ?? root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Tests may have less said: this waits for a line.
    env: { ...process.env, WRANGLER_LOG: 'log', ...options.env },
  });
  if (child.pid === undefined) throw new Error('There is no npm on the PATH.');
  const { pid } = child;
  let output = '';
  /** Called when it has said something, and when it has ended. */
  let onOutput = () => {};
  for (const said of [child.stdout, child.stderr]) {
    said.on('data', (piece: Buffer) => {
      output += piece.toString();
      onOutput();
    });
  }
  const exited = new Promise<void>((resolve) =>
    child.once('exit', () => {
      resolve();
      onOutput();
    }),
  );
  const stop = async (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM') => {
    // The whole group: killing the outer process alone would leave the server on its port.
    if (child.exitCode === null && child.signalCode === null) process.kill(-pid, signal);
    await exited;
    if (stateFolder === undefined) await rm(state, { recursive: true, force: true });
  };
  const url = await new Promise<string | undefined>((resolve) => {
    const late = setTimeout(() => resolve(undefined), START_TIMEOUT_MS);
    onOutput = () => {
      const [, ready] = READY_LINE.exec(output) ?? [];
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
export async function expectFailedStart(...args: string[]): Promise<{ code: unknown; stderr: unknown }> {
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
