import { Hono } from 'hono';
import { describe, expect, test, vi } from 'vitest';
import type { AppEnv } from '#edge/auth/context.ts';
import { CONVERSATION_ROUTES } from '#edge/conversations/object/conversations.route.ts';
import { createGenAiAttributes } from '#edge/kit/http/gen-ai.ts';
import { RESOURCES } from '#edge/openapi.ts';
import { AGENT_ROUTES } from '#edge/plugins/agents/agents.route.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const ROUTES = RESOURCES.flatMap(({ routes }) => Object.keys(routes));
const answer = () => Response.json({});

/** Sends a request without a body. @returns the route that its line in the log has */
async function logged(app: TestApp, method: string, path: string, headers: Record<string, string> = {}) {
  await app.fetch(path, { method, headers });
  await app.waitUntilSettled();
  const { route } = app.log.at(-1) ?? {};
  return route;
}

describe('a log line', () => {
  test('has the route as in the reference, without ids, even for unauthenticated requests', async () => {
    const app = createTestApp(answer, DEPLOYED_VARS);
    const written: unknown[] = [];
    for (const key of ROUTES) {
      const [method = '', path = ''] = key.split(' ');
      written.push(`${method} ${await logged(app, method, path.replaceAll(/:\w+/g, 'an-id-7'))}`);
    }
    expect(ROUTES.length).toBeGreaterThan(30);
    expect(written).toEqual(ROUTES);
  });

  test('has the route with the mount path of the edge, even if the Worker has a catch-all route', async () => {
    const around = (edge: Hono<AppEnv>) =>
      new Hono<AppEnv>()
        .get('*', (_, next) => next())
        .route('/t/:tenant', edge)
        .get('*', (c) => c.text('the page'));
    const app = createTestApp(answer, DEPLOYED_VARS, { around });
    const headers = bearerHeader(await createToken('alice'));
    expect(await logged(app, 'GET', '/t/acme/conversations/c1', headers)).toBe('/t/:tenant/conversations/:id');
  });

  test('has no path of an unknown route, because it may contain an address or a key', async () => {
    const app = createTestApp(answer);
    for (const [method, path] of [
      ['POST', '/v1/v1/messages'],
      ['PUT', '/conversations/c1'],
      ['GET', '/nowhere/carol@example.com'],
      ['GET', '/v1/messages/sk-ant-a-key'],
    ] as const)
      expect(await logged(app, method, path)).toBe('(unknown)');
    expect(JSON.stringify(app.log)).not.toMatch(/carol|sk-ant-a-key/);
  });

  test('has the version of the Worker, if the version binding is set', async () => {
    const version = { id: 'a-version', tag: '', timestamp: '2026-11-29T00:00:00Z' };
    for (const [vars, id] of [
      [{ CF_VERSION_METADATA: undefined }, undefined],
      [{ CF_VERSION_METADATA: version }, 'a-version'],
    ] as const) {
      const app = createTestApp(answer, vars);
      await logged(app, 'GET', '/health');
      expect(app.log.at(-1)?.version).toBe(id);
    }
  });

  test('reports whether a plugin, named in the line, or a route of the Worker threw an unexpected exception', async () => {
    const fail = () => {
      throw new TypeError('boom');
    };
    for (const route of [...AGENT_ROUTES, ...CONVERSATION_ROUTES]) vi.spyOn(route, 'handle').mockImplementation(fail);
    const app = createTestApp(answer, DEPLOYED_VARS, { around: (edge) => edge.get('/broken', fail) });
    const headers = bearerHeader(await createToken('alice', ['messages']));
    for (const [path, type] of [
      ['/agents', 'internal: TypeError: boom (in the plugin agents)'],
      ['/broken', 'internal: TypeError: boom (outside Sluice’s routes)'],
      ['/conversations', 'internal: TypeError: boom'],
    ] as const) {
      await logged(app, 'GET', path, headers);
      expect(app.log.at(-1)).toMatchObject({ status: 500, error_type: type });
    }
  });

  test('is exported with an error type from a closed list, without the reason', () => {
    const typeOf = (error_type: string) =>
      (createGenAiAttributes({ error_type, ttft_ms: 1 }) as Record<string, unknown>)['error.type'];
    expect(typeOf('overloaded_error')).toBe('overloaded_error');
    expect(typeOf('internal: no such table of carol@example.com')).toBe('internal');
    expect(typeOf('upstream_599')).toBe('upstream_error');
    expect(typeOf('carol@example.com')).toBe('_OTHER');
    expect(createGenAiAttributes({ ttft_ms: 1 })).toMatchObject({ 'error.type': undefined });
  });
});
