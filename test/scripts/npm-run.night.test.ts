import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { descendantsOf, running } from '../support/processes.ts';
import { npmStart } from '../support/start.ts';

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
