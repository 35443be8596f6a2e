/** What a deployment builds and uploads, as a process of its own: by day one dry run shows it, and stand-ins the rest. */
import { execFile, spawnSync } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { readConfig } from '../../scripts/read-config.ts';
import { DEPLOY, DeployCheckout, expectDryRun, QUICK } from '../support/deploy-checkout.ts';
import { root } from '../support/root.ts';

const { definedEnvironments = [] } = readConfig(join(root, 'wrangler.toml'), undefined) as {
  definedEnvironments?: string[];
};

let checkout: DeployCheckout;

beforeAll(async () => {
  checkout = await DeployCheckout.make();
});

afterAll(() => checkout.end());

test('npm run deploy builds the page and the Worker, and uploads what it has built', async () => {
  const { folder } = checkout;
  for (const name of Object.keys(QUICK)) await cp(join(root, name), join(folder, name));
  const { status, output, after } = await checkout.deploy({}, [], async (script, args, more) => {
    const options = { cwd: folder, env: { ...process.env, ...more } };
    const running = promisify(execFile)(process.execPath, [script, ...args], options);
    return await running.then(
      (said) => ({ status: 0, ...said }),
      (failed: { code: number; stdout: string; stderr: string }) => ({ ...failed, status: failed.code }),
    );
  });
  for (const [name, code] of Object.entries(QUICK)) await writeFile(join(folder, name), code);
  expect(status, output).toBe(0);
  expect(await readFile(join(folder, '.wrangler/worker/index.js'), 'utf8')).toBe(inject('deployed').code);
  expect(await readdir(join(folder, 'build'))).toContain('openapi.json');
  expect(output).toContain(`Sluice is deployed on ${checkout.address}`);
  expect(after.commands).toContainEqual([...DEPLOY, '--env', '']);
});

test.each(definedEnvironments)('passes the dry run of a deploy: %s', (name) => checkout.dryRun(['--env', name]));

test('passes the dry run of a deploy: the environment that the guide to the first day makes', async () => {
  await checkout.addProduction();
  await checkout.dryRun(['--env', 'production']);
});

test('passes the dry run of a deploy by npm, which builds all of it', () => {
  const args = ['run', '--silent', 'deploy', '--', '--dry-run'];
  expectDryRun(spawnSync('npm', args, { cwd: root, encoding: 'utf8' }));
});
