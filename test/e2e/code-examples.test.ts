/**
 * The `@example`s of all that other programs call: `sluice/client`, `sluice/client/ai-sdk`, `sluice` and `sluice/simulator`.
 * An example may take for granted: what the four export; `show`, which shows values; and what `given` makes below. So there is
 * a client `sluice` of an account with a conversation `trip`, a conversation `release` in which a call waits for approval, an
 * agent `editor`, a prefix `manual`, a classifier `tickets`, and a batch that has ended.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Plugin } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { type Edge, startEdge, startSimulatingEdge } from '#test/support/edge.ts';
import { root } from '#test/support/root.ts';
import { hasUndeclaredName, runExample } from '#test/support/run-example.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';

const model = 'claude-haiku-5-5';
const messages = [{ role: 'user' as const, content: 'What do I see in Bern? And how is get_weather?' }];
const requests = [{ custom_id: 'first', params: { model, max_tokens: 4_000, messages } }];

/** The files that other programs import, by the names of the package. */
const ENTRIES = {
  'sluice/client': 'src/client/index.ts',
  'sluice/client/ai-sdk': 'src/client/ai-sdk.ts',
  sluice: 'src/edge/toolkit/worker.ts',
  'sluice/simulator': 'src/edge/toolkit/simulator.ts',
};
const SCHEMAS = 'src/edge/toolkit/schemas.ts';

/** An example, and what its docstring is about. */
interface Example {
  file: string;
  name: string;
  code: string;
}

/** @returns the examples of a file: the rest of each docstring behind `@example` */
function examplesIn(file: string, text: string): Example[] {
  const declared =
    /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(?:export |abstract |override |async |function ?|class |const |\*)*(\w+)/g;
  return [...text.matchAll(declared)].flatMap(([, doc = '', name = '']) => {
    const [, example] = /@example\s([\s\S]*)/.exec(doc) ?? [];
    if (example === undefined) return [];
    const code = example.replace(/^ *\* ?/gm, '').trim();
    return [{ file, name, code: `${code}\n` }];
  });
}

const read = async (file: string) => await readFile(join(root, file), 'utf8');

/** @returns what a file exports or exports again, by its name, with the file that declares it */
async function exportsOf(entry: string): Promise<Map<string, string>> {
  const text = await read(entry);
  const found = new Map<string, string>();
  for (const [, name = ''] of text.matchAll(/^export (?:async )?(?:function\*?|class|const) (\w+)/gm))
    found.set(name, entry);
  for (const [, names = '', from = ''] of text.matchAll(/^export (?:type )?\{([^}]*)\} from '(.*?)'/gm)) {
    const file = new URL(from, new URL(entry, 'file:///')).pathname.slice(1);
    for (const [, name = ''] of names.matchAll(/(?:type )?(\w+)(?: as \w+)?,?/g)) found.set(name, file);
  }
  return found;
}

/** The kind of what a file declares under a name; undefined for types and values. */
async function kindOf(file: string, name: string): Promise<'function' | 'class' | undefined> {
  const text = await read(file);
  if (new RegExp(`^export (?:abstract )?class ${name}\\b`, 'm').test(text)) return 'class';
  const isFunction = new RegExp(
    `^export (?:async )?function\\*? ${name}\\b|^export const ${name} = (?:async )?(?:<.*>)?\\(.*=>`,
    'm',
  );
  return isFunction.test(text) ? 'function' : undefined;
}

const files = new Set(['src/client/sdk-reader.ts']);
const own = new Map<string, { file: string; kind: 'function' | 'class' }>();
/** The names that an example may use without an import, and what they are imported from. */
const imported = new Map<string, string>();
for (const [from, entry] of [...Object.entries(ENTRIES), [undefined, SCHEMAS] as const]) {
  for (const [name, file] of await exportsOf(entry)) {
    const kind = await kindOf(file, name);
    if (kind) own.set(name, { file, kind });
    if (kind) files.add(file);
    if (from) imported.set(name, from);
  }
}
for (const file of await readdir(join(root, 'src/client'))) files.add(`src/client/${file}`);
const examples = (await Promise.all([...files].map(async (file) => examplesIn(file, await read(file))))).flat();
const isOfWorker = ({ file }: Example) => !file.startsWith('src/client/') && file !== ENTRIES['sluice/simulator'];
const ofWorker = examples.filter(isOfWorker);
const ofNode = examples.filter((example) => !isOfWorker(example));

/** @returns an example's module: with imports of what it uses of the package */
function moduleOf({ code }: Example): string {
  const names = [...imported].filter(([name]) => hasUndeclaredName(code, name) && !code.startsWith('export {'));
  return names.map(([name, from]) => `import { ${name} } from '${from}';\n`).join('') + code;
}

/** @returns the same for a program outside the edge: its client is of the same classes as what it imports */
function programOf(example: Example): string {
  const code = moduleOf(example);
  if (!hasUndeclaredName(code, 'sluice')) return code;
  const [imports = ''] = /^(?:import .*\n)*/.exec(code) ?? [];
  const client = `import { createClient as clientOf } from 'sluice/client';\n`;
  return `${client}${imports}const sluice = clientOf({ baseURL, token });\n${code.slice(imports.length)}`;
}

describe('code examples', () => {
  const has = (file: string, name: string, called: RegExp) =>
    examples.some((example) => example.file === file && example.name === name && called.test(example.code));

  test('exist for every exported function and class of the package', () => {
    expect(own.size).toBeGreaterThan(15);
    const without = [...own].filter(([name, { file, kind }]) => {
      // Classes of objects are exported; the client's own are what its methods return.
      return !has(file, name, kind === 'class' ? /\S/ : new RegExp(`\\b${name}(<.*>)?\\(`));
    });
    expect(without.map(([name, { file }]) => `${file}: ${name}`)).toEqual([]);
  });

  test("exist for every method of the client's classes", async () => {
    const without: string[] = [];
    let methods = 0;
    for (const file of [
      'src/client/sdk-reader.ts',
      'src/client/stream.ts',
      'src/client/run.ts',
      'src/client/errors.ts',
      'src/client/renewing-token.ts',
    ]) {
      const [, body = ''] = /^export (?:abstract )?class [\s\S]*?\{\n([\s\S]*?)^\}/m.exec(await read(file)) ?? [];
      for (const [, name = ''] of body.matchAll(/^ {2}(?:override |async |\*)*(\w+)(?:<.*>)?\(/gm)) {
        if (name === 'constructor') continue;
        methods += 1;
        if (!has(file, name, new RegExp(`\\.${name}\\(`))) without.push(`${file}: ${name}`);
      }
    }
    expect(methods).toBeGreaterThan(7);
    expect(without).toEqual([]);
  });

  test('exist for every method of the object that createClient returns', () => {
    const calls = new Map<string, string[]>();
    const walk = (value: object, path: string): void => {
      for (const [name, member] of Object.entries(value)) {
        // What is made by one function, as the methods of all that is stored by name, has one example.
        const key = `${name} ${member}`;
        if (typeof member === 'function') calls.set(key, [...(calls.get(key) ?? []), `${path}.${name}`]);
        else walk(member, `${path}.${name}`);
      }
    };
    walk(createClient({ baseURL: '' }), 'sluice');
    expect([...calls.values()].flat().length).toBeGreaterThan(20);
    const without = [...calls.values()].filter(
      (paths) =>
        !paths.some((path) =>
          examples.some(({ name, code }) => path.endsWith(`.${name}`) && code.includes(`${path}(`)),
        ),
    );
    expect(without).toEqual([]);
  });
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-examples-'));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(async () => await rm(folder, { recursive: true, force: true }));

test('every example type-checks', async () => {
  const types = `import type { Batch, BatchRequest, Client, MessageStream, Run } from 'sluice/client';
    import type { MessageParam } from '@anthropic-ai/sdk/resources/messages';
    declare global {
      function show(...values: unknown[]): void;
      function fetchToken(): Promise<string>;
      const sluice: Client, stream: MessageStream, run: Run, batch: Batch;
      const model: string, messages: MessageParam[], requests: BatchRequest['requests'];
    }`;
  await writeFile(join(folder, 'given.d.ts'), types);
  for (const [index, example] of examples.entries()) {
    await writeFile(join(folder, `${index}_${example.name}.ts`), `${moduleOf(example)}\nexport {};\n`);
  }
  const { compilerOptions } = JSON.parse(await read('tsconfig.json')) as { compilerOptions: { paths: object } };
  const paths = Object.fromEntries(Object.entries(ENTRIES).map(([name, file]) => [name, [join(root, file)]]));
  const options = { ...compilerOptions, paths, types: ['@cloudflare/workers-types'], noUnusedLocals: false };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }));
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', folder, '--singleThreaded'], { cwd: folder }).catch(
    ({ stdout }: { stdout: string }) => expect.unreachable(stdout),
  );
});

describe('a code example in Node', () => {
  let edge: Edge;
  beforeAll(async () => {
    edge = await startSimulatingEdge({
      SIGNING_SECRET: SECRET,
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
      SIMULATOR_BATCH_MS: '0',
      TOOL_HOSTS: 'tools.example.com',
      TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
    });
  });
  afterAll(async () => await edge.stop());

  /** Makes what an example may take for granted, as far as it names it, for an account of its own. */
  async function given(code: string, account: string): Promise<Record<string, unknown>> {
    const token = await createToken(account, ['messages', 'prefixes', 'classify', 'tools']);
    const fetchToken = async () => token;
    const sluice: Client = createClient({ baseURL: edge.url, token });
    const names = (name: string) => hasUndeclaredName(code, name);
    if (/'trip'|conversations\.list|usage/.test(code)) {
      await sluice.messages.stream({ conversation: 'trip', model, max_tokens: 4_000, messages }).text();
    }
    if (code.includes("'release'")) {
      const run = { url: 'https://tools.example.com/', approval: 'always' as const };
      const deploy = { name: 'deploy', input_schema: { type: 'object' as const }, run };
      const asked = [{ role: 'user' as const, content: 'Please deploy.' }];
      await sluice.messages
        .stream({ conversation: 'release', model, max_tokens: 4_000, messages: asked, tools: [deploy] })
        .text();
    }
    if (code.includes("'editor'")) await sluice.agents.put('editor', { model, max_tokens: 4_000 });
    if (code.includes("'manual'") || code.includes('prefixes.list'))
      await sluice.prefixes.put('manual', { system: 'Be brief.' });
    if (code.includes("'tickets'")) await sluice.classifiers.put('tickets', { labels: ['praise', 'complaint'] });
    const needsBatch = names('batch') || code.includes('batches.list');
    const batch = needsBatch ? await sluice.batches.waitFor((await sluice.batches.create({ requests })).id) : undefined;
    const asked = { model, max_tokens: 4_000, messages };
    const stream = names('stream') ? sluice.messages.stream({ conversation: 'told', ...asked }) : undefined;
    const run = names('run') ? sluice.messages.run({ ...asked, tools: [] }) : undefined;
    return { baseURL: edge.url, token, fetchToken, model, messages, requests, batch, stream, run };
  }

  test.each(ofNode.map((example) => [`${basename(example.file)}: ${example.name}`, example] as const))(
    'of %s runs, and shows only values that are not empty',
    async (title, example) => {
      const code = programOf(example).replaceAll('https://edge.example.com', edge.url);
      const shown = await runExample(code, await given(code, title.replace(/\W+/g, '-')), 'ts');
      if (code.includes('show(')) expect(shown.length).toBeGreaterThan(0);
      for (const value of shown) expect([undefined, null, '']).not.toContain(value);
    },
  );
});

describe('a code example in a Worker', () => {
  let edge: Edge;
  beforeAll(async () => {
    const names = new Map(ofWorker.map((example) => [example.name, example]));
    for (const [name, example] of names) await writeFile(join(folder, `worker-${name}.ts`), moduleOf(example));
    const classes = [...names.values()].filter(({ code }) => code.startsWith('export {'));
    const others = [...names.values()].filter((example) => !classes.includes(example));
    const main = `
      const shown: unknown[] = [];
      globalThis.show = (...values) => shown.push(...values);
      ${classes.map(({ name }) => `export * from './worker-${name}.ts';`).join('\n')}
      const load = { ${others.map(({ name }) => `${name}: () => import('./worker-${name}.ts')`).join(', ')} };
      export default {
        async fetch(request, env, context) {
          const [, name, rest] = /\\/\\/[^/]+\\/(\\w+)(.*)/.exec(request.url);
          const { default: worker } = await load[name]();
          if (worker) return await worker.fetch(new Request('http://localhost' + rest, request), env, context);
          return Response.json(shown);
        },
      };`;
    await writeFile(join(folder, 'worker.ts'), main);
    const ownPackage: Plugin = {
      name: 'own-package',
      setup: ({ onResolve }) => {
        for (const [name, file] of Object.entries(ENTRIES))
          onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: join(root, file) }));
      },
    };
    const code = await bundleWorker(join(folder, 'worker.ts'), { plugins: [ownPackage] });
    edge = await startEdge(code, { UPSTREAM: 'simulator', SIMULATOR_TTFT_MS: '0' });
  });
  afterAll(async () => await edge.stop());

  const runnable = ofWorker.filter(({ code }) => !code.startsWith('export {'));

  test('exports the class of each Durable Object', () => {
    expect(ofWorker.filter(({ code }) => code.startsWith('export {')).length).toBe(5);
  });

  test.each(runnable.map((example) => [example.name, example] as const))('of %s runs', async (name, { code }) => {
    if (!code.includes('export default')) {
      const shown = (await (await fetch(`${edge.url}/${name}/`)).json()) as unknown[];
      expect(shown.length).toBeGreaterThan(0);
      return;
    }
    const asked = await fetch(`${edge.url}/${name}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, max_tokens: 4_000, messages, conversation: name }),
    });
    expect([name, asked.status, await asked.text()]).toEqual([name, 200, expect.stringContaining('message')]);
    const [, path] = /edge\.get\('([^']*)'/.exec(code) ?? [];
    if (path === undefined) return;
    const response = await fetch(edge.url + join('/', name, path));
    expect(response.status).toBe(code.includes('not_found_error') ? 404 : 200);
    expect((await response.text()).length).toBeGreaterThan(1);
  });
});
