import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { RESOURCES } from '../src/openapi.ts';

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
