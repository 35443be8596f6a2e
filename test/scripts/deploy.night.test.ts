/** What a deployment builds and uploads, as a process of its own: by day one dry run shows it, and stand-ins the rest. */
import { execFile, spawnSync } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { readConfig } from '../../scripts/read-config.ts';
import { DEPLOY, DeployCheckout, QUICK } from '../support/deploy-checkout.ts';
import { root } from '../support/root.ts';

/** Stands in for the bundler with what is bundled already. */
const AS_BUILT = `import { readFileSync } from 'node:fs';
const built = JSON.parse(readFileSync(new URL('../built.json', import.meta.url), 'utf8'));
export const bundleWorker = async () => built;`;
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

// What is built is the same for all of them: it is built once.
test.each(definedEnvironments)('passes the dry run of a deploy: %s', async (name) => {
  const { folder } = checkout;
  const args = ['--dry-run', '--env', name];
  await cp(join(root, 'build'), join(folder, 'build'), { recursive: true });
  await writeFile(join(folder, 'built.json'), JSON.stringify(inject('deployed')));
  await writeFile(join(folder, 'scripts/bundle.ts'), AS_BUILT);
  await checkout.putConfig(args);
  const dry = spawnSync(process.execPath, ['scripts/deploy.ts', ...args], { cwd: folder, encoding: 'utf8' });
  await writeFile(join(folder, 'scripts/bundle.ts'), QUICK['scripts/bundle.ts']);
  expect(dry.status, dry.stderr).toBe(0);
  expect(dry.stdout).toContain('env.ACCOUNT (Account)');
  expect(dry.stdout).toContain('--dry-run: exiting now.');
  expect(dry.stdout + dry.stderr).not.toContain('WARNING');
  const uploaded = await readFile(join(folder, '.wrangler/worker/index.js'), 'utf8');
  expect(uploaded).toBe(inject('deployed').code);
});
