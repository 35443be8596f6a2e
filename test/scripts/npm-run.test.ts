import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { descendantsOf, runs } from '../support/processes.ts';
import { npmStart } from '../support/start.ts';

const SCRIPT = fileURLToPath(new URL('../fixtures/npm-script.ts', import.meta.url));

async function running(pids: readonly number[]): Promise<number[]> {
  const answers = await Promise.all(pids.map(async (pid) => ((await runs(pid)) ? [pid] : [])));
  return answers.flat();
}

test('who ends the process of npm alone ends all that npm start has started', async () => {
  const state = await mkdtemp(join(tmpdir(), 'sluice-state-'));
  const started = await npmStart([], state);
  const all = await descendantsOf(started.pid);
  try {
    expect(all.length).toBeGreaterThan(3);
    // Nor does it store a trace of each request beside the product's own rows. (The local runtime counts visitors on disk.)
    expect((await readdir(join(state, 'v3'))).sort()).toEqual(['cache', 'do', 'kv', 'ratelimit']);
    process.kill(started.pid, 'SIGTERM');
    await expect.poll(() => running(all)).toEqual([]);
  } finally {
    for (const pid of await running(all)) process.kill(pid, 'SIGKILL');
    await started.stop('SIGKILL');
    await rm(state, { recursive: true, force: true });
  }
});

test.each(['SIGTERM', 'SIGHUP', 'SIGKILL'] as const)(
  'a script ends with its npm, which gets %s alone',
  async (signal) => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-npm-'));
    await writeFile(
      join(folder, 'package.json'),
      JSON.stringify({ scripts: { start: `"${process.execPath}" "${SCRIPT}"` } }),
    );
    const npm = spawn('npm', ['start'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(npm, 'exit');
    let pid = 0;
    for await (const piece of npm.stdout) {
      pid = Number(/runs as (\d+)/.exec(String(piece))?.[1] ?? 0);
      if (pid !== 0) break;
    }
    try {
      expect(await running([pid])).toEqual([pid]);
      npm.kill(signal);
      await ended;
      await expect.poll(() => running([pid])).toEqual([]);
    } finally {
      for (const one of await running([pid])) process.kill(one, 'SIGKILL');
      await rm(folder, { recursive: true, force: true });
    }
  },
);
