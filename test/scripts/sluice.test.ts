import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-init-'));
  await mkdir(join(folder, 'full'));
  await writeFile(join(folder, 'full/notes.txt'), 'mine');
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const init = (...args: string[]) => runScript(join(root, 'scripts/init.ts'), args);

test.each([
  [[], 'Pass the path of one new folder.\nUsage: sluice init DIR [--plugins webhooks,agents] [--no-page]'],
  [['full'], 'full is not empty. Use a new folder.'],
  [['full/notes.txt'], 'notes.txt cannot be read: ENOTDIR'],
  [['new', 'newer'], 'Pass the path of one new folder.'],
  [['new', '--plugins', 'agents,webhoks'], 'Unknown plugin webhoks. Did you mean webhooks?'],
  [['new', '--plugins', 'weather'], 'Unknown plugin weather. The plugins are visitors, agents, summaries,'],
  [['new', '--romms', 'agents'], "Unknown option '--romms'"],
])('sluice init %j explains the error and creates nothing', async ([name, ...more], words) => {
  const { status, stderr } = await init(...(name === undefined ? [] : [join(folder, name)]), ...more);
  expect([status, stderr]).toEqual([1, expect.stringContaining(words)]);
  expect((await readdir(folder, { recursive: true })).toSorted()).toEqual(['full', 'full/notes.txt']);
});

test('sluice init --help lists all plugins', async () => {
  const { status, stdout } = await init('--help');
  expect([status, stdout]).toEqual([0, expect.stringMatching(/--plugins .*visitors, .*operator\n/s)]);
});

test.each([
  [['inti'], 1, 'Unknown command inti.\nUsage:\nsluice init DIR'],
  [[], 1, 'A command is required.\nUsage:\nsluice init DIR'],
  [['--help'], 0, 'sluice deploy [--dry-run]'],
])('sluice %j lists the commands', async (args, code, words) => {
  const { status, stdout, stderr } = await runScript(join(root, 'scripts/sluice.ts'), args);
  expect([status, stdout + stderr]).toEqual([code, expect.stringContaining(words)]);
});

test.each(['20.19.0', '22.11.0'])('sluice rejects Node %s and names the required version', async (version) => {
  vi.stubGlobal('process', Object.create(process, { versions: { value: { ...process.versions, node: version } } }));
  try {
    const { status, stderr } = await runScript(join(root, 'scripts/sluice.ts'), ['--help']);
    expect([status, stderr]).toEqual([1, `sluice requires Node 22.12 or newer. This is Node ${version}.\n`]);
  } finally {
    vi.unstubAllGlobals();
  }
});
