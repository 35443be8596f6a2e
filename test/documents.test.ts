import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { anchorOf } from '../scripts/guides.ts';
import { RESOURCES } from '../src/openapi.ts';
import { readGuide, readGuides } from './support/guides.ts';

const root = new URL('..', import.meta.url);
const read = (name: string) => readFile(new URL(name, root), 'utf8');

/** The folder of each resource, by its tag in the reference. */
const FOLDERS: Readonly<Record<string, string>> = {
  Messages: 'messages',
  Counts: 'messages',
  Models: 'models',
  Batches: 'batches',
  Files: 'files',
  Conversations: 'conversations',
  Agents: 'agents',
  Prefixes: 'prefixes',
  Classification: 'classification',
  Classifications: 'classifications',
  Webhooks: 'webhooks',
  Usage: 'accounts',
  Accounts: 'accounts',
  Tokens: 'accounts',
  Groups: 'pools',
  Deployment: 'pools',
  Alerts: 'alerts',
  Health: 'health',
};

test('ARCHITECTURE.md names each route with its folder and what it needs', async () => {
  const lines = (await read('ARCHITECTURE.md')).split('\n').map((line) => line.replace(/\s+/g, ' ').trim());
  const rows = RESOURCES.flatMap(({ tag, routes }) =>
    Object.entries(routes).map(([route, { needs }]) => `| \`${route}\` | \`${FOLDERS[tag]}/\` | ${needs} |`),
  );
  expect(lines.filter((line) => /^\| `(GET|POST|PUT|PATCH|DELETE) /.test(line))).toEqual(rows);
});

test.each(['ARCHITECTURE.md', 'CONTRIBUTING.md'])('%s names files and folders that are there', async (document) => {
  const named = [...(await read(document)).matchAll(/`((?:[\w.-]+\/)+[\w.-]*|[\w.-]+\.ts)`/g)].map(
    ([, path = '']) => path,
  );
  const places = ['', 'src/', 'src/conversations/', 'src/webhooks/', 'test/'];
  const missing = named.filter(
    (path) => !places.some((place) => existsSync(fileURLToPath(new URL(place + path, root)))),
  );
  expect(missing).toEqual([]);
});

test('ARCHITECTURE.md says where things happen as it is', async () => {
  const rows = [...(await read('ARCHITECTURE.md')).matchAll(/^\| [^|]+ \| `([\w/.-]+\.ts)` +\| `(\w+)` *\|$/gm)];
  const wrong: string[] = [];
  for (const [, path = '', name = ''] of rows) {
    if (!new RegExp(`\\b${name}\\(|\\b${name}<`).test(await read(`src/${path}`))) wrong.push(`${path}: ${name}`);
  }
  expect(rows.length).toBeGreaterThan(10);
  expect(wrong).toEqual([]);
});

test('every link of the README and the guides leads to what is there', async () => {
  const guides = await readGuides();
  const broken: string[] = [];
  for (const [from, text] of guides) {
    for (const [, href = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (href.startsWith('https://')) continue;
      const [path = '', anchor] = href.split('#');
      const to = path === '' ? from : new URL(path, new URL(from, 'file:///')).pathname.slice(1);
      const isThere = existsSync(fileURLToPath(new URL(to, root)));
      const anchors = [...(guides.get(to) ?? '').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading));
      if (!isThere || (anchor !== undefined && !anchors.includes(anchor))) broken.push(`${from}: ${href}`);
    }
  }
  expect(broken).toEqual([]);
});

test('every guide is listed in the README', async () => {
  const files = (await readdir(new URL('docs', root))).filter((name) => name.endsWith('.md'));
  expect([...(await readGuides()).keys()].slice(1).toSorted()).toEqual(files.map((name) => `docs/${name}`).toSorted());
});

test('the guide for operators names each field of the log, and each error that only the log tells', async () => {
  const guide = await readGuide('operating');
  const [, fields = ''] = /export interface LogLine \{([\s\S]*?)\n\}/.exec(await read('src/http/log.ts')) ?? [];
  const names = [...fields.matchAll(/^ {2}(\w+)\??:/gm)].map(([, name = '']) => name);
  expect(names).toContain('request_id');
  const logged = new Set<string>();
  for (const file of await readdir(new URL('src', root), { recursive: true })) {
    if (!file.endsWith('.ts') || file.startsWith('playground') || file.startsWith('client')) continue;
    const text = await read(`src/${file}`);
    const literals = /\blogged(?:: | = |\s*=\s*)['`]([a-z_]+)|\btryAgain\([^;]*?, '([a-z_]+)/g;
    for (const [, one, other] of text.matchAll(literals)) logged.add(one ?? other ?? '');
  }
  expect(logged.size).toBeGreaterThan(20);
  const missing = [...names, ...logged].filter((name) => !new RegExp(`\`${name}(\`|\\w*\`)`).test(guide));
  expect(missing).toEqual([]);
});
