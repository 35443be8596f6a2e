/**
 * Random valid and invalid requests for each operation of the OpenAPI document, with each kind of credential. Ten minutes at
 * night: `FUZZ_MS=600000 FUZZ_SEED=$RANDOM npx vitest run --project workerd test/edge/app/openapi-fuzz.test.ts`.
 */

import fc from 'fast-check';
import { beforeEach, expect, test, vi } from 'vitest';
import { SCOPES } from '#edge/auth/identity/identity.ts';
import { getRequiredScopes } from '#edge/auth/route.ts';
import { toPathTemplate } from '#edge/health/served-document.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { errorSchema } from '#edge/openapi/errors.ts';
import { type ApiResource, type DescribedRoute, getResponsesByStatus } from '#edge/openapi/resource.ts';
import { createOpenApiDocument, RESOURCES } from '#edge/openapi.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { setBatchUpstream } from '#test/support/batch-objects.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { createSimulatedEdge, createSimulatedUpstream, type SimulatedEdge } from '#test/support/prefixes.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { createVisitorSettings } from '#test/support/visitors.ts';
import { WEBHOOK_SECRET } from '#test/support/webhooks.ts';

declare const FUZZ_MS: number;
declare const FUZZ_SEED: number;

interface Operation {
  method: string;
  path: string;
  route: DescribedRoute;
  parameters: ApiResource['parameters'];
  /** The statuses that the document declares. */
  statuses: ReadonlySet<string>;
}

const { paths = {} } = createOpenApiDocument();
const OPERATIONS: readonly Operation[] = RESOURCES.flatMap(({ parameters, routes }) =>
  Object.entries(routes).map(([key, route]) => {
    const [method = '', path = ''] = key.split(' ');
    const item = paths[toPathTemplate(path)] as Record<string, { responses?: object }> | undefined;
    const statuses = new Set(Object.keys(item?.[method.toLowerCase()]?.responses ?? {}));
    return { method, path, route, parameters, statuses };
  }),
);

const odd = fc.constantFrom(
  '',
  ' ',
  '0',
  '-1',
  '0x10',
  ' 1',
  '1e2',
  '1001',
  'x',
  'none',
  'true',
  'empty',
  '2026-13-01',
  '%00',
  'ü',
  '"',
);
const junk = fc.oneof(
  odd,
  fc.constantFrom<unknown>(null, 0, -1, 1.5, true, [], {}, [null], [[]], { type: 'x' }, 'x'.repeat(300)),
);

/** @returns JSON like an example, in which some values are missing, changed or added */
function vary(example: unknown): fc.Arbitrary<unknown> {
  const same = fc.constant(example);
  if (typeof example !== 'object' || example === null) return fc.oneof({ arbitrary: same, weight: 5 }, junk);
  if (Array.isArray(example))
    return fc.oneof({ arbitrary: fc.tuple(...example.map(vary)), weight: 5 }, { arbitrary: same, weight: 5 }, junk);
  const changed = fc.record(Object.fromEntries(Object.entries(example).map(([name, value]) => [name, vary(value)])), {
    requiredKeys: [],
  });
  const more = fc.tuple(changed, fc.dictionary(fc.constantFrom('model', 'id', 'nmae', 'limit'), junk, { maxKeys: 1 }));
  return fc.oneof(
    { arbitrary: same, weight: 6 },
    { arbitrary: more.map(([one, other]) => ({ ...one, ...other })), weight: 5 },
    junk,
  );
}

const exampleOf = ({ parameters, path }: Operation, name: string): string =>
  name === 'id' && path.startsWith('/accounts/') ? 'victim' : (parameters?.[name]?.example ?? name);

const requestOf = (operation: Operation) =>
  fc.record({
    names: fc.array(fc.oneof({ arbitrary: fc.constant(undefined), weight: 3 }, odd), { minLength: 4, maxLength: 4 }),
    query: fc.dictionary(
      fc.constantFrom('limit', 'account', ...Object.keys(operation.route.query?.shape ?? {})),
      fc.oneof(odd, fc.constantFrom('1', '20', 'day', 'json', 'csv', 'all', 'text', 'victim', 'model', 'false')),
      { maxKeys: 2 },
    ),
    type: fc.oneof(
      { arbitrary: fc.constant(operation.route.body?.type ?? 'application/json'), weight: 9 },
      fc.constant('text/plain'),
    ),
    body: vary(operation.route.body?.example),
  });

/** Makes a header for each kind of credential. Their accounts are not those that the examples change or erase. */
async function createCredentials(app: SimulatedEdge): Promise<Record<string, Record<string, string>>> {
  const all: Record<string, Record<string, string>> = {
    none: {},
    malformed: bearerHeader('x.y.z'),
    expired: bearerHeader(await createToken('late', ['messages'], { expiresIn: -60 })),
    restricted: bearerHeader(await createToken('bound', ['messages'], { only: { agents: ['sky'] } })),
    everything: bearerHeader(await createToken('root', SCOPES)),
    several: bearerHeader(await createToken('user', ['messages', 'classify', 'prefixes'])),
  };
  for (const scope of SCOPES) all[scope] = bearerHeader(await createToken(`of-${scope}`, [scope]));
  const issuedAt = Math.floor(Date.now() / 1_000);
  all.revoked = bearerHeader(await createToken('gone', ['messages'], { renews: { jti: 'gone-1', issuedAt } }));
  const revoked = await app.fetch('/accounts/gone/tokens/gone-1', { method: 'DELETE', headers: all.everything ?? {} });
  expect(revoked.status).toBe(200);
  await revoked.body?.cancel();
  return all;
}

let app: SimulatedEdge;
beforeEach(() => {
  installSimulator();
  vi.spyOn(Inbox.prototype as unknown as { enqueue(): Promise<void> }, 'enqueue').mockResolvedValue();
  const clock = { now: Date.now() };
  const upstream = createSimulatedUpstream(clock);
  setBatchUpstream((url, init) => upstream(new Request(url, init)));
  app = createSimulatedEdge(
    {
      ...createVisitorSettings({ turnstile: false }),
      GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
      QUEUE: { send: async () => {} },
      ASSETS: { fetch: async () => Response.json(createOpenApiDocument()) },
      DEPLOYMENT_LIMITS: '{}',
      UPSTREAM_MAX_RETRIES: '0',
    },
    clock,
    upstream,
  );
});

test(
  'each response has a status and a body that the OpenAPI document declares, and none is a 500',
  async () => {
    const credentials = await createCredentials(app);
    const reached = new Set<string>();
    const check = async (operation: Operation, kind: string, asked: JsonObject & { names: (string | undefined)[] }) => {
      const { method, path, route, statuses } = operation;
      let next = 0;
      const url = path.replaceAll(/:(\w+)/g, (_, name: string) =>
        encodeURIComponent(asked.names[next++] ?? exampleOf(operation, name)),
      );
      const query = new URLSearchParams(asked.query as Record<string, string>).toString();
      const hasBody = method !== 'GET' && method !== 'DELETE' && asked.body !== undefined;
      const body = typeof asked.body === 'string' ? asked.body : JSON.stringify(asked.body);
      const response = await app.fetch(query === '' ? url : `${url}?${query}`, {
        method,
        headers: { ...credentials[kind], ...(hasBody && { 'content-type': String(asked.type) }) },
        ...(hasBody && { body }),
      });
      const text = new TextDecoder().decode(await response.arrayBuffer());
      const what = `${kind}: ${method} ${url}?${query} ${hasBody ? body : ''} -> ${response.status} ${text.slice(0, 500)}`;
      expect(response.status, what).not.toBe(500);
      // An empty name makes another path.
      const isOther = asked.names.slice(0, next).includes('');
      if (!isOther) expect([...statuses], what).toContain(String(response.status));
      if (response.status >= 400 && !getResponsesByStatus(route)[response.status])
        expect(errorSchema.safeParse(JSON.parse(text)).success, what).toBe(true);
      if (isOther) return;
      const type = response.headers.get('content-type')?.split(';')[0];
      const content = getResponsesByStatus(route)[response.status]?.content;
      const declared = content?.find((one) => (one.type ?? 'application/json') === type);
      if (response.status < 400 && text !== '' && method !== 'HEAD') expect(declared, what).toBeDefined();
      if (declared && type === 'application/json') {
        const parsed = declared.schema.safeParse(JSON.parse(text));
        expect(parsed.error?.issues, what).toBeUndefined();
        expect(parsed.data, what).toEqual(JSON.parse(text));
      }
      if (response.ok) reached.add(`${method} ${path}`);
    };
    const kinds = fc.constantFrom(...Object.keys(credentials));
    // Most requests have the credential that their route needs; otherwise most responses would be errors of guards.
    const kindFor = ({ route }: Operation) =>
      fc.oneof(
        { arbitrary: fc.constantFrom('everything', getRequiredScopes(route.needs)[0] ?? 'several'), weight: 3 },
        kinds,
      );
    const one = fc
      .nat(OPERATIONS.length - 1)
      .map((at) => OPERATIONS[at] as Operation)
      .chain((operation) => fc.tuple(fc.constant(operation), kindFor(operation), requestOf(operation)));
    await fc.assert(
      fc.asyncProperty(one, async ([operation, kind, asked]) => await check(operation, kind, asked)),
      {
        seed: FUZZ_SEED,
        endOnFailure: true,
        ...(FUZZ_MS > 0 ? { numRuns: 1e9, interruptAfterTimeLimit: FUZZ_MS } : { numRuns: 600 }),
      },
    );
    expect(reached.size).toBeGreaterThan(OPERATIONS.length / 4);
  },
  Math.max(300_000, FUZZ_MS * 2),
);
