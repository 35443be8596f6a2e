/** Another project with the package: what only its files show, as they are packed. By night the examples run, and others judge the package. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Validator } from '@seriousme/openapi-schema-validator';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plugin } from '#edge/kit/plugins/plugins.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { type Edge, startEdge, startEdgeWithPage } from '#test/support/edge.ts';
import { codeBlocksOf, filesOfSection, readGuide, sectionOf } from '#test/support/guides.ts';
import { bundlePackage } from '#test/support/package-bundles.ts';
import { PackedProject } from '#test/support/packed-project.ts';
import { root } from '#test/support/root.ts';
import { runNpmStart } from '#test/support/start.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

interface PluginWithBindings extends Plugin {
  bindings?: Readonly<Record<string, string | null>>;
}
/** Its types are the runtime's, which tests in Node do not have. */
const list: string = join(root, 'src/edge/plugins.ts');
const { PLUGINS } = (await import(list)) as { PLUGINS: readonly PluginWithBindings[] };

/** An empty folder, in which the package is and nothing else but what it brings. */
let project: PackedProject;
/** The guide's edge in it, and what the command said when it had made that. */
let place: string;
let said: string;
let options: string[];

beforeAll(async () => {
  project = await PackedProject.create(false);
  const [, command = ''] = /sluice init (.*)/.exec(GUIDE) ?? [];
  const [beside = '', ...chosen] = command.split(' ');
  options = chosen;
  const name = basename(beside);
  place = join(project.folder, name);
  said = await project.init(name, ...options);
});

afterAll(() => project.remove());

/** @returns the bytes of a bundle of this code, compressed */
async function bundledBytes(code: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: project.folder },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['cloudflare:workers'],
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length;
}

test('the package contains its modules, its command, the page and the examples', async () => {
  const listed = await project.run('tar', ['-tzf', project.packed]);
  const parts = listed.split('\n').map((name) => /^package\/((?:dist\/|examples\/)?[^/]+)/.exec(name)?.[1]);
  expect([...new Set(parts)].filter((part) => part !== undefined).toSorted()).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'dist/api-rules',
    'dist/client',
    'dist/edge',
    'dist/page',
    'dist/scripts',
    'dist/simulator',
    'examples/tools',
    'examples/webhooks',
    'examples/worker',
    'package.json',
    'src',
  ]);
  expect(listed).toContain('package/dist/page/docs.html\n');
});

test('Node can import the client, the AI SDK transport without the AI SDK, and the simulator', async () => {
  await project.write(
    'entries.mjs',
    'for (const name of process.argv.slice(2)) console.log(Object.keys(await import(name)).join());',
  );
  const names = (
    await project.run(process.execPath, ['entries.mjs', 'sluice/client', 'sluice/client/ai-sdk', 'sluice/simulator'])
  )
    .trim()
    .split('\n');
  expect(names).toEqual([
    expect.stringContaining('createClient'),
    expect.stringContaining('createChatTransport'),
    'createSimulator',
  ]);
});

test('sluice simulator serves the Claude API without an edge', async () => {
  const command = join(project.folder, 'node_modules/sluice/dist/scripts/sluice.js');
  const child = spawn(process.execPath, [command, 'simulator', '--port', '0'], { cwd: project.folder });
  let printed = '';
  for await (const chunk of child.stdout) {
    printed += String(chunk);
    if (printed.includes('Stop with')) break;
  }
  const [, url = ''] = /listens on (http\S+)\./.exec(printed) ?? [];
  const models = await fetch(`${url}/v1/models?limit=1`, {
    headers: { 'x-api-key': 'any', 'anthropic-version': '2023-06-01' },
  });
  expect(await models.json()).toMatchObject({ data: [{ type: 'model' }], has_more: true });
  child.kill();
  await once(child, 'exit');
});

test('the client type-checks without skipLibCheck and with only browser types', async () => {
  await project.write(
    'page.ts',
    `import { createClient, SluiceError } from 'sluice/client';
    const client = createClient({ baseURL: 'https://edge.example.com', token: async () => 'token' });
    try {
      const stream = client.messages.stream({ model: 'claude-haiku-5-5', max_tokens: 5, messages: [] });
      const text: string[] = [];
      for await (const event of stream) text.push(event.type);
      const { usage } = await stream.finalMessage();
      const input: number = usage.input_tokens;
      // @ts-expect-error: a name that the API does not have
      void usage.tokens;
      void [text, input];
      const schema = { type: 'object' as const };
      const http = { url: 'https://example.com' };
      const served = { type: 'web_search_20250305' as const, name: 'web_search' as const, max_uses: 2 };
      const beta = { type: 'mcp_toolset', mcp_server_name: 'books', configs: { find: { defer_loading: true } } };
      const ask = { model: 'claude-haiku-5-5', max_tokens: 5 };
      const known = { role: 'user' as const, content: [{ type: 'compaction', content: 'What was said.' }] };
      const tools = [
        served,
        beta,
        { name: 'mail', input_schema: schema, run: http },
        { name: 'clerk', run: { agent: 'clerk' } },
        { name: 'clock', run: 'worker' as const },
      ];
      const more = { mcp_servers: [{ type: 'url', name: 'books', url: 'https://example.com' }], inference_geo: 'eu' };
      client.messages.stream({ ...ask, ...more, messages: [known], tools });
      await client.messages.begin({ ...ask, ...more, conversation: 'c', messages: [known], tools });
      await client.countTokens({ ...ask, ...more, messages: [known], tools });
      client.messages.run({
        ...ask,
        ...more,
        messages: [known],
        tools: [...tools, served, { name: 'sum', input_schema: schema, run: (given, call) => [String(given), call.id].join() }],
      });
      // @ts-expect-error: what is at an address says what it is given
      client.messages.stream({ ...ask, messages: [], tools: [{ name: 'mail', run: http }] });
      // @ts-expect-error: a member that is known has its type
      client.messages.stream({ ...ask, messages: [], conversation: 1 });
      // @ts-expect-error: messages are not left out
      client.messages.stream(ask);
    } catch (thrown) {
      if (!(thrown instanceof SluiceError)) throw thrown;
    }
    export {};`,
  );
  await project.typeCheck(['page.ts'], { lib: ['es2024', 'dom', 'dom.iterable', 'dom.asynciterable'], types: [] });
});

test('a bundle with only a schema or an error class is less than half as large as one with createApp', async () => {
  const whole = await bundledBytes("import { createApp } from 'sluice'; console.log(createApp)");
  const limits = await bundledBytes("import { schemas } from 'sluice'; console.log(schemas.limitsSchema)");
  const error = await bundledBytes("import { ApiError } from 'sluice'; console.log(ApiError)");
  expect(limits).toBeLessThan(whole / 2);
  expect(error).toBeLessThan(limits / 2);
});

/** @returns what the package calls a plugin */
const exportOf = ({ name }: Plugin) => `${name.replaceAll(/-(\w)/g, (_, letter) => letter.toUpperCase())}`;

/** @returns the code of a Worker with plugins, and with the classes of their objects */
function edgeWith(plugins: readonly PluginWithBindings[]): string {
  const names = plugins.map(exportOf);
  const classes = plugins.flatMap(({ bindings = {} }) => Object.values(bindings).filter((of) => of !== null));
  return `import { ${['createApp', ...names].join(', ')} } from 'sluice';
    export { ${[...new Set(['Account', 'Conversation', ...classes])].join(', ')} } from 'sluice';
    export default createApp({ plugins: [${names.join(', ')}] });`;
}

const GUIDE = await readGuide('toolkit');
const [SHOWN = ''] = codeBlocksOf(GUIDE, 'ts');
const NAMED = PLUGINS.filter((plugin) => /plugins: \[(.*)\]/.exec(SHOWN)?.[1]?.split(', ').includes(exportOf(plugin)));
/** The cells of its table of plugins, by the first one. */
const TOLD = new Map(
  [...sectionOf(GUIDE, 'Plugins').matchAll(/^\| (.*) \|$/gm)]
    .map(([, row = '']) => row.split(' | ').map((cell) => cell.trim()))
    .map((cells) => [cells[0]?.replaceAll('`', ''), cells]),
);

test('the guide lists what each plugin adds and needs', async () => {
  const row = (name: string, { needs = [], bindings = {} }: Partial<PluginWithBindings>) => {
    const [first = `\`${name}\``, has = ''] = TOLD.get(name) ?? [];
    const bound = Object.entries(bindings).map(([binding, of]) => `\`${binding}\`${of === null ? '' : ` (\`${of}\`)`}`);
    return [first, has, [...needs.map((one) => `\`${exportOf(one)}\``), ...bound].join(', ')];
  };
  const rows = [
    ['plugin', 'adds', 'needs'],
    row('the core', { bindings: { STORE: null, ACCOUNT: 'Account', CONVERSATION: 'Conversation' } }),
    ...PLUGINS.map((plugin) => row(exportOf(plugin), plugin)),
    row('allPlugins', {}),
  ];
  const widths = [0, 1, 2].map((at) => Math.max(...rows.map((cells) => cells[at]?.length ?? 0)));
  const lines = [...rows.slice(0, 1), widths.map((width) => '-'.repeat(width)), ...rows.slice(1)].map(
    (cells) => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |\n`,
  );
  // Write down what has changed: `npx vitest run test/e2e/toolkit.test.ts --update`.
  await expect(GUIDE.replace(/^\| plugin [\s\S]*?\n(?=\n)/m, lines.join(''))).toMatchFileSnapshot(
    '../../docs/toolkit.md',
  );
});

const named = (pattern: RegExp, text = '') => [...text.matchAll(pattern)].map(([, name]) => name);
/** @returns the names of what a wrangler.toml binds */
const boundIn = (toml?: string) => named(/^(?:name|binding) = "([A-Z_]+)"$/gm, toml).toSorted();

test('the Worker template includes all plugins and their bindings', async () => {
  const [code, toml] = await Promise.all(
    ['src/index.ts', 'wrangler.toml'].map((name) => readFile(join(root, 'examples/worker', name), 'utf8')),
  );
  expect(/^ +plugins: \[([^\]]*)\]/m.exec(code ?? '')?.[1]?.split(/, /)).toEqual(PLUGINS.map(exportOf));
  const bindings = Object.keys(Object.assign({}, ...PLUGINS.map((plugin) => plugin.bindings)));
  expect(boundIn(toml)).toEqual(
    ['ACCOUNT', 'ASSETS', 'CF_VERSION_METADATA', 'CONVERSATION', 'STORE', ...bindings].toSorted(),
  );
});

test('sluice init creates an edge with two plugins, and names the plugin that it added', async () => {
  expect(said).toMatch(/^Added agents, which runs requires.\n/);
  const code = await readFile(join(place, 'src/index.ts'), 'utf8');
  expect(code).toContain(`plugins: [${NAMED.map(exportOf).join(', ')}],`);
  const toml = await readFile(join(place, 'wrangler.toml'), 'utf8');
  expect(boundIn(toml)).toEqual(['ACCOUNT', 'ASSETS', 'CF_VERSION_METADATA', 'CONVERSATION', 'POOL', 'STORE']);
});

describe('a Worker that uses the package', () => {
  let bundles: Awaited<ReturnType<typeof bundlePackage>>;

  beforeAll(async () => {
    const session =
      'export const sessionOf = async ({ headers }) => (headers.has("cookie") ? { user: "u" } : undefined);';
    await project.write('session.ts', session);
    const sources = {
      guide: SHOWN,
      named: edgeWith(NAMED),
      none: "import { createApp } from 'sluice';\nexport { Account, Conversation } from 'sluice';\nexport default createApp();",
      all: edgeWith(PLUGINS)
        .replace(/import .*/, "import { allPlugins, createApp } from 'sluice';")
        .replace(/\[.*\]/, 'allPlugins'),
    };
    bundles = await bundlePackage(project.folder, new Map(Object.entries(sources)));
  });

  test('includes only the plugins in its list, and no simulator code', () => {
    const pluginsIn = (name: string) => {
      const files = bundles.get(name)?.files ?? [];
      return files.flatMap((file) => /^edge\/plugins\/([\w-]+)\/plugin\.js$/.exec(file)?.[1] ?? []).toSorted();
    };
    const names = (plugins: readonly Plugin[]) => plugins.map(({ name }) => name).toSorted();
    expect(NAMED.length).toBe(3);
    expect(pluginsIn('guide')).toEqual(names(NAMED));
    expect(pluginsIn('none')).toEqual([]);
    expect(pluginsIn('all')).toEqual(names(PLUGINS));
    const all = bundles.get('all')?.files ?? [];
    expect(all).toContain('edge/claude/upstream.js');
    expect(all.filter((file) => /simulator|development/.test(file))).toEqual([]);
  });

  test('runs with its bindings, and returns 404 for routes of other plugins', async () => {
    const edge = await startEdge(bundles.get('guide')?.code ?? '', { ANTHROPIC_API_KEY: 'any' }, undefined, place);
    try {
      const get = async (path: string) => await fetch(`${edge.url}/ai${path}`, { headers: { cookie: 'any' } });
      const health = await (await get('/health')).json();
      expect(health).toMatchObject({ status: 'ok' });
      expect(health).not.toHaveProperty('warnings');
      expect(await (await get('/whoami')).json()).toBe('u');
      const statuses = [];
      for (const path of ['/agents', '/v1/messages/batches', '/webhooks/github/events']) {
        statuses.push((await get(path)).status);
      }
      expect(statuses).toEqual([200, 501, 404]);
    } finally {
      await edge.stop();
    }
  });
});

describe('the plugin of the guide', () => {
  const section = sectionOf(GUIDE, 'Write a plugin');
  const name = 'own-plugin';

  /** @param development the module `#development` of the package, or undefined for a Worker as it is deployed */
  async function start(vars: Record<string, string>, development?: string): Promise<Edge> {
    const folder = join(project.folder, name);
    return await startEdgeWithPage(vars, await bundleWorker(join(folder, 'src/index.ts'), { development }), folder);
  }

  beforeAll(async () => {
    await project.init(name, ...options);
    const { 'wrangler.toml': bound = '', ...files } = Object.fromEntries(filesOfSection(GUIDE, 'Write a plugin'));
    expect(Object.keys(files)).toEqual(['src/notes.ts', 'src/index.ts']);
    for (const [file, code] of Object.entries(files)) await project.write(`${name}/${file}`, code);
    const template = await readFile(join(project.folder, name, 'wrangler.toml'), 'utf8');
    await project.write(`${name}/wrangler.toml`, `${template}\n${bound}`);
  });

  test('prints the documented output', async () => {
    const edge = await start({}, join(project.folder, 'node_modules/sluice/dist/edge/development.js'));
    try {
      const health = await (await fetch(`${edge.url}/health`)).json();
      expect(health).not.toHaveProperty('warnings');
      const [commands = ''] = codeBlocksOf(section, 'sh');
      const [shown] = codeBlocksOf(section, 'text');
      expect(await project.run('bash', ['-c', commands.replaceAll('http://localhost:8787', edge.url)])).toBe(shown);
    } finally {
      await edge.stop();
    }
  });

  test('authenticates and validates requests when it is deployed, and is in the OpenAPI document', async () => {
    const edge = await start({ UPSTREAM: '', ANTHROPIC_API_KEY: 'any' });
    try {
      const send = async (body: unknown, headers: Record<string, string> = {}) => {
        const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers } };
        const response = await fetch(`${edge.url}/notes`, { ...init, body: JSON.stringify(body) });
        return [response.status, await response.json()];
      };
      const list = async (query: string, token: string) => {
        const response = await fetch(`${edge.url}/notes${query}`, { headers: bearerHeader(token) });
        return [response.status, await response.json()];
      };
      const error = (type: string, message: unknown) => expect.objectContaining({ error: { type, message } });
      const alice = await createToken('alice');
      expect(await send({ text: 'a' })).toEqual([401, error('authentication_error', expect.any(String))]);
      expect(await send({ text: 'a' }, bearerHeader(await createToken('alice', ['classify'])))).toEqual([
        403,
        error('permission_error', expect.stringContaining('`messages`')),
      ]);
      expect(await send({ text: 1 }, bearerHeader(alice))).toEqual([
        400,
        error('invalid_request_error', 'text: Invalid input: expected string, received number'),
      ]);
      for (const text of ['a', 'b']) expect(await send({ text }, bearerHeader(alice))).toEqual([200, { text }]);
      expect(await list('', alice)).toEqual([200, { data: [{ text: 'a' }, { text: 'b' }] }]);
      expect(await list('?limit=1', alice)).toEqual([200, { data: [{ text: 'a' }] }]);
      expect(await list('?limit=0', alice)).toEqual([400, error('invalid_request_error', expect.any(String))]);
      expect(await list('', await createToken('bob'))).toEqual([200, { data: [] }]);

      const document = (await (await fetch(`${edge.url}/openapi.json`)).json()) as {
        paths: Record<string, Record<string, object>>;
      };
      expect((await new Validator().validate(document)).errors).toBeUndefined();
      expect(document.paths['/messages']).toHaveProperty('post');
      const schema = {
        type: 'object',
        required: ['text'],
        properties: { text: expect.objectContaining({ maxLength: 1_000 }) },
      };
      const content = { 'application/json': { schema: expect.objectContaining(schema) } };
      expect(document.paths['/notes']?.post).toMatchObject({
        operationId: 'createNote',
        tags: ['notes'],
        summary: 'Create a note',
        description: 'Requires the scope `messages`. Requires the plugin `notes`.',
        requestBody: { required: true, content },
        responses: { 200: { content }, 401: { $ref: '#/components/responses/Error401' } },
      });
      expect(document.paths['/notes']?.get).toMatchObject({
        parameters: [{ name: 'limit', in: 'query', required: false, schema: { type: 'integer', minimum: 1 } }],
      });
    } finally {
      await edge.stop();
    }
  });
});

test('the guide’s source in code accepts, classifies and delivers an event under wrangler dev', async () => {
  const guide = await readGuide('webhooks');
  const section = sectionOf(guide, 'Add a source in code');
  await project.init('source', '--plugins', 'webhooks', '--no-page');
  const { 'wrangler.toml': settings = '', ...files } = Object.fromEntries(
    filesOfSection(guide, 'Add a source in code'),
  );
  expect(Object.keys(files)).toEqual(['src/index.ts']);
  for (const [file, code] of Object.entries(files)) await project.write(`source/${file}`, code);
  await project.typeCheck(['source/src/index.ts'], { lib: ['es2024'], types: ['@cloudflare/workers-types'] });
  const folder = join(project.folder, 'source');
  const template = await readFile(join(folder, 'wrangler.toml'), 'utf8');
  await project.write('source/wrangler.toml', `${template}\n${settings}`);
  const edge = await runNpmStart([], undefined, { folder });
  try {
    expect(await (await fetch(`${edge.url}/health`)).json()).not.toHaveProperty('warnings');
    const run = async (command = '') =>
      await project.run('bash', ['-c', command.replaceAll('http://localhost:8787', edge.url)], 'source');
    const [send, read] = codeBlocksOf(section, 'sh');
    const [accepted, event] = codeBlocksOf(section, 'text');
    expect(`${await run(send)}\n`).toBe(accepted);
    await expect.poll(() => run(read)).toBe(event);
    const [, printed = ''] = /prints `(tickets_.*)`/.exec(section) ?? [];
    await expect.poll(edge.output).toContain(printed);
  } finally {
    await edge.stop();
  }
});
