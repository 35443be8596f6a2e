import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { validate } from '@scalar/openapi-parser';
import { describe, expect, test } from 'vitest';
import { build } from '../../scripts/build.ts';
import { RESOURCES } from '../../src/openapi.ts';

const built = fileURLToPath(new URL('../../build', import.meta.url));
const read = async (path: string) => await readFile(join(built, path), 'utf8');

async function builtFiles(): Promise<string[]> {
  const entries = await readdir(built, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(built, join(entry.parentPath, entry.name)));
}

describe('what is built for the assets', () => {
  test('is a valid OpenAPI 3.1 document, by a validator that is not ours', async () => {
    const document = JSON.parse(await read('openapi.json')) as { openapi: string };
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(await validate(document)).toMatchObject({ valid: true, version: '3.1', errors: [] });
    const broken = await validate({ ...document, paths: { '/models/{id}': { get: { responses: {} } } } });
    expect(broken.valid).toBe(false);
  });

  test('hides no route of the Worker behind a file', async () => {
    const paths = RESOURCES.flatMap(({ routes }) => Object.keys(routes).map((key) => key.split(' ')[1] ?? ''));
    const patterns = paths.map((path) => new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}/?$`));
    for (const file of await builtFiles()) {
      const served = `/${file.replace(/(^|\/)index\.html$|\.html$/, '')}`;
      expect(
        patterns.filter((pattern) => pattern.test(served)),
        file,
      ).toEqual([]);
    }
  });

  test('is the same however many build at the same time, and nothing else', async () => {
    const before = await builtFiles();
    await Promise.all([build(), build(), build()]);
    expect((await builtFiles()).sort()).toEqual(before.sort());
    expect(before).toEqual(expect.arrayContaining(['_headers', 'docs.html', 'docs/scalar.js', 'openapi.json']));
  });
});
