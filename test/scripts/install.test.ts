import { execFile } from 'node:child_process';
import { delimiter } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from '#test/support/root.ts';

test('npm install prints no engine warning with this machine’s Node (20, 22 or 24)', async () => {
  // Without the folder of the packages: a Node of their own stands there.
  const path = (process.env.PATH ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  const { stderr } = await promisify(execFile)('npm', ['install', '--dry-run', '--offline', '--ignore-scripts'], {
    cwd: root,
    env: { ...process.env, PATH: path.join(delimiter), npm_config_loglevel: undefined },
  });
  expect(stderr).not.toContain('EBADENGINE');
});
