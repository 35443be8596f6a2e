import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Metafile, type PluginBuild } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare, type V4WorkerOptions } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import { getNeededBindings } from '#edge/kit/plugins/needed-bindings.ts';
import { type Plugin, registerPlugins } from '#edge/kit/plugins/plugins.ts';
import { root } from './support/root.ts';

/** A plugin as far as is read here: its types are the runtime's, which tests in Node do not have. */
interface ListedPlugin extends Plugin {
  routes?: readonly { name: string }[];
}
const list: string = join(root, 'src/edge/plugins.ts');
const { PLUGINS } = (await import(list)) as { PLUGINS: readonly ListedPlugin[] };

registerPlugins(PLUGINS);

/** A Worker: the plugins that it does not have. */
interface Without {
  name: string;
  absent: ReadonlySet<string>;
}

/** @returns the plugins without which there is one less, with all that need it. */
function without(plugin: string): Without {
  const absent = new Set([plugin]);
  const needsOne = ({ name, needs = [] }: Plugin) => !absent.has(name) && needs.some((one) => absent.has(one.name));
  for (let found = PLUGINS.find(needsOne); found; found = PLUGINS.find(needsOne)) absent.add(found.name);
  return { name: `without-${plugin}`, absent };
}

const WITH_ALL: Without = { name: 'all', absent: new Set() };
const WORKERS: readonly Without[] = [
  WITH_ALL,
  ...PLUGINS.map(({ name }) => without(name)),
  { name: 'none', absent: new Set(PLUGINS.map(({ name }) => name)) },
];
const UNBOUND = 'unbound';
const UNREAD = 'unread';
const OF_ABSENT_PLUGINS = {
  DEPLOYMENT_LIMITS: '{"usd_per_day":5}',
  VISITORS: '{"only":{"agents":["a"],"origins":["https://shop.example"]},"pool":{"usd_per_day":5}}',
};

const QUESTION = { role: 'user', content: 'How high is the Eiffel Tower?' };
const PROMPT = { model: 'claude-haiku-5-5', messages: [QUESTION] };
const MESSAGE = { ...PROMPT, max_tokens: 4_000 };
const TURN = { ...MESSAGE, conversation: 'refused' };
const LABELS = { labels: [{ name: 'question' }, { name: 'other' }] };
const AGENT = { model: PROMPT.model, max_tokens: 1_000 };
const BOUND = { account: 'bob', scopes: ['messages'], only: { agents: ['a'] } };

let miniflare: Miniflare | undefined;
let contained: Metafile['outputs'] = {};
const logged: string[] = [];

/** @returns the code of each Worker's entry, as src/edge/index.ts without the lines of absent plugins. */
async function entriesOf(workers: readonly Without[]): Promise<ReadonlyMap<string, string>> {
  const listed = await readFile(list, 'utf8');
  const index = await readFile(join(root, 'src/edge/index.ts'), 'utf8');
  const isAbsent = (line: string, { absent }: Without) => absent.has(/plugins\/([\w-]+)\//.exec(line)?.[1] ?? '');
  return new Map(
    workers.map((worker) => {
      const plugins = [...listed.matchAll(/^import \{ (\w+) \} from '.*\/plugin.ts';$/gm)].filter(
        ([line]) => !isAbsent(line, worker),
      );
      const classes = index.split('\n').filter((line) => line.startsWith('export {') && !isAbsent(line, worker));
      const code = `
        import { develop } from '#development';
        import { createApp } from './app.ts';
        ${plugins.map(([line]) => line).join('\n')}
        develop();
        export default createApp({ plugins: [${plugins.map(([, name]) => name).join()}] });
        ${classes.join('\n')}`;
      return [worker.name, code] as const;
    }),
  );
}

beforeAll(async () => {
  const entries = await entriesOf(WORKERS);
  const options = {
    // One build: each file is parsed once for all of them.
    entryPoints: Object.fromEntries([...entries.keys()].map((name) => [name, `entry:${name}`])),
    bundle: true,
    write: false as const,
    outdir: root,
    metafile: true as const,
    format: 'esm' as const,
    target: 'esnext',
    minifySyntax: true,
    absWorkingDir: root,
    conditions: ['workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
    external: ['cloudflare:*', 'node:*'],
    plugins: [
      {
        name: 'entries',
        setup: ({ onResolve, onLoad }: PluginBuild) => {
          onResolve({ filter: /^entry:/ }, ({ path }) => ({ path, namespace: 'entry' }));
          onLoad({ filter: /.*/, namespace: 'entry' }, ({ path }) => ({
            contents: entries.get(path.slice('entry:'.length)) ?? '',
            resolveDir: join(root, 'src/edge'),
            loader: 'ts' as const,
          }));
        },
      },
    ],
  };
  contained = (await build(options)).metafile.outputs;
  const alias = { '#development': join(root, 'src/edge/development.ts') };
  const { outputFiles } = await build({ ...options, alias });
  const scripts = new Map(outputFiles.map(({ path, text }) => [path, text]));
  const config = unstable_readConfig({ config: join(root, 'wrangler.toml') });
  // What wrangler gives has no type.
  const objects = config.durable_objects.bindings as { name: string; class_name: string }[];
  const { workerOptions } = unstable_getMiniflareWorkerOptions(config);
  const { modulesRules: _, assets: __, queueConsumers: ___, ...configured } = workerOptions;
  const worker = ({ name, absent }: Without, unbound?: string, vars = {}): V4WorkerOptions => {
    const same = WORKERS.find((one) => one.absent.size === absent.size && absent.isSubsetOf(one.absent))?.name ?? name;
    const script = scripts.get(join(root, `${same}.js`)) ?? '';
    const bound = objects.filter(
      (one) => one.name !== unbound && entries.get(same)?.includes(`export { ${one.class_name} }`),
    );
    return {
      ...configured,
      name,
      modules: true,
      script,
      kvNamespaces: { STORE: name },
      durableObjects: Object.fromEntries(
        bound.map((one) => [one.name, { className: one.class_name, useSQLite: true }]),
      ),
      bindings: {
        SIGNING_SECRET: 'a secret of the tests that is long enough, 0123456789',
        UPSTREAM: 'simulator',
        SIMULATOR_TTFT_MS: '0',
        SIMULATOR_TOKENS_PER_SECOND: '0',
        ...vars,
      },
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    };
  };
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      workers: [
        ...WORKERS.map((one) => worker(one)),
        worker({ ...WITH_ALL, name: UNBOUND }, 'BATCH'),
        worker({ ...without('pools'), name: UNREAD }, undefined, OF_ABSENT_PLUGINS),
      ],
      handleStructuredLogs: ({ message }) => logged.push(message),
      cf: false,
    }),
  );
  await miniflare.ready;
});

afterAll(() => miniflare?.dispose());

/** Asks a Worker. @returns the answer after its ids, dates and connection */
async function ask(worker: string, method: string, path: string, body?: object, header?: Record<string, string>) {
  const { origin } = (await miniflare?.unsafeGetDirectURL(worker)) ?? {};
  const response = await fetch(`${origin}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...header },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const plain = (text: string) =>
    text
      .replaceAll(/\b(req|msg|turn|toolu)_\w+/g, '$1_')
      .replaceAll(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'uuid')
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'time');
  const headers = [...response.headers]
    .filter(([name]) => name !== 'date')
    .map(([name, value]) => [name, plain(value)]);
  return { status: response.status, headers, text: plain(await response.text()) };
}

/** The ways of the card, one behind the other. */
async function cardOf(worker: string) {
  const answers = [
    await ask(worker, 'POST', '/v1/messages', MESSAGE),
    await ask(worker, 'POST', '/messages', MESSAGE),
    // What keeps a text within its marks is drawn anew each time, and counted.
    JSON.stringify(await ask(worker, 'POST', '/classify', { input: QUESTION.content, ...LABELS })).replaceAll(
      /(?<=input_tokens\\":)\d+|0\.0000\d+/g,
      '…',
    ),
    await ask(worker, 'POST', '/count-tokens', PROMPT),
    await ask(worker, 'POST', '/messages', { ...MESSAGE, conversation: 'plugins' }),
    await ask(worker, 'GET', '/conversations/plugins/messages'),
  ];
  const { status, text } = await ask(worker, 'GET', '/health');
  // Runs tell the tools of the Worker there.
  // Its list of plugins differs by design.
  const { tools: _, plugins: __, ...told } = JSON.parse(text) as { tools?: string[]; plugins: string[] };
  return [...answers, { status, told }];
}

describe('a Worker with all, some or none of the plugins', () => {
  let card: Awaited<ReturnType<typeof cardOf>> = [];

  beforeAll(async () => {
    card = await cardOf(WITH_ALL.name);
  });

  test("completes the core's example requests with all plugins", () => {
    expect(JSON.stringify(card).match(/\bstatus\W+\d+/g)).toHaveLength(7);
    expect(JSON.stringify(card).match(/\bstatus\W+200\b/g)).toHaveLength(7);
  });

  test.each(WORKERS.filter((one) => one !== WITH_ALL))(
    '$name: excludes absent plugins, names them in the errors of their routes, and returns the same example responses',
    async ({ name, absent }) => {
      const files = Object.entries(contained[`${name}.js`]?.inputs ?? {}).filter(([, one]) => one.bytesInOutput > 0);
      expect(files.length).toBeGreaterThan(100);
      const ofPlugins = files.map(([file]) => /^src\/edge\/plugins\/([^/]+)\//.exec(file)?.[1] ?? '');
      expect(ofPlugins.filter((plugin) => absent.has(plugin))).toEqual([]);
      expect(await cardOf(name)).toEqual(card);
      const health = JSON.parse((await ask(name, 'GET', '/health')).text) as { plugins: string[] };
      expect(new Set(health.plugins)).toEqual(new Set(PLUGINS.map((plugin) => plugin.name)).difference(absent));
      for (const plugin of PLUGINS.filter((one) => absent.has(one.name))) {
        for (const route of plugin.routes ?? []) {
          const [method = '', path = ''] = route.name.replaceAll(/:\w+/g, 'plugins').split(' ');
          const { status, text } = await ask(name, method, path);
          expect([404, 405, 501], route.name).toContain(status);
          const reason = status === 405 ? 'is not allowed here' : `${path} requires the plugin \`${plugin.name}\``;
          expect(text, route.name).toContain(reason);
        }
      }
    },
  );

  test.each<[plugin: string, method: string, path: string, body: object | undefined, said: string]>([
    ['agents', 'POST', '/conversations', { agent: 'a' }, 'agent:'],
    ['transfer', 'POST', '/conversations', { messages: [QUESTION] }, 'messages: importing a history'],
    ['summaries', 'POST', '/conversations', { history: { max_tokens: 9, strategy: 'summarize' } }, 'history.strategy'],
    ['pools', 'GET', '/usage', undefined, 'account: the usage of all accounts'],
    ['pools', 'GET', '/usage?group_by=group', undefined, 'account: the usage of all accounts'],
    ['pools', 'GET', '/usage/requests?outcome=refused', undefined, 'account: the usage of all accounts'],
    ['batches', 'POST', '/classify', { ...LABELS, inputs: [{ id: 'a', input: 'Hi' }], batch: true }, 'batch:'],
    ['runs', 'POST', '/messages', { ...TURN, tools: [{ name: 'clock', run: 'worker' }] }, 'tools.0.run:'],
    ['runs', 'PUT', '/agents/a', { ...AGENT, limits: { max_usd: 1 } }, 'limits.max_usd:'],
    ['runs', 'PUT', '/agents/a', { ...AGENT, limits: { max_seconds: 1 } }, 'limits.max_seconds:'],
    ['agents', 'POST', '/tokens', BOUND, 'only: restricted tokens require the plugin'],
  ])('without %s rejects a request to %s %s that needs this plugin', async (plugin, method, path, body, said) => {
    const { status, text } = await ask(`without-${plugin}`, method, path, body);
    expect([status, text]).toEqual([400, expect.stringContaining(said)]);
    expect(text).toContain(plugin);
  });

  test('rejects the header of an absent plugin, and forwards its body field like any unknown field', async () => {
    for (const path of ['/messages', '/count-tokens', '/classify', '/conversations'])
      expect(await ask('without-agents', 'POST', path, MESSAGE, { 'sluice-agent': 'a' })).toMatchObject({
        status: 400,
        text: expect.stringContaining('sluice-agent: no plugin of this deployment supports this header'),
      });
    const unknown = expect.stringContaining('agent: Extra inputs are not permitted');
    for (const body of [MESSAGE, { ...MESSAGE, conversation: 'member' }])
      expect(await ask('without-agents', 'POST', '/v1/messages', { ...body, agent: 'a' })).toMatchObject({
        status: 400,
        text: unknown,
      });
  });

  test('accepts requests to an agent that has no run limits if the plugin `runs` is absent', async () => {
    expect((await ask('without-runs', 'PUT', '/agents/plain', AGENT)).status).toBe(200);
    const asked = { agent: 'plain', messages: [QUESTION] };
    for (const body of [asked, { ...asked, conversation: 'plain' }])
      expect((await ask('without-runs', 'POST', '/v1/messages', body)).status).toBe(200);
  });

  test('rejects a restricted token if no plugin checks its permissions', async () => {
    const { text } = await ask(WITH_ALL.name, 'POST', '/tokens', BOUND);
    const bound = { authorization: `Bearer ${(JSON.parse(text) as { token: string }).token}` };
    for (const [method, path, body] of [
      ['POST', '/messages', MESSAGE],
      ['POST', '/classify', MESSAGE],
      ['GET', '/conversations/plugins/messages', undefined],
      ['GET', '/usage', undefined],
    ] as const)
      expect(await ask('without-agents', method, path, body, bound)).toMatchObject({
        status: 403,
        text: expect.stringContaining('Restricted tokens require the plugin `agents`'),
      });
  });
});

test('wrangler.toml binds everything that the core and all plugins need, in each environment', async () => {
  const toml = await readFile(join(root, 'wrangler.toml'), 'utf8');
  const needed = Object.entries(getNeededBindings());
  const objects = needed.filter(([, of]) => of !== null);
  for (const environment of ['', 'env.staging.']) {
    const wanted = objects.map(
      ([name, of]) => `[[${environment}durable_objects.bindings]]\nname = "${name}"\nclass_name = "${of}"\n`,
    );
    // What stands there is this text: paste it where it differs.
    expect(toml).toContain(`\n${wanted.join('\n')}\n[[${environment}queues.producers]]\n`);
    const others = Object.entries({ STORE: 'kv_namespaces', QUEUE: 'queues.producers', VISITOR_BRAKE: 'ratelimits' });
    expect(
      needed
        .filter(([, of]) => of === null)
        .map(([name]) => name)
        .toSorted(),
    ).toEqual(others.map(([name]) => name).toSorted());
    for (const [name, table] of others) {
      const key = table === 'ratelimits' ? 'name' : 'binding';
      expect(toml).toContain(`[[${environment}${table}]]\n${key} = "${name}"\n`);
    }
  }
  expect(toml.match(/durable_objects\.bindings\]\]/g)).toHaveLength(2 * objects.length);
  const made = /^new_sqlite_classes = \[([^\]]*)\]/m.exec(toml)?.[1]?.match(/\w+/g);
  expect(objects.filter(([, of]) => !made?.includes(String(of)))).toEqual([]);
});

test('a missing binding of a plugin is logged once and reported by GET /health', async () => {
  const { text } = await ask(UNBOUND, 'GET', '/health');
  const words = expect.stringContaining('BATCH is missing for batches: export the class Batch');
  expect(JSON.parse(text)).toMatchObject({ warnings: [words] });
  await ask(UNBOUND, 'GET', '/health');
  expect(logged.filter((line) => line.includes('BATCH'))).toHaveLength(1);
  expect(logged.filter((line) => /is missing/.test(line))).toEqual([words]);
});

test('a setting of an absent plugin is logged once and reported by GET /health', async () => {
  const { text } = await ask(UNREAD, 'GET', '/health');
  const words = [
    expect.stringContaining('VISITORS is set, but this Worker does not include the plugin visitors, which reads it.'),
    expect.stringContaining(
      'DEPLOYMENT_LIMITS is set, but this Worker does not include the plugin pools, which reads it.',
    ),
  ];
  expect(JSON.parse(text)).toMatchObject({ status: 'ok', warnings: words });
  await ask(UNREAD, 'GET', '/health');
  expect(logged.filter((line) => /, which reads it/.test(line))).toEqual(words);
});
