import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { running } from '../support/processes.ts';

const SCRIPT = fileURLToPath(new URL('../fixtures/npm-script.ts', import.meta.url));

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
