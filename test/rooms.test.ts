import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Metafile, type PluginBuild } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare, type V4WorkerOptions } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from 'wrangler';
import { neededBindings } from '../src/edge/kit/objects/needed-bindings.ts';
import { type AnyRoom, shareRooms } from '../src/edge/kit/rooms/rooms.ts';
import { root } from './support/root.ts';

/** Its types are the runtime's, which tests in Node do not have. */
const list: string = join(root, 'src/edge/rooms.ts');
const { ROOMS } = (await import(list)) as { ROOMS: readonly AnyRoom[] };

shareRooms(ROOMS);

/** Rooms of which nothing is left in a Worker that does not have them. It may only grow. */
const GONE = [
  'agents',
  'approvals',
  'background',
  'backup',
  'batches',
  'choice',
  'classify-batches',
  'clouds',
  'evaluation',
  'files',
  'mcp',
  'operator',
  'page-tokens',
  'pools',
  'runs',
  'show',
  'subagents',
  'summaries',
  'transfer',
  'visitors',
  'webhooks',
];

/** A path of each room that has one. */
const PATHS: Readonly<Record<string, readonly [method: string, path: string]>> = {
  agents: ['GET', '/agents'],
  approvals: ['GET', '/conversations/rooms/approvals'],
  backup: ['GET', '/accounts/dev/backup'],
  batches: ['GET', '/v1/messages/batches'],
  'classify-batches': ['GET', '/classifications'],
  evaluation: ['POST', '/classifiers/mood/evaluate'],
  files: ['GET', '/v1/files'],
  operator: ['GET', '/metrics'],
  pools: ['GET', '/pools/deployment'],
  transfer: ['GET', '/conversations/rooms/export'],
  visitors: ['POST', '/tokens/visitor'],
  webhooks: ['POST', '/webhooks/github'],
};

/** A Worker: the rooms that it does not have. */
interface Without {
  name: string;
  absent: ReadonlySet<string>;
}

/** @returns the rooms without which there is one less, with all that need it. */
function without(room: string): Without {
  const absent = new Set([room]);
  const needsOne = ({ name, needs = [] }: AnyRoom) => !absent.has(name) && needs.some((one) => absent.has(one.name));
  for (let found = ROOMS.find(needsOne); found; found = ROOMS.find(needsOne)) absent.add(found.name);
  return { name: `without-${room}`, absent };
}

const WITH_ALL: Without = { name: 'all', absent: new Set() };
const WORKERS: readonly Without[] = [
  WITH_ALL,
  ...ROOMS.map(({ name }) => without(name)),
  { name: 'none', absent: new Set(ROOMS.map(({ name }) => name)) },
];
const UNBOUND = 'unbound';

const QUESTION = { role: 'user', content: 'How high is the Eiffel Tower?' };
const PROMPT = { model: 'claude-haiku-5-5', messages: [QUESTION] };
const MESSAGE = { ...PROMPT, max_tokens: 4_000 };

let miniflare: Miniflare | undefined;
let contained: Metafile['outputs'] = {};
const logged: string[] = [];

/** @returns the code of each Worker's entry, as src/edge/index.ts without the lines of absent rooms. */
async function entriesOf(workers: readonly Without[]): Promise<ReadonlyMap<string, string>> {
  const listed = await readFile(list, 'utf8');
  const index = await readFile(join(root, 'src/edge/index.ts'), 'utf8');
  const isAbsent = (line: string, { absent }: Without) => absent.has(/rooms\/([\w-]+)\//.exec(line)?.[1] ?? '');
  return new Map(
    workers.map((worker) => {
      const rooms = [...listed.matchAll(/^import \{ (\w+) \} from '.*\/room.ts';$/gm)].filter(
        ([line]) => !isAbsent(line, worker),
      );
      const classes = index.split('\n').filter((line) => line.startsWith('export {') && !isAbsent(line, worker));
      const code = `
        import { develop } from '#development';
        import { createApp } from './app.ts';
        import { consumeQueue } from './kit/delivery/queue.ts';
        ${rooms.map(([line]) => line).join('\n')}
        develop();
        const app = createApp({ rooms: [${rooms.map(([, name]) => name).join()}] });
        export default { fetch: app.fetch, queue: consumeQueue };
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
  const worker = ({ name, absent }: Without, unbound?: string): V4WorkerOptions => {
    const same = absent.size === 0 ? WITH_ALL.name : name;
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
        UPSTREAM: 'simulator',
        SIMULATOR_TTFT_MS: '0',
        SIMULATOR_TOKENS_PER_SECOND: '0',
      },
      unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    };
  };
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      workers: [...WORKERS.map((one) => worker(one)), worker({ ...WITH_ALL, name: UNBOUND }, 'CLASSIFICATION')],
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
  const labels = [{ name: 'question' }, { name: 'other' }];
  const answers = [
    await ask(worker, 'POST', '/v1/messages', MESSAGE),
    await ask(worker, 'POST', '/messages', MESSAGE),
    // What keeps a text within its marks is drawn anew each time, and counted.
    JSON.stringify(await ask(worker, 'POST', '/classify', { input: QUESTION.content, labels })).replaceAll(
      /(?<=input_tokens\\":)\d+|0\.0000\d+/g,
      '…',
    ),
    await ask(worker, 'POST', '/count-tokens', PROMPT),
    await ask(worker, 'POST', '/messages', { ...MESSAGE, conversation: 'rooms' }),
    await ask(worker, 'GET', '/conversations/rooms/messages'),
  ];
  const { status, text } = await ask(worker, 'GET', '/health');
  // Runs tell the tools of the Worker there.
  const { tools: _, ...told } = JSON.parse(text) as { tools?: string[] };
  return [...answers, { status, told }];
}

describe('each room can be left out, and all of them', () => {
  let card: Awaited<ReturnType<typeof cardOf>> = [];

  beforeAll(async () => {
    card = await cardOf(WITH_ALL.name);
  });

  test('with all of them the ways of the card work', () => {
    expect(JSON.stringify(card).match(/\bstatus\W+\d+/g)).toHaveLength(7);
    expect(JSON.stringify(card).match(/\bstatus\W+200\b/g)).toHaveLength(7);
  });

  test.each(WORKERS.filter((one) => one !== WITH_ALL))('$name', async ({ name, absent }) => {
    expect(await cardOf(name)).toEqual(card);
    for (const room of absent) {
      const [method, path] = PATHS[room] ?? [];
      if (method === undefined || path === undefined) continue;
      const { status } = await ask(name, method, path);
      expect([room, status]).toEqual([room, (await ask(name, method, `${path}x`)).status]);
      expect([404, 501]).toContain(status);
      expect((await ask(WITH_ALL.name, method, path)).status).not.toBe(501);
    }
  });

  test.each<[way: string, path: string, body: object | undefined, said: string]>([
    ['a message', '/v1/messages', { ...MESSAGE, agent: 'a' }, 'agent'],
    ['a turn', '/messages', { ...MESSAGE, conversation: 'absent', show: 'text' }, 'show'],
    ['a count', '/count-tokens', { ...PROMPT, conversation: 'absent', agent: 'a' }, 'agent'],
    ['a new conversation', '/conversations', { agent: 'a' }, 'agent'],
    [
      'an item',
      '/v1/messages/batches',
      { requests: [{ custom_id: 'a', params: { ...MESSAGE, agent: 'a' } }] },
      'agent',
    ],
    ['a resumption', '/conversations/rooms/stream?show=text', undefined, 'show'],
    ['a header of a message', '/messages', MESSAGE, 'sluice-model'],
    ['a header of a count', '/count-tokens', PROMPT, 'sluice-agent'],
    [
      'a header of a label',
      '/classify',
      { input: 'Hi', labels: [{ name: 'a' }, { name: 'b' }] },
      'sluice-fallback-models',
    ],
    ['a header of a resumption', '/conversations/rooms/stream', undefined, 'sluice-show'],
  ])('%s that names a member of an absent room is refused by its name', async (_, path, body, said) => {
    const absent = said.includes('show') ? 'show' : said.startsWith('sluice-') ? 'choice' : 'agents';
    const worker = said === 'sluice-agent' ? 'none' : `without-${absent}`;
    const header = said.startsWith('sluice-') ? { [said]: 'a' } : {};
    const { status, text } = await ask(worker, body ? 'POST' : 'GET', path, body, header);
    expect([status, text]).toEqual([400, expect.stringContaining(`${said}: this edge is without what reads it.`)]);
  });

  test('a conversation begins with a history only where a room brings it in', async () => {
    const { status, text } = await ask('without-transfer', 'POST', '/conversations', { messages: [QUESTION] });
    expect([status, text]).toEqual([409, expect.stringContaining('this edge has no room \\"transfer\\"')]);
    expect((await ask('without-transfer', 'POST', '/conversations', { id: 'empty' })).status).toBe(201);
  });

  test('of those that nothing of the core imports, nothing is left', () => {
    const left = (room: string) => {
      const { inputs = {} } = contained[`without-${room}.js`] ?? {};
      expect(Object.keys(inputs).length).toBeGreaterThan(100);
      const files = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
      return files.map(([file]) => file).filter((file) => file.startsWith(`src/edge/rooms/${room}/`));
    };
    const all = Object.keys(contained['all.js']?.inputs ?? {});
    const known = ROOMS.map(({ name }) => name).filter((room) => all.some((file) => file.includes(`/rooms/${room}/`)));
    expect(known.filter((room) => left(room).length === 0).toSorted()).toEqual(GONE);
  });
});

test('wrangler.toml binds what the core and all rooms need, in each environment', async () => {
  const toml = await readFile(join(root, 'wrangler.toml'), 'utf8');
  const needed = Object.entries(neededBindings());
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

test('a binding that a room needs and that is missing is said at the start, and by the health', async () => {
  const { text } = await ask(UNBOUND, 'GET', '/health');
  const words = expect.stringContaining(
    'CLASSIFICATION is missing for classify-batches: export the class ClassificationJob',
  );
  expect(JSON.parse(text)).toMatchObject({ warnings: [words] });
  await ask(UNBOUND, 'GET', '/health');
  expect(logged.filter((line) => line.includes('CLASSIFICATION'))).toHaveLength(1);
  expect(logged.filter((line) => /is missing/.test(line))).toEqual([words]);
});
