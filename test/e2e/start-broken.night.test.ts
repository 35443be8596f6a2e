import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest';
import { root } from '../support/root.ts';
import { npmStart, type Started } from '../support/start.ts';

/** What `npm start` reads. Other tests read the checkout itself meanwhile, so a copy is broken. */
const COPIED = ['package.json', 'wrangler.toml', 'tsconfig.json', 'README.md', 'src', 'scripts', 'docs', 'examples'];
const KEY = 'sk-exported-by-the-shell';
const REBUILT = { timeout: 120_000 };

let folder: string;
let edge: Started;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-broken-'));
  for (const name of COPIED) await cp(join(root, name), join(folder, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  edge = await npmStart([], join(folder, 'state'), { folder, env: { ANTHROPIC_API_KEY: KEY } });
});

afterAll(async () => {
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
});

test('a key that the shell exports is named as not used at the start, and is not shown', async () => {
  await expect.poll(() => edge.output()).toContain('The ANTHROPIC_API_KEY that your shell exports is not used');
  expect(edge.output()).not.toContain(KEY);
});

describe.each([
  ['of the Worker that cannot be read', 'src/edge/health/health.route.ts', '\nconst = 1;\n'],
  [
    'of the Worker that throws as it is loaded',
    'src/edge/health/health.route.ts',
    '\nthrow new TypeError("at the top");\n',
  ],
  ['of the page that cannot be read', 'src/page/theme.ts', '\nconst = 1;\n'],
])('a source file %s', (_, file, broken) => {
  test('is answered with 503 until it is mended, and then the edge works again by itself', async () => {
    // What it said tells whether it has seen the change, and how that build has ended.
    onTestFailed(() => void process.stdout.write(edge.output()));
    const path = join(folder, file);
    const whole = await readFile(path, 'utf8');
    const health = async () => await (await fetch(`${edge.url}/health`)).text();
    await writeFile(path, whole + broken);
    await expect.poll(health, REBUILT).toContain('The build is broken, see the terminal.');
    const refused = await fetch(`${edge.url}/v1/messages`, { method: 'POST', body: '{}' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await refused.json()).toMatchObject({ type: 'error', error: { type: 'api_error' } });
    await writeFile(path, whole);
    await expect.poll(health, REBUILT).toContain('"status":"ok"');
  });
});

test('what is changed in a guide or the page is served without a new start', async () => {
  const guide = join(folder, 'docs/clients.md');
  await writeFile(guide, `${await readFile(guide, 'utf8')}\nWritten while it ran.\n`);
  const served = async () => await (await fetch(`${edge.url}/docs/guides/clients`)).text();
  await expect.poll(served, REBUILT).toContain('Written while it ran.');
});
