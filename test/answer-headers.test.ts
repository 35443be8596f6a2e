import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { knownHeaders } from '#edge/claude/request/all-fields.ts';
import { CORE_HEADERS } from '#edge/kit/http/headers/response-headers.ts';
import { getPluginMembers } from '#edge/kit/plugins/plugins.ts';
import '../scripts/all-plugins.mjs';
import { root } from './support/root.ts';

test('every sluice-* header in the edge is declared as a request header or a response header', async () => {
  const folder = join(root, 'src/edge');
  const files = (await readdir(folder, { recursive: true })).filter((file) => /(?<!\.reference)\.ts$/.test(file));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  const named = new Set(texts.flatMap((text) => [...text.matchAll(/['"`](sluice-[a-z-]+)/g)].map(([, name]) => name)));
  const declared = [...CORE_HEADERS, ...getPluginMembers('headers').flat(), ...knownHeaders()];
  expect([...named].toSorted()).toEqual([...new Set(declared)].toSorted());
});
