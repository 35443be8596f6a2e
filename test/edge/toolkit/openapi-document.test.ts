import { createExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Hono } from 'hono';
import { beforeAll, beforeEach, expect, test, vi } from 'vitest';
import * as z from 'zod';
import type { AppEnv } from '#edge/auth/context.ts';
import { DEPLOYED_VARS } from '#test/support/tokens.ts';

interface Operation {
  tags: string[];
  security?: unknown[];
}
interface Document {
  servers: { url: string }[];
  tags: { name: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown>; responses: object };
}

/** The asset that the build writes: the document of all plugins. */
let built: string;
let sluice: typeof import('#edge/toolkit/worker.ts');
let routes: typeof import('#edge/auth/route.ts');
beforeAll(async () => {
  built = JSON.stringify((await import('#edge/openapi.ts')).createOpenApiDocument());
});
beforeEach(async () => {
  // The plugins of an app hold for the whole isolate: each test has the package anew.
  vi.resetModules();
  sluice = await import('#edge/toolkit/worker.ts');
  routes = await import('#edge/auth/route.ts');
});

const ASSETS = {
  fetch: async (url: URL) =>
    url.pathname === '/docs/openapi.json'
      ? new Response(built, { headers: { etag: '"built"', 'access-control-allow-origin': '*' } })
      : new Response(null, { status: 404 }),
};

async function get(app: Hono<AppEnv>, path: string, vars: object = { ASSETS }, headers: Record<string, string> = {}) {
  const request = new Request(`https://edge.example.com${path}`, { headers });
  return await app.fetch(request, { ...env, ASSETS: undefined, ...DEPLOYED_VARS, ...vars }, createExecutionContext());
}
const getDocument = async (app: Hono<AppEnv>): Promise<Document> => await (await get(app, '/openapi.json')).json();

const listOperations = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`));
/** The routes of an app, as OpenAPI writes them. */
const listRoutes = (app: Hono<AppEnv>) => [
  ...new Set(
    app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`),
  ),
];

test.each([
  ['only the core', []],
  ['agents and webhooks', ['agents', 'webhooks']],
  ['transfer and batches', ['transfer', 'batches']],
  ['all plugins', undefined],
])('describes exactly the routes of an edge with %s', async (_, names) => {
  const plugins = sluice.allPlugins.filter(({ name }) => names?.includes(name) ?? true);
  const app = sluice.createApp({ plugins });
  const document = await getDocument(app);
  expect(listOperations(document).sort()).toEqual(listRoutes(app).sort());
  const used = new Set(
    Object.values(document.paths).flatMap((item) => Object.values(item).flatMap(({ tags }) => tags)),
  );
  expect(new Set(document.tags.map(({ name }) => name))).toEqual(used);
  // Each schema is used, and each used one is there.
  const { schemas } = document.components;
  const referenced = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
  expect(Object.keys(schemas).sort()).toEqual([...new Set(referenced)].sort());
  if (names === undefined) expect(document).toEqual(JSON.parse(built));
});

test('describes the routes of a plugin that the Worker defines, as far as their definitions do', async () => {
  const respond = () => new Response();
  const shops = {
    name: 'shops',
    routes: [
      // Another spelling of a path whose plugin is not included.
      routes.defineRoute('GET /agents/:name/shops', { needs: 'credential' }, respond),
      routes.defineRoute(
        'POST /shops/:id',
        {
          needs: 'admin',
          body: z.object({ city: z.string().optional() }) as never,
          query: z.object({ dry_run: z.literal('').optional() }) as never,
        },
        respond,
      ),
      routes.defineRoute('GET /shops', { needs: 'nothing' }, respond),
    ],
  };
  const app = sluice.createApp({ plugins: [shops] });
  const document = await getDocument(app);
  expect(listOperations(document).sort()).toEqual(listRoutes(app).sort());
  expect(document.paths['/shops/{id}']?.post).toMatchObject({
    tags: ['shops'],
    summary: 'POST /shops/:id',
    description: 'Requires the scope `admin`. Requires the plugin `shops`.',
    parameters: [
      { name: 'id', in: 'path', required: true },
      { name: 'dry_run', in: 'query', required: false, schema: { const: '' } },
    ],
    requestBody: { content: { 'application/json': { schema: { properties: { city: { type: 'string' } } } } } },
  });
  expect(document.paths['/shops']?.get?.security).toEqual([]);
  expect(document.paths['/agents/{name}/shops']?.get).not.toHaveProperty('security');
});

test('keeps the headers of the asset for every origin, without its tag', async () => {
  const app = sluice.createApp();
  const response = await get(app, '/openapi.json', { ASSETS }, { origin: 'https://tool.example' });
  expect(response.headers.get('access-control-allow-origin')).toBe('*');
  expect(response.headers.get('etag')).toBeNull();
  await response.body?.cancel();
});

test('is a 404 that names the binding in a deployment without the reference', async () => {
  const app = sluice.createApp();
  const absent = { ASSETS: { fetch: async () => new Response('', { status: 404 }) } };
  for (const vars of [{}, absent]) {
    const response = await get(app, '/openapi.json', vars);
    expect(response.status).toBe(404);
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error.message).toContain('`binding = "ASSETS"`');
  }
});

test('reads the asset once for repeated requests', async () => {
  const app = sluice.createApp();
  const fetchAsset = vi.fn(ASSETS.fetch);
  const texts = new Set<string>();
  for (let request = 0; request < 3; request += 1)
    texts.add(await (await get(app, '/openapi.json', { ASSETS: { fetch: fetchAsset } })).text());
  expect(texts.size).toBe(1);
  expect(fetchAsset).toHaveBeenCalledOnce();
});
