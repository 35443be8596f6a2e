import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from '#test/support/root.ts';

const run = promisify(execFile);
/** The lowest version of Node that the README names, and the npm that came with it. */
const OLDEST = ['node@20.0.0', 'npm@9.6.4'];

test('a checkout installs with the oldest Node of the README, and its commands then run with the Node that it brings', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-oldest-node-'));
  try {
    await run('npm', ['install', '--prefix', join(folder, 'oldest'), '--no-save', ...OLDEST]);
    const path = [join(folder, 'oldest/node_modules/.bin'), '/usr/bin', '/bin'].join(delimiter);
    const options = { cwd: join(folder, 'checkout'), env: { ...process.env, PATH: path } };
    for (const name of ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'scripts', 'src'])
      await cp(join(root, name), join(folder, 'checkout', name), { recursive: true });
    expect((await run('node', ['--version'], options)).stdout).toBe('v20.0.0\n');
    const { stderr } = await run('npm', ['ci'], options);
    expect(stderr).not.toContain('EBADENGINE');
    const env = { ...options.env, SIGNING_SECRET: 'a-secret-for-the-oldest-node-of-all-of-them' };
    const { stdout } = await run('npm', ['run', '--silent', 'token', '--', '--account', 'alice'], { ...options, env });
    expect(stdout).toMatch(/^eyJ\S+\n$/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
