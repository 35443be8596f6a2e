/** Clients that generators make of the reference: their types must accept the requests of the guides. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createOpenApiDocument } from '../../scripts/described-edge.ts';

/** With a TypeScript of their own: the generators do not run with the one of this checkout. */
const PACKAGES = ['typescript@5', 'openapi-typescript@7', '@hey-api/openapi-ts@0.99', 'orval@8'];

const MESSAGE = `{ model: 'claude-haiku-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] }`;
const AGENT = `{ model: 'claude-haiku-5-5', max_tokens: 10, system: 'Be brief.', limits: { max_usd: 0.1 } }`;
const PREFIX = `{ system: 'Be brief.' }`;

const USES: Readonly<Record<string, { make: string[]; use: string }>> = {
  'openapi-typescript': {
    make: ['openapi-typescript', 'openapi.json', '-o', 'openapi-typescript/types.ts'],
    use: `
      import type { paths } from './types.ts';
      type Content<T> = T extends { requestBody: { content: { 'application/json': infer Body } } } ? Body : never;
      export const message: Content<paths['/messages']['post']> = ${MESSAGE};
      export const agent: Content<paths['/agents/{name}']['put']> = ${AGENT};
      export const prefix: Content<paths['/prefixes/{name}']['put']> = ${PREFIX};`,
  },
  'hey-api': {
    make: ['openapi-ts', '-i', 'openapi.json', '-o', 'hey-api'],
    use: `
      import { createMessage, putAgent, putPrefix } from './sdk.gen.ts';
      export const message = () => createMessage({ body: ${MESSAGE} });
      export const agent = () => putAgent({ path: { name: 'a' }, body: ${AGENT} });
      export const prefix = () => putPrefix({ path: { name: 'a' }, body: ${PREFIX} });`,
  },
  orval: {
    make: ['orval', '--input', 'openapi.json', '--output', 'orval/client.ts', '--client', 'fetch'],
    use: `
      import { createMessage, putAgent, putPrefix } from './client.ts';
      export const message = () => createMessage(${MESSAGE});
      export const agent = () => putAgent('a', ${AGENT});
      export const prefix = () => putPrefix('a', ${PREFIX});`,
  },
};

let folder: string;

/** Runs a command in the folder. @returns what it has printed @throws Error with that, if it fails */
async function run(command: string, args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd: folder }).catch((failed: { stdout?: string }) => {
    throw new Error(failed.stdout, { cause: failed });
  });
  return stdout;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-clients-'));
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', ...PACKAGES]);
  await writeFile(join(folder, 'openapi.json'), JSON.stringify(createOpenApiDocument()));
}, 600_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

test.each(Object.keys(USES))('%s generates types that compile in strict mode and accept requests', async (name) => {
  const { make: [command = '', ...args] = [], use = '' } = USES[name] ?? {};
  await run(`node_modules/.bin/${command}`, args);
  await mkdir(join(folder, name), { recursive: true });
  await writeFile(join(folder, name, 'use.ts'), use);
  const options = {
    target: 'es2022',
    module: 'esnext',
    moduleResolution: 'bundler',
    lib: ['es2022', 'dom', 'dom.iterable'],
  };
  const compilerOptions = { ...options, strict: true, noEmit: true, allowImportingTsExtensions: true, types: [] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [`${name}/use.ts`] }));
  expect(await run('node_modules/.bin/tsc', ['-p', '.'])).toBe('');
});
