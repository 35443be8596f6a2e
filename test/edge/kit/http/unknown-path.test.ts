import { Hono } from 'hono';
import { describe, expect, test } from 'vitest';
import type { AppEnv } from '#edge/auth/context.ts';
import { createTestApp, readError } from '#test/support/app.ts';

const edge = () => createTestApp(() => Response.json({ type: 'message', content: [], input_tokens: 1 }));
const BODY = { model: 'claude-haiku-4-5', max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }] };

describe('an unknown path', () => {
  test.each([
    ['//v1/messages', 'POST /v1/messages', '“/”'],
    ['///v1/messages/count_tokens', 'POST /v1/messages/count_tokens', '“//”'],
    ['/v1/v1/messages', 'POST /v1/messages', '“/v1”'],
    ['/v1/messages/v1/messages', 'POST /v1/messages', '“/v1/messages”'],
    ['//messages', 'POST /messages', '“/”'],
  ])('caused by a wrong base URL: the error explains how to set it (%s)', async (path, meant, extra) => {
    const app = edge();
    const response = await app.post(path, BODY);
    expect(response.status).toBe(404);
    const { type, message } = await readError(response);
    expect(type).toBe('not_found_error');
    expect(message).toContain(`Did you mean ${meant}? Remove ${extra} from the end of your client’s base URL.`);
    // What it advises is true: what is left, is there.
    const [, mended = ''] = meant.split(' ');
    expect((await app.post(mended, BODY)).status).toBe(200);
    await app.waitUntilSettled();
  });

  test.each([
    ['POST', '/v1/message', 'POST /v1/messages'],
    ['POST', '/v1/mesages/count_tokens', 'POST /v1/messages/count_tokens'],
    ['GET', '/conversation/trip', 'GET /conversations/trip'],
    ['GET', '/conversations/trip/message', 'GET /conversations/trip/messages'],
    ['POST', '/clasify', 'POST /classify'],
    ['POST', `/v1/messages/batches/${'x'.repeat(100)}/cancell`, `POST /v1/messages/batches/${'x'.repeat(100)}/cancel`],
  ])('close to an existing one: the error names that one (%s %s)', async (method, path, meant) => {
    const response = await edge().fetch(path, { method });
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([404, 'false']);
    expect((await readError(response)).message).toBe(`${path} does not exist. Did you mean ${meant}?`);
  });

  test.each([
    '/v1/skills',
    '/v1/skills/x/versions',
    '/v1/agents',
    '/v1/sessions/x/events',
    '/v1/environments',
    '/v1/organizations/users',
    '/v1/files/x/y',
    '/v1/messages/batches/x/y',
    '/v1/messages/batches/x/cancel/y',
  ])('of the Claude API that is close to no existing one: not supported (%s)', async (path) => {
    const response = await edge().fetch(path, { method: 'POST' });
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([501, 'false']);
    await response.body?.cancel();
  });

  test('with a trailing slash: the error names the route without it', async () => {
    const { message } = await readError(await edge().post('/v1/messages/', BODY));
    expect(message).toBe('/v1/messages/ does not exist. Did you mean POST /v1/messages?');
  });

  test.each(['/v1/chat/completions', '/chat/completions', '/v1/responses', '/v1/complete'])(
    'of another API: the error names the route to use instead (%s)',
    async (path) => {
      const response = await edge().post(path, BODY);
      expect(response.status).toBe(501);
      expect(response.headers.get('x-should-retry')).toBe('false');
      const { type, message } = await readError(response);
      expect(type).toBe('not_supported');
      expect(message).toContain('POST /v1/messages');
    },
  );

  test('of the Claude API: the error names only routes that exist', async () => {
    const app = edge();
    const response = await app.fetch('/v1/skills');
    expect(response.status).toBe(501);
    const { message } = await readError(response);
    const named = [...message.matchAll(/(GET|POST) (\/v1\S*?)(?=,| and|\.$)/g)];
    expect(named.map(([name]) => name)).toEqual(
      expect.arrayContaining(['POST /v1/messages', 'POST /v1/messages/count_tokens', 'GET /v1/models']),
    );
    for (const [, method = '', path = ''] of named) {
      expect((await app.fetch(path, { method })).status, path).not.toBe(501);
    }
    await app.waitUntilSettled();
  });

  describe('with an Accept header', () => {
    const NAVIGATION = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

    test('returns a page that links to the edge and escapes the path, if a browser requests it', async () => {
      const app = edge();
      const response = await app.fetch('/no/such?<script>/page', { headers: NAVIGATION });
      expect(response.status).toBe(404);
      expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(response.headers.get('request-id')).toMatch(/^req_/);
      const page = await response.text();
      expect(page).toContain('/no/such does not exist. Check the path and the method; /docs lists all routes.');
      expect(page).toContain('<a href="/">');
      const tricky = await (await app.fetch('/<b>&"\'', { headers: NAVIGATION })).text();
      expect(tricky).toContain(' does not exist.');
      expect(tricky).not.toContain('<b>');
      await app.waitUntilSettled();
      expect(app.log.map(({ error_type, status }) => [error_type, status])).toEqual([
        ['not_found_error', 404],
        ['not_found_error', 404],
      ]);
    });

    test('returns a page that links to the mount path, or to nothing if the edge has no page', async () => {
      const around = (inner: Hono<AppEnv>) => new Hono<AppEnv>().route('/ai', inner);
      const mounted = createTestApp(() => Response.json({}), {}, { around });
      expect(await (await mounted.fetch('/ai/x', { headers: NAVIGATION })).text()).toContain('<a href="/ai/">');
      const root = await edge().fetch('/', { headers: NAVIGATION });
      expect([root.status, (await root.text()).includes('<a ')]).toEqual([404, false]);
    });

    test.each([
      ['GET', '*/*'],
      ['GET', 'application/json'],
      ['POST', 'text/html'],
    ])('returns JSON for a %s that accepts %s', async (method, accept) => {
      const response = await edge().fetch('/no/such', { method, headers: { accept } });
      expect(response.status).toBe(404);
      expect((await readError(response)).type).toBe('not_found_error');
    });
  });

  test('is named in the error with its mount path, and truncated', async () => {
    const around = (inner: Hono<AppEnv>) => new Hono<AppEnv>().route('/ai', inner);
    const app = createTestApp(() => Response.json({}), {}, { around });
    const told = async (path: string) => (await readError(await app.fetch(path, { method: 'POST' }))).message;
    expect(await told('/ai/v1/v1/messages')).toContain(
      '/ai/v1/v1/messages does not exist. Did you mean POST /ai/v1/messages?',
    );
    expect(await told('/ai/v1/skills')).toMatch(/Sluice does not support \/ai\/v1\/skills\..*POST \/ai\/v1\/messages/);
    expect(await told(`/ai/${'x'.repeat(8_000)}`)).toHaveLength(
      ' does not exist. Check the path and the method; /docs lists all routes.'.length + 200,
    );
  });
});
