/** The TypeScript of the guides: an app whose files a reader copies, or an example, has no type errors. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { codeBlocksOf, filesOfSection, readGuide, sectionOf } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';

/** The parts that the apps use of packages that are not installed here. By night the app of Next.js is built with its own types. */
const ABSENT_PACKAGES = `
  declare module 'express' {
    interface Request { headers: import('node:http').IncomingHttpHeaders; query: Record<string, unknown> }
    interface Response { json(body: object): void; status(code: number): Response; set(name: string, value: string): Response; redirect(url: string): void }
    type Handler = (request: Request, response: Response) => unknown;
    interface App { post(path: string, handler: Handler): void; get(path: string, handler: Handler): void; use(handler: Handler): void; listen(port: string | number): import('node:http').Server }
    const express: { (): App; static(folder: string): Handler };
    export default express;
  }
  declare module 'next/headers' {
    export function headers(): Promise<Headers>;
  }`;
/** What the examples of the guide for clients take for granted. */
const GIVEN = `
  import type { MessageParam } from '@anthropic-ai/sdk/resources/messages';
  declare global {
    function show(...values: unknown[]): void;
    const baseURL: string, token: string, model: string, max_tokens: number, messages: MessageParam[];
  }`;

const react = await readGuide('react');
const nextjs = await readGuide('nextjs');
const page = filesOfSection(react, 'Make the folder');
const clients = codeBlocksOf(await readGuide('clients'), 'ts');

test('the code of the guides type-checks', async () => {
  const { compilerOptions } = JSON.parse(page.get('tsconfig.json') ?? '') as { compilerOptions: object };
  const files = new Map([
    ...[...page, ...filesOfSection(react, 'The server')].map(([name, code]) => [`react/${name}`, code] as const),
    ...['The login', 'Forward requests', 'The page'].flatMap((heading) =>
      [...filesOfSection(nextjs, heading)].map(([name, code]) => [`next/${name}`, code] as const),
    ),
    ...clients.map((code, index) => [`clients/${index}.ts`, `${code}\nexport {};\n`] as const),
    ['webhooks/receiver.mts', codeBlocksOf(sectionOf(await readGuide('webhooks'), 'Delivery'), 'ts')[0] ?? ''],
    ['packages.d.ts', ABSENT_PACKAGES],
    ['given.d.ts', GIVEN],
  ]);
  expect([...files.keys()].filter((name) => /\.m?tsx?$/.test(name)).length).toBeGreaterThan(20);
  const paths = {
    'sluice/client': [join(root, 'src/client/index.ts')],
    'sluice/client/ai-sdk': [join(root, 'src/client/ai-sdk.ts')],
  };
  files.set('tsconfig.json', JSON.stringify({ compilerOptions: { ...compilerOptions, paths }, include: ['**/*'] }));
  files.delete('react/tsconfig.json');

  const folder = await mkdtemp(join(tmpdir(), 'sluice-guide-types-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, code] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), code);
  }
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', folder, '--singleThreaded'], { cwd: folder }).catch(
    ({ stdout }: { stdout: string }) => expect.unreachable(stdout),
  );
});
