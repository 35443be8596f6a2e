import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '#test/support/root.ts';
import { runScript } from '#test/support/run-script.ts';

const STATE = '.wrangler/state/v3';

/** A checkout of its own: a script that does not stop at what it is asked could delete the developer's state. */
let checkout = '';

beforeAll(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'sluice-arguments-'));
  for (const name of ['scripts', 'package.json', 'tsconfig.json']) {
    await cp(join(root, name), join(checkout, name), { recursive: true });
  }
  for (const name of ['src', 'node_modules']) await symlink(join(root, name), join(checkout, name));
  await mkdir(join(checkout, STATE), { recursive: true });
});

afterAll(async () => await rm(checkout, { recursive: true, force: true }));

const run = async (script: string, ...args: string[]) =>
  await runScript(join(checkout, `scripts/${script}.ts`), args, { SLUICE_URL: 'http://localhost:9' });

test.each(['start', 'token', 'webhook', 'backup', 'restore', 'reset'])(
  'npm run %s prints its usage with --help or -h, and changes nothing',
  async (script) => {
    for (const asked of ['--help', '-h']) {
      const { status, stdout, stderr } = await run(script, asked);
      expect([status, stderr], script).toEqual([0, '']);
      expect(stdout).toMatch(new RegExp(`^Usage: .*npm (run (--silent )?)?${script}`));
    }
    expect(existsSync(join(checkout, STATE))).toBe(true);
    expect(existsSync(join(checkout, '.dev.vars'))).toBe(false);
  },
);

test.each(['token', 'webhook', 'backup', 'restore', 'reset'])(
  'npm run %s rejects an unknown option before it changes anything',
  async (script) => {
    const { status, stdout, stderr } = await run(script, '--halp');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain("Unknown option '--halp'");
    expect(stderr).toContain('Usage: ');
    expect(existsSync(join(checkout, STATE))).toBe(true);
  },
);

test('npm run reset deletes the local state, and explains that a running server needs a restart', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['scripts/reset.ts'], { cwd: checkout });
  expect(stdout).toContain('If npm start is running, stop it and start it again.');
  expect(existsSync(join(checkout, STATE))).toBe(false);
});
