import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, test } from 'vitest';
import { build } from '../../scripts/build.ts';
import { createOpenApiDocument, RESOURCES } from '../../scripts/described-edge.ts';

const built = fileURLToPath(new URL('../../build', import.meta.url));
const read = async (path: string) => await readFile(join(built, path), 'utf8');

async function builtFiles(): Promise<string[]> {
  const entries = await readdir(built, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(built, join(entry.parentPath, entry.name)));
}

/** What the test reads of a route in the document. */
interface Told {
  operationId: string;
  parameters?: { name: string }[];
  requestBody?: { content?: Record<string, { schema?: { $ref?: string; properties?: object } }> };
  responses: Record<string, { $ref?: string }>;
}

describe('the built assets', () => {
  test('contain a valid OpenAPI 3.1 document', async () => {
    const document = JSON.parse(await read('docs/openapi.json')) as { openapi: string };
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(await new Validator().validate(document)).toEqual({ valid: true });
    const broken = { ...document, paths: { '/models/{id}': { get: { responses: [] } } } };
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  test('contain a reference of each route with its parameters, body, responses, errors and an example, without broken links', async () => {
    const page = await read('docs.html');
    const sections = new Map(page.split('<section id="').map((text) => [text.split('"', 1)[0], text]));
    const document = createOpenApiDocument();
    let routes = 0;
    for (const operation of Object.values(document.paths ?? {}).flatMap((each) => Object.values(each))) {
      const { operationId, parameters = [], requestBody, responses } = operation as Told;
      const text = sections.get(operationId) ?? '';
      const schema = requestBody?.content?.['application/json']?.schema;
      const named = document.components?.schemas?.[schema?.$ref?.split('/').at(-1) ?? ''] as typeof schema;
      const members = [...parameters.map(({ name }) => name), ...Object.keys((named ?? schema)?.properties ?? {})];
      expect(
        members.filter((name) => !text.includes(`<li><code>${name}</code>`)),
        operationId,
      ).toEqual([]);
      for (const [status, { $ref }] of Object.entries(responses))
        expect(text, operationId).toContain($ref ? `href="#error-${status}"` : `<code>${status}</code>`);
      expect(text, operationId).toMatch(/<h4>Example<\/h4>.*<code>curl/s);
      routes += 1;
    }
    expect(routes).toBeGreaterThan(80);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const links = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    expect(links.filter((id) => !ids.includes(id))).toEqual([]);
  });

  test('contain no file that hides a route of the Worker', async () => {
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

  test('consist of the same files after concurrent builds', async () => {
    const before = await builtFiles();
    await Promise.all([build(), build(), build()]);
    expect((await builtFiles()).sort()).toEqual(before.sort());
    expect(before).toEqual(expect.arrayContaining(['_headers', 'docs.html', 'docs/openapi.json']));
  });
});
