import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTestApp, readError } from '#test/support/app.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { OPEN_TO_RESTRICTED, OPEN_WITH_APPROVALS, ROUTES } from '#test/support/routes.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const OWN = 'http://localhost:8787';
const SHOP = 'https://shop.example';
const edge = (vars: Record<string, string> = {}) =>
  createTestApp(() => Response.json({}), { ...DEPLOYED_VARS, ...vars });
const tokenWith = async (only: object) =>
  bearerHeader(await createToken('alice', ['messages', 'classify'], { only: { agents: ['sky'], ...only } }));

test('rejects a restricted token on every route that is not declared open to restricted tokens', async () => {
  const app = edge();
  const headers = await tokenWith({});
  const closed: string[] = [];
  for (const { method, path } of ROUTES) {
    const body = method === 'GET' || method === 'DELETE' ? {} : { body: '{}' };
    const sent = { method, headers: { ...headers, 'content-type': 'application/json' }, ...body };
    const response = await app.fetch(path.replaceAll(/:\w+/g, 'x'), sent);
    const said = await response.text();
    if (said.includes('cannot use this route')) closed.push(`${method} ${path}`);
    else if (OPEN_WITH_APPROVALS.has(`${method} ${path}`)) expect(said).toContain('its token has no `approvals`');
    else expect(OPEN_TO_RESTRICTED, said).toContain(`${method} ${path}`);
  }
  expect(closed.length).toBeGreaterThan(50);
});

test('accepts a restricted token with origins only from pages of these origins', async () => {
  const app = edge({ ALLOWED_ORIGINS: SHOP });
  const mayPass = async (only: object, sent: Record<string, string>) => {
    const response = await app.post('/messages', {}, { ...(await tokenWith(only)), ...sent });
    const { message } = await readError(response);
    return !message.includes('restricted to pages of');
  };
  const origin = fc.constantFrom(undefined, OWN, SHOP, 'https://evil.example', 'null', `${SHOP}.evil.example`);
  const site = fc.constantFrom(undefined, 'same-origin', 'same-site', 'cross-site', 'none');
  const origins = fc.constantFrom<string[]>([SHOP], [OWN], [SHOP, OWN]);
  await tryAsyncCases(60, origin, site, origins, async (from, fetchSite, named) => {
    const sent = { ...(from && { origin: from }), ...(fetchSite && { 'sec-fetch-site': fetchSite }) };
    const isOwn = from === undefined && fetchSite === 'same-origin' && named.includes(OWN);
    expect(await mayPass({ origins: named }, sent)).toBe(isOwn || (from !== undefined && named.includes(from)));
    expect(await mayPass({}, sent)).toBe(true);
  });
});

test('mints a token restricted to origins only if they are in ALLOWED_ORIGINS or the deployment’s own', async () => {
  const root = bearerHeader(await createToken('root', ['admin']));
  const mint = async (origins: string[], vars: Record<string, string>) => {
    const body = { account: 'alice', scopes: ['messages'], only: { agents: ['sky'], origins } };
    const response = await edge(vars).post('/tokens', body, root);
    return response.status === 201 ? 201 : (await readError(response)).message;
  };
  expect(await mint([SHOP, OWN], { ALLOWED_ORIGINS: SHOP })).toBe(201);
  expect(await mint([SHOP], { ALLOWED_ORIGINS: '*' })).toBe(201);
  expect(await mint([SHOP], {})).toMatch(/^only.origins: https:\/\/shop.example is not in ALLOWED_ORIGINS/);
  for (const app of ['capacitor://localhost', 'tauri://localhost', 'chrome-extension://abcdefgh'])
    expect(await mint([app], { ALLOWED_ORIGINS: app })).toBe(201);
  for (const wrong of ['null', 'shop.example', `${SHOP}/`, '*', 'https://*.shop.example', 'capacitor://localhost/']) {
    expect(await mint([wrong], { ALLOWED_ORIGINS: '*' })).toMatch(/^only.origins.0: Input should be an origin/);
  }
});
