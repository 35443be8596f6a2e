import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { root } from './support/root.ts';

/**
 * The folders of src, the upper ones first. A file imports only what stands in its own folder or further down, types too; a
 * folder's own files stand above its sub-folders. Plugins stand beside each other.
 */
const ORDER = [
  'page',
  'page/agents',
  'page/budget',
  'page/budget/figures',
  'page/chat',
  'page/chat/message',
  'page/chat/composer',
  'page/chat/session',
  'page/classify',
  'page/wire',
  'page/edge',
  'page/ui/markdown',
  'page/ui',
  'client',
  'edge/toolkit',
  'edge',
  'edge/plugins',
  'edge/health',
  'edge/classify',
  'edge/classify/task',
  'edge/messages',
  'edge/conversations/object',
  'edge/conversations/turn',
  'edge/conversations/views',
  'edge/conversations/history',
  'edge/conversations/history/storage',
  'edge/registry/prefixes',
  'edge/registry/versions',
  'edge/registry/tools',
  'edge/money/account',
  'edge/money/credentials',
  'edge/money/admission',
  'edge/money/ledger',
  'edge/money/lists',
  'edge/money/versions',
  'edge/money/alerts',
  'edge/money/budget',
  'edge/money/contracts',
  'edge/money/changes',
  'edge/claude',
  'edge/claude/request',
  'edge/claude/upstreams',
  'edge/claude/providers',
  'edge/claude/relay',
  'edge/claude/usage',
  'edge/claude/pricing',
  'edge/durable',
  'edge/openapi',
  'edge/auth',
  'edge/config',
  'edge/auth/identity',
  // A table of data, which a deployment's settings change.
  'edge/claude/models',
  'edge/kit/delivery',
  'edge/kit/kv',
  'edge/kit/http',
  'edge/kit/http/body',
  'edge/kit/http/headers',
  'edge/kit/json',
  'edge/kit/async',
  'edge/kit/cache',
  'edge/kit/plugins',
  'edge/kit/sse',
  'simulator',
  'simulator/batches',
  'simulator/files',
  'simulator/answer',
  'simulator/prompt',
  'simulator/schema',
  'simulator/request',
  'simulator/store',
  'simulator/text',
  'simulator/random',
  // What the edge and the simulator both know of the API.
  'api-rules',
];

const UPWARDS = 'an import upwards';
const BETWEEN_PLUGINS = 'an import of another plugin';

/** What may import plugins: their list, the page of their members, and what assembles a Worker. */
const MAY_IMPORT_PLUGINS =
  /^src\/edge\/(?:(?:plugins|index|openapi|answers|development|plugins\/plugin)\.ts$|toolkit\/)/;
/** What a plugin says of itself: there it names those that it needs. */
const OF_A_PLUGIN = /^src\/edge\/plugins\/[^/]+\/plugin\.ts$/;

/** What a plugin is called, if a file is in one. */
const pluginOf = (path: string) => /^src\/edge\/plugins\/([^/]+)\//.exec(path)?.[1];

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

let files: string[] = [];
const imports: Import[] = [];

// Every form that brings a module in: import, export … from, import('…'), import '…'.
const STATEMENT =
  /(?:^|\n)\s*(import|export)\s+(type\s+)?(?:([^'";]*?)\s+from\s+)?'([^']+)'|import\(\s*'([^']+)'\s*\)/g;

function importsOf(file: string, source: string): Import[] {
  return [...source.matchAll(STATEMENT)].flatMap(([, , type, names = '', named, dynamic]) => {
    const to = named ?? dynamic;
    if (to === undefined) return [];
    const bound = /^\{(.*)\}$/s
      .exec(names.trim())?.[1]
      ?.split(',')
      .filter((name) => name.trim() !== '');
    const typeOnly = type !== undefined || bound?.every((name) => /^\s*type\s/.test(name)) === true;
    return [{ from: file, to: to.startsWith('.') ? join(dirname(file), to) : to, typeOnly }];
  });
}

beforeAll(async () => {
  const entries = await readdir(join(root, 'src'), { recursive: true, withFileTypes: true });
  files = entries
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  for (const file of files) imports.push(...importsOf(file, await readFile(join(root, file), 'utf8')));
});

/** @returns the place of a file in the order; -1 for one whose folder is not in the picture. */
function placeOf(path: string): number {
  return ORDER.indexOf(pluginOf(path) ? 'edge/plugins' : dirname(path).replace(/^src\//, ''));
}

function isReference(path: string): boolean {
  return path.endsWith('.reference.ts') || path.startsWith('src/edge/openapi/') || path === 'src/edge/openapi.ts';
}

/** @returns what is wrong with an import, if anything is. */
function fault({ from, to, typeOnly }: Import): string | undefined {
  const inside = (folder: string) => from.startsWith(folder) && !to.startsWith(folder);
  if (inside('src/edge/kit/sse/')) return 'sse imports nothing';
  if (inside('src/api-rules/')) return 'the rules of the API import nothing';
  if (to.startsWith('src/api-rules/') && !/^src\/(?:api-rules|edge|simulator)\//.test(from))
    return 'rules are for edge and simulator';
  if (inside('src/simulator/') && !to.startsWith('src/api-rules/'))
    return to.startsWith('src/') ? 'the simulator imports only the rules of the API' : undefined;
  if (!to.startsWith('src/')) return to.startsWith('..') || to.startsWith('test') ? 'src stands alone' : undefined;
  if (/\.(css|svg)$/.test(to)) return undefined;
  if (isReference(to) && !isReference(from)) return 'the Worker does not have the reference in it';
  const isTypes = to === 'src/edge/answers.ts' && typeOnly;
  if (inside('src/client/')) return isTypes ? undefined : 'the client imports types of edge/answers.ts only';
  if (inside('src/page/') && !to.startsWith('src/client/'))
    return isTypes ? undefined : 'the page imports the client, and types of edge/answers.ts';
  const above = placeOf(from);
  const below = placeOf(to);
  if (above < 0 || below < 0) return 'a folder that is not in the picture';
  if (OF_A_PLUGIN.test(from) && OF_A_PLUGIN.test(to)) return undefined;
  if (pluginOf(from) !== pluginOf(to) && pluginOf(from) && pluginOf(to)) return BETWEEN_PLUGINS;
  if (pluginOf(to) && !pluginOf(from) && !MAY_IMPORT_PLUGINS.test(from)) return UPWARDS;
  // The schemas of the core are its lowest floor: what a resource looks like may be read everywhere.
  const isSchema = to.endsWith('.schema.ts') && !pluginOf(to);
  return dirname(from) === dirname(to) || below >= above || isSchema ? undefined : UPWARDS;
}

test('files import only from their own or lower folders, and from other plugins only if their plugin needs those', () => {
  expect(files.length).toBeGreaterThan(200);
  expect(imports.length).toBeGreaterThan(files.length);
  // What a plugin needs, its object imports.
  const needs = new Set(
    imports.flatMap(({ from, to }) =>
      OF_A_PLUGIN.test(from) && OF_A_PLUGIN.test(to) ? [`${pluginOf(from)} needs ${pluginOf(to)}`] : [],
    ),
  );
  const faults = imports.flatMap((one) => {
    const wrong = fault(one);
    const isNeeded = wrong === BETWEEN_PLUGINS && needs.has(`${pluginOf(one.from)} needs ${pluginOf(one.to)}`);
    return wrong === undefined || isNeeded ? [] : [`${one.from} → ${one.to}: ${wrong}`];
  });
  expect(faults).toEqual([]);
});

test('only exchange.ts imports send.ts, and only billed-request.ts imports reserveAttempt', async () => {
  const importersOf = (path: string) => imports.filter(({ to }) => to === path).map(({ from }) => from);
  expect(importersOf('src/edge/claude/upstream-permit.ts')).toEqual([
    'src/edge/claude/attempt.ts',
    'src/edge/claude/send.ts',
  ]);
  expect(importersOf('src/edge/claude/send.ts')).toEqual(['src/edge/claude/exchange.ts']);
  const sources = await Promise.all(
    files.map(async (file) => [file, await readFile(join(root, file), 'utf8')] as const),
  );
  const admitting = sources.filter(([, source]) =>
    /import \{[^}]*\breserveAttempt\b[^}]*\} from '[^']*reserve-attempt\.ts'/.test(source),
  );
  expect(admitting.map(([file]) => file)).toEqual(['src/edge/money/admission/billed-request.ts']);
});

test('every source file is in a folder that ORDER lists', () => {
  expect(files.filter((file) => placeOf(file) < 0)).toEqual([]);
});

describe('the import rule', () => {
  const wrong = (from: string, to: string, typeOnly = false) => fault({ from, to, typeOnly }) !== undefined;

  test('rejects imports from a higher folder, including types', () => {
    expect(wrong('src/edge/claude/relay.ts', 'src/edge/messages/messages.route.ts')).toBe(true);
    expect(wrong('src/edge/claude/relay.ts', 'src/edge/messages/messages.route.ts', true)).toBe(true);
    expect(wrong('src/edge/messages/messages.route.ts', 'src/edge/auth/verify.ts')).toBe(false);
    expect(wrong('src/edge/auth/verify.ts', 'src/edge/money/account/account.ts', true)).toBe(true);
    expect(wrong('src/edge/kit/http/errors.ts', 'src/edge/claude/models/models.ts')).toBe(true);
  });

  test('accepts imports from subfolders that are lower in the order, and rejects the reverse', () => {
    expect(wrong('src/edge/conversations/object/turn-proxy.ts', 'src/edge/conversations/turn/turn-recorder.ts')).toBe(
      false,
    );
    expect(
      wrong('src/edge/conversations/turn/turn-recorder.ts', 'src/edge/conversations/object/conversation.ts', true),
    ).toBe(true);
    expect(wrong('src/edge/plugins/transfer/forks.ts', 'src/edge/conversations/history/storage/rows.ts')).toBe(false);
    expect(wrong('src/edge/conversations/history/storage/rows.ts', 'src/edge/plugins/transfer/forks.ts')).toBe(true);
  });

  test('finds imports between plugins, and accepts imports within a plugin', () => {
    const { from, to } = { from: 'src/edge/plugins/agents/agent.ts', to: 'src/edge/plugins/runs/limits.ts' };
    expect(fault({ from, to, typeOnly: true })).toBe(BETWEEN_PLUGINS);
    expect(wrong(from, 'src/edge/plugins/agents/find-agent.ts')).toBe(false);
  });

  test('allows plugins.ts and other plugin.ts files to import a plugin, but not app.ts', () => {
    expect(wrong('src/edge/plugins.ts', 'src/edge/plugins/files/plugin.ts')).toBe(false);
    expect(wrong('src/edge/app.ts', 'src/edge/plugins/files/plugin.ts', true)).toBe(true);
    expect(wrong('src/edge/app.ts', 'src/edge/plugins/plugin.ts', true)).toBe(false);
    expect(wrong('src/edge/plugins/operator/plugin.ts', 'src/edge/plugins/webhooks/plugin.ts')).toBe(false);
  });

  test('separates programs that must run independently', () => {
    expect(wrong('src/edge/kit/sse/lines.ts', 'src/edge/kit/http/errors.ts', true)).toBe(true);
    expect(wrong('src/edge/kit/sse/lines.ts', 'zod')).toBe(true);
    expect(wrong('src/simulator/answer/answer.ts', 'src/edge/kit/http/errors.ts', true)).toBe(true);
    expect(wrong('src/simulator/answer/answer.ts', 'src/api-rules/json.ts')).toBe(false);
    expect(wrong('src/edge/claude/relay.ts', 'src/api-rules/json.ts')).toBe(false);
    expect(wrong('src/api-rules/betas.ts', 'src/simulator/request/errors.ts', true)).toBe(true);
    expect(wrong('src/api-rules/betas.ts', 'zod')).toBe(true);
    expect(wrong('src/client/index.ts', 'src/api-rules/json.ts')).toBe(true);
    expect(wrong('src/client/index.ts', 'src/edge/answers.ts', true)).toBe(false);
    expect(wrong('src/client/index.ts', 'src/edge/answers.ts')).toBe(true);
    expect(wrong('src/page/app.tsx', 'src/edge/kit/http/errors.ts', true)).toBe(true);
    expect(wrong('src/edge/money/account/usage.reference.ts', 'src/edge/money/account/usage.schema.ts')).toBe(false);
    expect(wrong('src/edge/money/account/usage.route.ts', 'src/edge/money/account/usage.reference.ts')).toBe(true);
    expect(wrong('src/edge/app.ts', 'src/edge/openapi.ts')).toBe(true);
  });

  test('finds every form of import', () => {
    const source =
      "import { type A, type B } from './b.ts';\nimport C, { type D } from '../c.ts';\nexport * from './d.ts';\n";
    expect(importsOf('src/x/a.ts', `${source}const e = await import('./e.ts');\nimport 'f';\n`)).toEqual([
      { from: 'src/x/a.ts', to: 'src/x/b.ts', typeOnly: true },
      { from: 'src/x/a.ts', to: 'src/c.ts', typeOnly: false },
      { from: 'src/x/a.ts', to: 'src/x/d.ts', typeOnly: false },
      { from: 'src/x/a.ts', to: 'src/x/e.ts', typeOnly: false },
      { from: 'src/x/a.ts', to: 'f', typeOnly: false },
    ]);
  });
});

test('no file has a catch-all name', () => {
  expect(files.filter((file) => /\b(utils?|helpers?|common)\b/.test(file))).toEqual([]);
  expect(files.filter((file) => file.endsWith('/index.ts') && file !== 'src/client/index.ts')).toEqual(
    files.filter((file) => file === 'src/edge/index.ts'),
  );
});

test('no file contains a path of the machine it was written on', async () => {
  const folders = ['src', 'test', 'scripts', 'examples'];
  const listed = await Promise.all(
    folders.map(async (folder) => {
      const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    }),
  );
  const top = ['package.json', 'wrangler.toml', 'vitest.config.ts', 'tsconfig.json', 'biome.json', '.dev.vars.example'];
  const paths = [...listed.flat(), ...top.map((name) => join(root, name))];
  const guilty: string[] = [];
  for (const path of paths) {
    const text = await readFile(path, 'utf8');
    if (/(^|[\s'"`(=:])\/(home|Users|root|work|tmp|mnt|opt)\/[\w.-]+/m.test(text)) guilty.push(relative(root, path));
  }
  expect(guilty).toEqual([]);
});
