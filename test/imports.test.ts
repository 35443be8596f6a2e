import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The rooms of src in the order of a request; those in one line stand beside each other, in this order. */
const ORDER = [
  'toolkit',
  'index',
  'app',
  'auth',
  'routes',
  'webhooks',
  'objects',
  'claude',
  'store',
  'schemas',
  'durable',
  'sse',
  'simulator',
];
/** What every room may use. */
const EVERYWHERE = new Set(['errors', 'env', 'settings', 'log', 'request-id', 'http', 'json', 'async']);
/** What a room may use although it stands above it. */
const ALSO: Readonly<Record<string, readonly string[]>> = { routes: ['auth'], playground: ['client'] };

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

/** `src/claude/relay.ts` → `claude`; `src/app.ts` → `app`; anything outside of src as it is. */
function roomOf(path: string): string {
  const [top, ...rest] = path.split('/');
  return top === 'src' ? (rest[0] ?? '').replace(/\.tsx?$/, '') : path;
}

/** What is wrong with an import, if anything is. */
function fault({ from, to, typeOnly }: Import): string | undefined {
  const room = roomOf(from);
  const used = roomOf(to);
  const local = to.startsWith('src/');
  if (room === used) return undefined;
  if (room === 'sse') return 'sse imports nothing';
  if (room === 'simulator') return local ? 'the simulator imports nothing of the rest' : undefined;
  if (used === 'reference') return 'the Worker does not have the reference in it';
  if (!local) return to.startsWith('..') || to.startsWith('test') ? 'src stands alone' : undefined;
  if (typeOnly) return undefined;
  if (room === 'client') return 'the client imports types only';
  if (EVERYWHERE.has(used) || ALSO[room]?.includes(used)) return undefined;
  if (room === 'reference') return used === 'schemas' ? undefined : 'the reference tells of schemas';
  if (EVERYWHERE.has(room)) {
    // The settings are parsed into what the rooms below work with.
    return ['claude', 'schemas'].includes(used) && room === 'settings'
      ? undefined
      : 'what all use uses none of the rooms';
  }
  if (room === 'playground' || used === 'playground' || used === 'client') {
    return room === 'app' || room === 'index' || room === 'routes' ? undefined : 'only the app shows the playground';
  }
  const above = ORDER.indexOf(room);
  const below = ORDER.indexOf(used);
  if (above < 0 || below < 0) return 'a room that the design does not have';
  return below > above ? undefined : 'a room uses what stands below it';
}

test('a room uses only what stands below it on the way of a request', () => {
  expect(files.length).toBeGreaterThan(20);
  expect(imports.length).toBeGreaterThan(files.length);
  const faults = imports.flatMap((found) => {
    const wrong = fault(found);
    return wrong === undefined ? [] : [`${found.from} → ${found.to}: ${wrong}`];
  });
  expect(faults).toEqual([]);
});

test('the rule refuses what it should', () => {
  const wrong = (from: string, to: string, typeOnly = false) => fault({ from, to, typeOnly }) !== undefined;
  expect(wrong('src/claude/relay.ts', 'src/routes/messages.ts')).toBe(true);
  expect(wrong('src/claude/relay.ts', 'src/routes/messages.ts', true)).toBe(false);
  expect(wrong('src/routes/messages.ts', 'src/auth/verify.ts')).toBe(false);
  expect(wrong('src/objects/account.ts', 'src/auth/verify.ts')).toBe(true);
  expect(wrong('src/sse/lines.ts', 'src/errors.ts', true)).toBe(true);
  expect(wrong('src/sse/lines.ts', 'zod')).toBe(true);
  expect(wrong('src/simulator/answer.ts', 'src/errors.ts', true)).toBe(true);
  expect(wrong('src/client/index.ts', 'src/app.ts', true)).toBe(false);
  expect(wrong('src/client/index.ts', 'src/errors.ts')).toBe(true);
  expect(wrong('src/errors.ts', 'src/claude/models.ts')).toBe(true);
  expect(wrong('src/reference/usage.ts', 'src/schemas/usage.ts')).toBe(false);
  expect(wrong('src/reference/usage.ts', 'src/routes/usage.ts')).toBe(true);
  expect(wrong('src/routes/usage.ts', 'src/reference/usage.ts')).toBe(true);
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

test('no file is named for everything at once', () => {
  expect(files.filter((file) => /\b(utils?|helpers?|common)\b/.test(file))).toEqual([]);
  expect(files.filter((file) => file.endsWith('/index.ts') && file !== 'src/client/index.ts')).toEqual(
    files.filter((file) => file === 'src/index.ts'),
  );
});

test('development mode is passed by the start script alone', async () => {
  const wrangler = await readFile(join(root, 'wrangler.toml'), 'utf8');
  expect(wrangler).not.toMatch(/\bMODE\b/);
  const vars = await readFile(join(root, '.dev.vars.example'), 'utf8');
  expect(vars).not.toMatch(/^\s*MODE\b/m);
});

test('no file knows the machine that it was written on', async () => {
  const folders = ['src', 'test', 'bench', 'scripts', 'examples'];
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
