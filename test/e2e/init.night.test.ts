/** Folders that `sluice init` makes: without plugins, with some, with all, and what deploys them. By day `toolkit.test.ts` reads one with some. */
import { mkdir, readFile, symlink } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import { EXPLORER_OFF, statusesOfExplorer } from '#test/support/explorer.ts';
import { tryFirstApp } from '#test/support/first-app.ts';
import { PackedProject } from '#test/support/packed-project.ts';
import { root } from '#test/support/root.ts';
import { runNpmStart } from '#test/support/start.ts';
import { SECRET } from '#test/support/tokens.ts';

const ASK = {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    model: 'claude-haiku-5-5',
    max_tokens: 50,
    messages: [{ role: 'user', content: 'Hello' }],
  }),
};

let project: PackedProject;

beforeAll(async () => {
  project = await PackedProject.create(false);
});

afterEach(() => vi.unstubAllEnvs());
afterAll(() => project.remove());

test.each([
  ['none', 'only the core', 5],
  ['pools,runs', 'agents, runs', 6],
  ['all', 'visitors, agents, summaries', 10],
])(
  'sluice init --plugins %s creates a project that passes its tests, serves responses and the page, and passes a dry run of its deployment',
  async (plugins, has, bindings) => {
    const name = `with-${plugins.split(',')[0]}`;
    expect(await project.init(name, ...(plugins === 'none' ? [] : ['--plugins', plugins]))).toContain(` with ${has}`);
    const [made, template] = await Promise.all(
      [join(project.folder, name), join(root, 'examples/worker')].map((of) =>
        readFile(join(of, 'src/index.ts'), 'utf8'),
      ),
    );
    expect(made === template).toBe(plugins === 'all');
    expect(await project.run('npm', ['test'], name)).toMatch(/ pass [1-9]\d*\n.* fail 0\n/);
    const told = await project.run('npm', ['run', 'deploy', '--', '--dry-run', '--outdir', 'out'], name);
    expect(told.match(/^env\.\w+/gm)).toHaveLength(bindings);
    expect(told).toMatch(/gzip: \d+/);
    const deployed = await readFile(join(project.folder, name, 'out/index.js'), 'utf8');
    expect(deployed).toContain('/count-tokens');
    expect(deployed).not.toContain('built-in simulator, not Claude');
    const edge = await runNpmStart([], undefined, { folder: join(project.folder, name) });
    try {
      expect(await (await fetch(`${edge.url}/messages`, ASK)).text()).toContain('event: message_stop');
      const titles = ['/', '/docs', '/docs/guides/toolkit'].map(
        async (path) => await (await fetch(edge.url + path)).text(),
      );
      expect((await Promise.all(titles)).map((html) => /<title>(.*)<\/title>/.exec(html)?.[1])).toEqual([
        'Sluice',
        'Sluice: API reference',
        'Your own Worker: Sluice',
      ]);
      const { paths } = (await (await fetch(`${edge.url}/openapi.json`)).json()) as { paths: object };
      const optional = ['/webhooks', '/groups', '/agents'].filter((path) => path in paths);
      expect(optional).toEqual(
        { none: [], 'pools,runs': ['/groups', '/agents'] }[plugins] ?? ['/webhooks', '/groups', '/agents'],
      );
      expect(await statusesOfExplorer(edge.url)).toEqual(EXPLORER_OFF);
    } finally {
      await edge.stop();
    }
  },
);

test.skipIf(isBrowserMissing())('the first app works on a deployment with only the plugins that it needs', async () => {
  await project.init('first-app', '--plugins', 'agents', '--no-page');
  const args = ['--var', `SIGNING_SECRET:${SECRET}`];
  const edge = await runNpmStart(args, undefined, { folder: join(project.folder, 'first-app') });
  try {
    await tryFirstApp(edge.url);
  } finally {
    await edge.stop();
  }
});

test('sluice deploy creates missing queues, excludes the simulator, and names the secrets to set', async () => {
  await project.init('deployed', '--plugins', 'webhooks', '--no-page');
  const cloud = { loggedIn: true, queues: ['deployed-webhooks'], secrets: {}, targets: [], commands: [] };
  await project.write('cloud.json', JSON.stringify(cloud));
  await mkdir(join(project.folder, 'bin'));
  await symlink(join(root, 'test/scripts/wrangler.mjs'), join(project.folder, 'bin/wrangler'));
  vi.stubEnv('CLOUD', join(project.folder, 'cloud.json'));
  vi.stubEnv('PATH', `${join(project.folder, 'bin')}${delimiter}${process.env.PATH}`);
  const said = await project.run('../node_modules/.bin/sluice', ['deploy'], 'deployed');
  expect(said).toContain('npx wrangler secret put ANTHROPIC_API_KEY\n  npx wrangler secret put SIGNING_SECRET\n');
  const { commands } = JSON.parse(await readFile(join(project.folder, 'cloud.json'), 'utf8')) as {
    commands: string[][];
  };
  expect(commands.map((words) => words.slice(0, 3).join(' ').trim())).toEqual([
    'queues info deployed-webhooks',
    'queues info deployed-webhooks-dead',
    'queues create deployed-webhooks-dead',
    'deploy --env',
    'secret list --env',
  ]);
});
