/** What a running `npm start` makes of changed files. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '#test/support/root.ts';
import { runNpmStart, type StartedProduct } from '#test/support/start.ts';

const COPIED = ['package.json', 'tsconfig.json', 'wrangler.toml', 'README.md', 'src', 'scripts', 'docs', 'examples'];
const REBUILT = { timeout: 120_000 };

let folder: string;
let edge: StartedProduct;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-broken-'));
  for (const name of COPIED) await cp(join(root, name), join(folder, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  edge = await runNpmStart([], join(folder, 'state'), { folder });
});

afterAll(async () => {
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
});

test.each([
  ['the Worker', 'src/edge/health/health.route.ts'],
  ['the page', 'src/page/theme.ts'],
])('a syntax error in a source file of %s is reported, and the edge recovers when it is fixed', async (_, file) => {
  const path = join(folder, file);
  const whole = await readFile(path, 'utf8');
  const before = edge.output().length;
  await writeFile(path, `${whole}\nconst = 1;\n`);
  // With the line: that it has changed is told without.
  await expect.poll(() => edge.output().slice(before), REBUILT).toContain(`${file}:`);
  await writeFile(path, whole);
  const health = async () => {
    const signal = AbortSignal.timeout(5_000);
    const answer = await fetch(`${edge.url}/health`, { signal }).catch(() => undefined);
    return await answer?.text();
  };
  await expect.poll(health, REBUILT).toContain('"status":"ok"');
});

test('a changed guide is served without a restart', async () => {
  const guide = join(folder, 'docs/clients.md');
  await writeFile(guide, `${await readFile(guide, 'utf8')}\nWritten while it ran.\n`);
  const served = async () => await (await fetch(`${edge.url}/docs/guides/clients`)).text();
  await expect.poll(served, REBUILT).toContain('Written while it ran.');
});
