import { expect, test } from 'vitest';
import { SCOPES } from '#edge/auth/identity/identity.ts';
import { RESOURCES } from '#edge/openapi.ts';
import { readError } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { createSimulatedEdge } from '#test/support/prefixes.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const NO_FLAGS = ['0', '1', 'true', 'false', 'no', ' '];
/** Values of parameters that are not what their schemas describe, although JavaScript can convert some of them. */
const INVALID: Readonly<Record<string, readonly string[]>> = {
  limit: ['', ' ', ' 1', '1 ', '0x10', '1e1', '1.0', '+1', '-1', '0', '1_0', '١', 'ten', 'Infinity'],
  strict: NO_FLAGS,
  upstreams: NO_FLAGS,
  isolate: NO_FLAGS,
  if_absent: ['', 'Empty', 'null', 'any'],
};

const CASES = RESOURCES.flatMap(({ routes }) =>
  Object.entries(routes).flatMap(([route, { query }]) =>
    Object.keys(query?.shape ?? {}).flatMap((name) => (name in INVALID ? [{ route, name }] : [])),
  ),
);

test('each parameter of each route rejects values that differ from its schema', async () => {
  installSimulator();
  const app = createSimulatedEdge();
  const headers = bearerHeader(await createToken('root', SCOPES));
  expect(new Set(CASES.map(({ name }) => name))).toEqual(new Set(Object.keys(INVALID)));
  for (const { route, name } of CASES) {
    const [method = '', path = ''] = route.split(' ');
    for (const value of INVALID[name] ?? []) {
      const url = `${path.replaceAll(/:\w+/g, 'x')}?${new URLSearchParams({ [name]: value })}`;
      const response = await app.fetch(url, { method, headers });
      expect(`${route} ${JSON.stringify(value)} ${response.status}`).toBe(`${route} ${JSON.stringify(value)} 400`);
      expect((await readError(response)).message).toMatch(new RegExp(`^${name}: `));
    }
  }
});
