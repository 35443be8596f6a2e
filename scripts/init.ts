/**
 * Creates a folder with a new Worker: `sluice init DIR --plugins webhooks,agents`. It contains the template, without the parts
 * of other plugins, and the package. The command asks no questions.
 */
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { findNearestName } from '../src/edge/kit/json/nearest-name.ts';
import { getNeededBindings } from '../src/edge/kit/plugins/needed-bindings.ts';
import { type Plugin, registerPlugins } from '../src/edge/kit/plugins/plugins.ts';
import { readArguments } from './arguments.ts';
// biome-ignore lint/correctness/useImportExtensions: Biome takes the declaration file for the module.
import { PLUGINS } from './plugins.mjs';

const NAMES = PLUGINS.map(({ name }) => name);
const USAGE = `sluice init DIR [--plugins webhooks,agents] [--no-page]
  --plugins  the plugins to include, separated by commas, or all. Default: none.
             ${NAMES.join(', ').replace(/(.{60,80}?) /g, '$1\n             ')}
  --no-page  without the page and the reference`;
/** The name of the template, and of the package in it. */
const NAME = 'own-edge';
const TARBALL = /sluice-[\w.-]+\.tgz/g;
/** The maximum length of a line. */
const WIDTH = 120;

const { values, positionals } = readArguments(USAGE, {
  allowPositionals: true,
  options: { plugins: { type: 'string', default: '' }, 'no-page': { type: 'boolean', default: false } },
});
const [given = '', ...more] = positionals;
if (given === '' || more.length > 0) stop(`Pass the path of one new folder.\nUsage: ${USAGE}`);
const folder = resolve(given);
const plugins = resolvePlugins(values.plugins);
await checkFolder();

registerPlugins(plugins);
const bindings = getNeededBindings();
const classes = Object.values(bindings).filter((of) => of !== null);
const called =
  basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '') || NAME;
const root = dirname(createRequire(import.meta.url).resolve('sluice/package.json'));

await mkdir(folder, { recursive: true });
// npm leaves `.gitignore` out of packages, so the example's file is named `gitignore`. Rename it.
await cp(join(root, 'examples/worker'), folder, { recursive: true });
await rename(join(folder, 'gitignore'), join(folder, '.gitignore'));
if (!('QUEUE' in bindings)) await rm(join(folder, 'test/webhooks.test.mjs'));
console.log('Packing Sluice. This takes a moment.');
const pack = ['pack', root, '--json', '--ignore-scripts', '--pack-destination', folder];
const packed = execFileSync('npm', pack, { encoding: 'utf8', shell: process.platform === 'win32' });
const [tarball = ''] = packed.match(TARBALL) ?? [];
await change('src/index.ts', selectInCode);
await change('wrangler.toml', selectInConfiguration);
if (values['no-page'])
  await change('README.md', (text) => text.replace(/^The Worker serves the built-in page[\s\S]*?\n\n/m, ''));
for (const name of ['package.json', 'README.md', 'wrangler.toml']) {
  await change(name, (text) => text.replaceAll(NAME, called).replaceAll(TARBALL, tarball));
}
console.log(`Created a gateway in ${given} with ${plugins.length === 0 ? 'only the core' : plugins.map(({ name }) => name).join(', ')}.
Next, with Node 22.12 or newer:
  cd ${given} && npm install
  npm start                      starts the gateway on http://localhost:8787
  npm test
  npm run deploy -- --dry-run    shows what would be deployed`);

/** @returns the plugins of a list, and those that they need, in the order of all plugins */
function resolvePlugins(list: string): Plugin[] {
  const names = list.split(',').map((name) => name.trim());
  if (list === 'all') return [...PLUGINS];
  const found = new Set<Plugin>();
  const add = (plugin: Plugin, by?: string) => {
    if (found.has(plugin)) return;
    found.add(plugin);
    if (by !== undefined && !names.includes(plugin.name)) console.log(`Added ${plugin.name}, which ${by} requires.`);
    for (const needed of plugin.needs ?? []) add(needed, plugin.name);
  };
  for (const name of names.filter((one) => one !== '')) {
    const plugin = PLUGINS.find((one) => one.name === name);
    const meant = findNearestName(name, NAMES);
    const hint = meant === undefined ? `The plugins are ${NAMES.join(', ')}.` : `Did you mean ${meant}?`;
    add(plugin ?? stop(`Unknown plugin ${name}. ${hint}`));
  }
  return PLUGINS.filter((plugin) => found.has(plugin));
}

async function checkFolder(): Promise<void> {
  const there = await readdir(folder).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === 'ENOENT') return [];
    return stop(`${given} cannot be read: ${thrown.message}`);
  });
  if (there.length > 0) stop(`${given} is not empty. Use a new folder.`);
}

/** @returns the code of the template with its plugins alone, and with the classes of their objects */
function selectInCode(text: string): string {
  const absent = PLUGINS.filter((plugin) => !plugins.includes(plugin)).map(exportName);
  const listed = (list: string) => list.split(/[,\s]+/).filter((name) => name !== '' && !absent.includes(name));
  const without = (list: string) => list.split(/,\s*/).filter((name) => classes.includes(name));
  return text
    .replaceAll(/^ +(\w+),\n/gm, (line, name: string) => (absent.includes(name) ? '' : line))
    .replace(/(?<=^ +plugins: \[)[^\]]*(?=\])/m, (list) => listed(list).join(', '))
    .replace(/(?<=^export \{ ).*(?= \} from)/m, (list) => without(list).join(', '))
    .replaceAll(/([{[])\n([^{}[\]]*?),?\n *([\]}])/g, (lines, open: string, list: string, close: string) => {
      const names = list.trim().split(/,\s*/).join(', ');
      const line = open === '{' ? `{ ${names} }` : `[${names}]`;
      return line.length + 'import from "sluice";'.length > WIDTH || close === '' ? lines : line;
    });
}

/** @returns the wrangler.toml of the template without the tables that no chosen plugin needs */
function selectInConfiguration(text: string): string {
  const kept = text.split('\n\n').filter((table) => {
    if (table.includes('[assets]')) return !values['no-page'];
    if (table.includes('[version_metadata]')) return true;
    const [, name] = /^(?:name|binding) = "([A-Z_]+)"$/m.exec(table) ?? [];
    const needed = table.includes('[[queues.') ? 'QUEUE' : name;
    return needed === undefined || needed in bindings;
  });
  const made = `new_sqlite_classes = [${classes.map((name) => `"${name}"`).join(', ')}]`;
  return kept.join('\n\n').replace(/^new_sqlite_classes = .*$/m, made);
}

function exportName({ name }: Plugin): string {
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

async function change(name: string, to: (text: string) => string): Promise<void> {
  const file = join(folder, name);
  await writeFile(file, to(await readFile(file, 'utf8')));
}

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
